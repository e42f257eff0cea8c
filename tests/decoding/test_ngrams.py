"""Language models: read as pocketsphinx reads them, and made smaller without losing what adds up to one."""

from pathlib import Path

import numpy as np
import pytest
from pocketsphinx import Config, LogMath, NGramModel

from sottovoce.data.vocabulary import trigrams
from sottovoce.decoding.ngrams import BASE, START, Ngrams, limited, read_ngrams
from sottovoce.errors import DataError

WORDS = "the of and to a in is it you that was for on are with united states".split()


@pytest.fixture(scope="module")
def english() -> Ngrams:
    return read_ngrams(trigrams())


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_are_those_of_pocketsphinx(english: Ngrams, order: int) -> None:
    logarithms = LogMath(BASE)                       # it has to outlive the model
    theirs = NGramModel(Config(), logarithms, str(trigrams()))
    random, listed = np.random.default_rng(order), english.orders[order - 1].codes
    codes = np.concatenate([listed[random.integers(len(listed), size=200)],
                            random.integers(len(english.words), size=(200, order))])
    expected = [theirs.prob([english.words[code] for code in row[::-1]]) * np.log(BASE) for row in codes]
    np.testing.assert_allclose(english.log_p(codes), expected, atol=1e-3)


@pytest.mark.parametrize("most", [40, 10_000])
def test_what_follows_any_history_adds_up_to_one(english: Ngrams, most: int) -> None:
    small = limited(english, WORDS, most)
    assert set(small.words) == {*WORDS, "<s>", "</s>"}
    assert sum(len(order.codes) for order in small.orders[1:]) < 2 * most
    followers = np.array([[code] for code, word in enumerate(small.words) if word != START])
    histories = [[small.words.index(word) for word in text.split()] for text in ("", "<s>", "the", "the united")]
    histories += [list(pair) for pair in small.orders[1].codes[:20]]
    for history in histories:
        codes = np.column_stack([np.tile(np.array(history, np.int64), (len(followers), 1)), followers])
        assert np.exp(small.log_p(codes)).sum() == pytest.approx(1, abs=1e-4)


def test_what_matters_most_is_kept(english: Ngrams) -> None:
    sizes = [len(limited(english, WORDS, most).orders[2].codes) for most in (40, 200, 10_000)]
    assert sizes == sorted(sizes) and len(set(sizes)) == 3
    few, all_of_it = limited(english, WORDS, 100), limited(english, WORDS, 10_000)
    united = np.array([[few.words.index(word) for word in "the united states".split()]])
    assert few.log_p(united) == pytest.approx(all_of_it.log_p(united), abs=0.05)


@pytest.mark.parametrize(("data", "message"), [
    (b"\\data\\\nngram 1=3\n", "got something else"), (b"Trie Language Model\x03\x05", "got damaged data"),
])
def test_another_file_is_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "lm.bin").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read_ngrams(tmp_path / "lm.bin")
    with pytest.raises(DataError, match="gone"):
        read_ngrams(tmp_path / "gone")
