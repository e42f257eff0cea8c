"""An artefact as a small ONNX file whose weights stay packed: an enhancer frame by frame, a recognizer whole."""

from pathlib import Path

from sottovoce.artefact import Artefact
from sottovoce.export.check import check
from sottovoce.export.enhancer import enhancer_file
from sottovoce.export.file import not_packed
from sottovoce.export.recognizer import TOKENS, recognizer_file, recognizes, tokens
from sottovoce.files import write_bytes, write_text

__all__ = ["export_onnx", "not_packed", "save_onnx"]


def save_onnx(artefact: Artefact, path: Path) -> dict[str, str]:
    """Write a checked ONNX file whole or not at all, and tokens.txt beside that of a recognizer.

    Gives what `not_packed` says of it. Raises SottovoceError as `export_onnx` and `check` do, OSError as the disk does.
    """
    data = export_onnx(artefact)
    check(data, artefact)
    write_bytes(path, data)
    if recognizes(artefact):
        write_text(path.with_name(TOKENS), tokens(artefact))
    return not_packed(artefact)


def export_onnx(artefact: Artefact) -> bytes:
    """The ONNX file of a model. Raises SottovoceError as `enhancer_file` and `recognizer_file` do."""
    return recognizer_file(artefact) if recognizes(artefact) else enhancer_file(artefact)
