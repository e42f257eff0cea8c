"""Models that come with the package: NAME.sotto beside this file."""

import json
import zlib
from pathlib import Path
from typing import Any

from sottovoce.artefact.file import PREAMBLE
from sottovoce.errors import SottovoceError

FOLDER = Path(__file__).parent


def shipped() -> dict[str, Path]:
    """Name -> file of every shipped model."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.sotto"))}


def find(model: str) -> Path:
    """The file that a path or the name of a shipped model means; a file that is there comes first.

    Raises SottovoceError that lists what there is.
    """
    models, path = shipped(), Path(model)
    if path.is_file():
        return path
    if model not in models:
        listed = ", ".join(models) or "none"
        raise SottovoceError(f"{model}: expected a .sotto file or a shipped model ({listed}), got neither")
    return models[model]


def facts(path: Path) -> dict[str, Any]:
    """What a shipped model says of itself, without the time that reading its tensors takes."""
    data = path.read_bytes()
    _, _, _, packed, _, _ = PREAMBLE.unpack_from(data)
    meta: dict[str, Any] = json.loads(zlib.decompress(data[PREAMBLE.size : PREAMBLE.size + packed]))["meta"]
    return meta
