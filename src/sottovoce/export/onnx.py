"""An artefact as a small ONNX file whose weights stay packed: an enhancer frame by frame, a recognizer whole."""

from pathlib import Path

from sottovoce.artefact import Artefact
from sottovoce.errors import SottovoceError
from sottovoce.export.check import INT8_TOLERANCE, TOLERANCE, check
from sottovoce.export.enhancer import enhancer_file
from sottovoce.export.file import not_packed
from sottovoce.export.int8 import factors
from sottovoce.export.recognizer import TOKENS, recognizer_file, recognizes, tokens
from sottovoce.files import write_bytes, write_text

__all__ = ["TOKENS", "export_onnx", "not_packed", "recognizes", "save_onnx"]


def save_onnx(artefact: Artefact, path: Path, int8: bool = False) -> dict[str, str]:
    """Write a checked ONNX file whole or not at all, and tokens.txt beside that of a recognizer.

    Gives what `not_packed` says of it. Raises SottovoceError as `export_onnx` and `check` do, OSError as the disk does.
    """
    data = export_onnx(artefact, int8)
    check(data, artefact, INT8_TOLERANCE if int8 else TOLERANCE)
    write_bytes(path, data)
    if recognizes(artefact):
        write_text(path.with_name(TOKENS), tokens(artefact))
    return not_packed(artefact, factors(artefact.graph) if int8 else frozenset())


def export_onnx(artefact: Artefact, int8: bool = False) -> bytes:
    """The ONNX file of a model, of a recognizer also with matrix products in `int8`.

    Raises SottovoceError as `enhancer_file` and `recognizer_file` do.
    """
    if recognizes(artefact):
        return recognizer_file(artefact, int8)
    if int8:
        raise SottovoceError("ONNX export: expected a recognizer for int8, got a model that gives a waveform")
    return enhancer_file(artefact)
