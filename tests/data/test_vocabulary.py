"""Text in symbols: what is spoken stays, comes back, and what cannot be written is named."""

from pathlib import Path

import pytest

from sottovoce.data.vocabulary import Characters, Phones, Pieces, Vocabulary, words_of
from sottovoce.errors import DataError
from sottovoce.runtime.transcribe import text_of

TEXTS = {
    "\u201cDon\u2019t!\u201d she said\u2014twice.": "don't she said twice",
    "well-known; CAFÉ (closed)": "well known cafe closed",
    "  ' ... ": "",
    "in 1469, the £ sign": "in 1469 the £ sign",
}
SPOKEN = {
    "read": "R EH D",                         # the first of its entries
    "quilter's": "K W IH L T ER Z",           # not in the dictionary: as the rule says
    "wish's desk's": "W IH SH AH Z D EH S K S",
    "boys' 'tis": "B OY Z T IH Z",
}


@pytest.mark.parametrize("text", TEXTS)
def test_words_are_what_is_spoken(text: str) -> None:
    assert " ".join(words_of(text)) == TEXTS[text]


@pytest.mark.parametrize("text", SPOKEN)
def test_words_are_spoken_as_the_dictionary_says(text: str) -> None:
    vocabulary = Phones()
    assert text_of(vocabulary.codes(words_of(text)), vocabulary.symbols) == SPOKEN[text]


@pytest.fixture(scope="module")
def pieces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentencepiece model of a few sentences."""
    import sentencepiece

    folder = tmp_path_factory.mktemp("pieces")
    (folder / "text.txt").write_text("the cat sat on the mat\nthe dog's hat is flat\na jumpy quick fox views bz\n" * 9)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "toy"), vocab_size=33, minloglevel=2,
    )
    return folder / "toy.model"


@pytest.mark.parametrize("units", ["characters", "pieces"])
def test_text_comes_back_and_strange_words_are_named(units: str, pieces: Path) -> None:
    vocabulary: Vocabulary = Characters() if units == "characters" else Pieces(pieces)
    words = words_of("The dog's hat is 2 flat")
    assert vocabulary.unknown(words) == ["2"]
    words.remove("2")
    codes = vocabulary.codes(words)
    assert min(codes) > 0 and text_of(codes, vocabulary.symbols) == "the dog's hat is flat"


def test_phones_name_what_the_dictionary_lacks() -> None:
    assert Phones().unknown(words_of("Ruggedo said 2 words")) == ["ruggedo", "2"]


def test_what_is_no_sentencepiece_model_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.model", Path(__file__)):
        with pytest.raises(DataError, match=f"{path}: expected a sentencepiece model"):
            Pieces(path)
