"""Files that are either whole or not there: written beside their place, then renamed into it."""

import os
from pathlib import Path


def write_bytes(path: Path, data: bytes) -> None:
    """Replace the file at `path` in one move; an error leaves what was there. Raises OSError as the disk does."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())
