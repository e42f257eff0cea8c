"""The one family of errors that a user's mistake may raise; the command line prints them as a single line."""


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
