"""Text to symbols of a recognizer: phones, characters or pieces of a sentencepiece model.

Symbol 0 is the blank of CTC. A symbol that begins a word, as every phone does, begins with the mark U+2581, so that one
rule makes text of symbols of any kind: see `runtime/transcribe.py`.

Text is compared in lower case, without accents, punctuation and quotation marks; hyphens and dashes part words. Numbers
are not spelled out: a word with a digit or another sign is one that the vocabulary does not know.
"""

import re
import unicodedata
from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from sottovoce.errors import DataError
from sottovoce.runtime.transcribe import BLANK, WORD

Units = Literal["phones", "characters", "pieces"]
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
PHONES = (
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)
SIBILANTS, VOICELESS = frozenset("CH JH S SH Z ZH".split()), frozenset("F K P T TH".split())
_PART = re.compile(r"[\s\-\u2010-\u2015/]+")
_MARKS = ".,;:!?\"()[]{}\u2026\u201c\u201d\u201e\u00ab\u00bb"


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case and without what is not spoken."""
    plain = unicodedata.normalize("NFKD", text.replace("\u2019", "'").replace("\u2018", "'").replace("`", "'"))
    plain = "".join(sign for sign in plain.lower() if not unicodedata.combining(sign))
    words = (part.strip(_MARKS) for part in _PART.split(plain))
    return [word for word in words if word.strip("'")]


class Vocabulary(Protocol):
    """The symbols of a recognizer, and how words are written in them."""

    metrics: ClassVar[tuple[str, ...]]      # error rates that tell how good its transcripts are

    @property
    def symbols(self) -> tuple[str, ...]:
        """What each code stands for; the first is the blank."""
        ...

    @abstractmethod
    def unknown(self, words: Sequence[str]) -> list[str]:
        """Those of the words that cannot be written."""

    @abstractmethod
    def codes(self, words: Sequence[str]) -> list[int]:
        """The symbols of words that are known."""


class Phones(Vocabulary):
    """The 39 phones of the CMU dictionary without stress; a word is spoken as its first entry says.

    Source: the English dictionary in the pocketsphinx package. Possessives that it does not have follow the rule.
    """

    metrics = ("per",)
    symbols = (BLANK, *(WORD + phone for phone in PHONES))

    def unknown(self, words: Sequence[str]) -> list[str]:
        return [word for word in words if self._spoken(word) is None]

    def codes(self, words: Sequence[str]) -> list[int]:
        return [PHONES.index(phone) + 1 for word in words for phone in self._spoken(word) or ()]

    def _spoken(self, word: str) -> tuple[str, ...] | None:
        known = _dictionary()
        bare = word.strip("'")
        if (found := known.get(word) or known.get(bare)) is not None:
            return found
        owner = known.get(bare.removesuffix("'s")) if bare.endswith("'s") else None
        return owner and owner + _ending(owner[-1])


class Characters(Vocabulary):
    """Letters, the apostrophe, and the mark between words."""

    metrics = ("wer", "cer")
    symbols = (BLANK, WORD, *LETTERS)

    def unknown(self, words: Sequence[str]) -> list[str]:
        return [word for word in words if not set(word) <= set(LETTERS)]

    def codes(self, words: Sequence[str]) -> list[int]:
        return [self.symbols.index(sign) for sign in WORD.join(words)]


class Pieces(Vocabulary):
    """The pieces of a sentencepiece model, after the blank. Raises DataError for a file that is no such model."""

    metrics = ("wer", "cer")

    def __init__(self, path: Path) -> None:
        from sentencepiece import SentencePieceProcessor

        try:
            self._model = SentencePieceProcessor(model_file=str(path))
        except (OSError, RuntimeError) as error:
            raise DataError(f"{path}: expected a sentencepiece model, could not read it ({error})") from None

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        return BLANK, *(self._model.id_to_piece(code) for code in range(self._model.get_piece_size()))

    def unknown(self, words: Sequence[str]) -> list[str]:
        return [word for word in words if self._model.unk_id() in self._model.encode(word)]

    def codes(self, words: Sequence[str]) -> list[int]:
        return [code + 1 for code in self._model.encode(" ".join(words))]


def vocabulary(units: Units, pieces: Path | None) -> Vocabulary:
    """The vocabulary of those units; `pieces` is the sentencepiece model of `units` "pieces"."""
    if units == "pieces":
        assert pieces is not None, "checked with the settings"
        return Pieces(pieces)
    return Phones() if units == "phones" else Characters()


def _ending(phone: str) -> tuple[str, ...]:
    """How a possessive ends after that phone."""
    return ("AH", "Z") if phone in SIBILANTS else ("S",) if phone in VOICELESS else ("Z",)


@lru_cache(1)
def _dictionary() -> dict[str, tuple[str, ...]]:
    """Word -> phones, of each entry: those after the first are named word(2)."""
    from pocketsphinx import get_model_path

    lines = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    return {word: tuple(phones) for word, *phones in map(str.split, lines)}


def spoken() -> list[tuple[str, list[int]]]:
    """All entries of the dictionary: words and the codes of their phones, of some words several."""
    return [(entry.partition("(")[0], [PHONES.index(phone) + 1 for phone in phones])
            for entry, phones in _dictionary().items()]


def trigrams() -> Path:
    """The English trigram model that comes with the dictionary."""
    from pocketsphinx import get_model_path

    return Path(get_model_path("en-us/en-us.lm.bin"))


def hmms() -> Path:
    """The definition of the English acoustic model that comes with the dictionary: the states of phones in context."""
    from pocketsphinx import get_model_path

    return Path(get_model_path("en-us/en-us/mdef"))
