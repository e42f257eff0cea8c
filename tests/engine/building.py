"""C programs of the engine's sources, each built once by every process of the tests."""

import subprocess
from collections.abc import Iterable
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

ENGINE = Path(__file__).parents[2] / "engine"
SOURCES = sorted(str(path.relative_to(ENGINE)) for path in ENGINE.glob("src/**/*.c"))
SANITIZED = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
_WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
_INCLUDES = (f"-I{ENGINE}/include", f"-I{ENGINE}/src")
_FOLDER, _NUMBERS = TemporaryDirectory(), count()        # removed when the process ends


def compiled(sources: Iterable[str], *flags: str, compiler: str = "cc") -> Path:
    """A program of sources in engine/, such as "src/json.c", with these flags."""
    return _program(tuple(sources), flags, compiler)


def harmless(program: Path, files: Iterable[Path]) -> None:
    """Runs a sanitized program on files: it must come to its end."""
    done = subprocess.run([program, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@cache
def _program(sources: tuple[str, ...], flags: tuple[str, ...], compiler: str) -> Path:
    target = Path(_FOLDER.name) / f"program{next(_NUMBERS)}"
    _run(compiler, *flags, *(str(_object(source, flags, compiler)) for source in sources), "-lm", "-o", str(target))
    return target


@cache
def _object(source: str, flags: tuple[str, ...], compiler: str) -> Path:
    target = Path(_FOLDER.name) / f"{next(_NUMBERS)}.o"
    _run(compiler, "-c", *_WARNINGS, *flags, *_INCLUDES, str(ENGINE / source), "-o", str(target))
    return target


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stderr}"
