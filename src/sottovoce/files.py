"""Files that are either whole or not there: written beside their place, then renamed into it."""

import os
from pathlib import Path

from sottovoce.errors import SottovoceError


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file at `path` in one move; an error leaves what was there.

    Raises SottovoceError naming the file when the disk is full or does not let us.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise SottovoceError(f"{path}: cannot be written: {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def sweep(folder: Path) -> None:
    """Remove what writers that were killed have left anywhere below a folder."""
    for temporary in folder.rglob(".*.part"):
        temporary.unlink(missing_ok=True)
