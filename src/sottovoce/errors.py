"""The one family of errors that a user's mistake may raise; the command line prints them as a single line."""

import sysconfig
import traceback

_LIBRARIES = tuple(sysconfig.get_path(kind) for kind in ("stdlib", "purelib", "platlib"))
_OURS = ("<", *_LIBRARIES, __file__.removesuffix("errors.py"))


class SottovoceError(Exception):
    """Something the user gave cannot be used; the message says what was wanted, what came, and where."""


class RecipeError(SottovoceError):
    """A recipe asks for something that does not exist or cannot be done."""


class DataError(SottovoceError):
    """A corpus, manifest or audio file cannot be used."""


class FormatError(SottovoceError):
    """A `.sotto` file or a checkpoint is damaged, from a later version, or of another model."""


class EngineError(SottovoceError):
    """A sound model that the compiled engine cannot run, or not in this way."""


def in_code(error: Exception) -> str:
    """What an error that came out of a user's code says, after the line of that code, if there is one."""
    lines = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    theirs = [f"{file}, line {line}: " for file, line in lines if not file.startswith(_OURS)]
    said = str(error).partition("\n")[0]
    return f"{theirs[-1] if theirs else ''}{type(error).__name__}{said and ': '}{said}"
