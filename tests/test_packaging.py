"""A wheel is the package with the engine where there is a compiler, and runs by numpy alone where there was none."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tools
import toy

RUN = """
import numpy as np
import sottovoce
from sottovoce.runtime import open_session
from sottovoce.zoo import find

assert sottovoce.__file__.startswith({folder!r}), sottovoce.__file__
session = open_session(find("gcrn"), tell=print)
assert np.isfinite(session.run(np.ones(3200, np.float32))).all()
print(type(session).__name__)
"""


def wheel(folder: Path, path: str) -> Path:
    """The wheel of this tree, unpacked, made with the programs on that path."""
    tools.module("scikit_build_core", "scikit-build-core")
    tools.module("nanobind", "nanobind")
    command = [sys.executable, "-m", "pip", "wheel", toy.ROOT, "--no-deps", "--no-build-isolation", "-w", folder]
    done = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [made] = folder.glob("*.whl")
    zipfile.ZipFile(made).extractall(folder / "unpacked")
    return made


def what_runs(folder: Path) -> str:
    """What a program of the package in that folder prints."""
    unpacked = str(folder / "unpacked")
    done = subprocess.run([sys.executable, "-c", RUN.format(folder=unpacked)], cwd=folder, capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": unpacked})
    assert done.returncode == 0, done.stderr
    return done.stdout


def extensions(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("unpacked/**/*.so")]


def test_without_a_compiler_it_is_python_alone(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("cmake", "make"):
        (programs / name).symlink_to(tools.program(name, name))
    assert wheel(tmp_path, str(programs)).name.endswith("-py3-none-any.whl")
    assert extensions(tmp_path) == []
    *said, session = what_runs(tmp_path).splitlines()
    assert session == "Session" and "not installed" in said[0]


@pytest.mark.slow                                # compiles the engine and its binding
def test_with_a_compiler_it_has_the_engine(tmp_path: Path) -> None:
    assert not wheel(tmp_path, os.environ["PATH"]).name.endswith("-none-any.whl")
    [extension] = extensions(tmp_path)
    assert extension.startswith("_engine.")
    assert what_runs(tmp_path) == "CompiledSession\n"
