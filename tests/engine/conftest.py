"""C programs of engine/tests, built once for all tests; what they read comes from the tables of tests/artefact."""

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[2] / "engine"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
INCLUDES = (f"-I{ENGINE}/include", f"-I{ENGINE}/src")
sys.path.append(str(Path(__file__).parents[1] / "artefact"))

Compiled = Callable[..., Path]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Builds a program: of sources in engine/, such as "src/json.c", with these flags; each source and program once."""
    folder, numbers = tmp_path_factory.mktemp("compiled"), count()

    @cache
    def built(source: str, flags: tuple[str, ...]) -> Path:
        target = folder / f"{next(numbers)}.o"
        run("cc", "-c", *WARNINGS, *flags, *INCLUDES, str(ENGINE / source), "-o", str(target))
        return target

    @cache
    def program(sources: tuple[str, ...], flags: tuple[str, ...]) -> Path:
        target = folder / f"program{next(numbers)}"
        run("cc", *flags, *(str(built(source, flags)) for source in sources), "-lm", "-o", str(target))
        return target

    return lambda sources, *flags: program(tuple(sources), flags)


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
