"""A model as C: an array of its bytes, the sources of the engine that runs it, and a program that uses both."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from sottovoce.artefact.file import decode
from sottovoce.errors import SottovoceError

PARTS = "CMakeLists.txt", "include", "src"           # of the engine
EXAMPLE = "filter.c", "CMakeLists.txt", "README.md"  # beside the model
BYTES_A_LINE = 24

HEADER = """/* A .sotto file, to be opened with sv_open. */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>

extern const unsigned char model_bytes[];
extern const size_t model_size;

#endif
"""


def save_c(data: bytes, folder: Path) -> None:
    """Write a folder to compile, whole or not at all, from the bytes of a `.sotto` file.

    Raises FormatError for what is no model, EngineError for one that the engine cannot run, as far as it is installed
    to say so, and SottovoceError for a folder in which there is something.
    """
    decode(data)
    _try(data)
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise SottovoceError(f"{folder}: expected a new or empty folder, got one that is there")
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    engine = sources()
    try:
        for part in PARTS:
            _copy(engine / part, temporary / "engine" / part)
        for part in EXAMPLE:
            _copy(engine / "example" / part, temporary / part)
        (temporary / "model.h").write_text(HEADER)
        (temporary / "model.c").write_text("".join(_as_c(data)))
        temporary.replace(folder)
    except OSError as error:
        raise SottovoceError(f"{folder}: cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sources() -> Path:
    """The folder of the engine's sources: in the package, or beside it where that is run from a clone."""
    package = Path(__file__).parents[1]
    found = [folder for folder in (package / "engine", package.parents[1] / "engine") if (folder / "include").is_dir()]
    if not found:
        raise SottovoceError(f"{package / 'engine'}: expected the sources of the engine, got none")
    return found[0]


def _try(data: bytes) -> None:
    try:
        from sottovoce._engine import Engine
    except ImportError:
        return
    Engine(data).close()


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _as_c(data: bytes) -> Iterator[str]:
    yield f'#include "model.h"\n\nconst size_t model_size = {len(data)};\nconst unsigned char model_bytes[] = {{\n'
    for start in range(0, len(data), BYTES_A_LINE):
        yield f"    {','.join(map(str, data[start : start + BYTES_A_LINE]))},\n"
    yield "};\n"
