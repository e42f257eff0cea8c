"""Error rates: counted as everyone counts them, and averaged over all words, not over utterances."""

import numpy as np
import pytest

from sottovoce.errors import SottovoceError
from sottovoce.metrics.recognition import error_rate
from sottovoce.metrics.statistics import compare, mean_interval, means

CASES = [                                 # metric, heard, said, errors, among
    ("wer", "the cat", "the cat", 0, 2),
    ("wer", "a cat sat down", "the cat sat", 2, 3),
    ("wer", "", "the cat sat", 3, 3),
    ("per", "AH B K", "AH K", 1, 2),
    ("cer", "bat", "cat s", 3, 5),
]


@pytest.mark.parametrize(("metric", "heard", "said", "errors", "among"), CASES)
def test_a_rate_is_errors_in_what_was_said(metric: str, heard: str, said: str, errors: int, among: int) -> None:
    rate = error_rate(metric, heard, said)
    assert rate == pytest.approx(100 * errors / among) and rate.weight == among


def test_nothing_said_has_no_rate() -> None:
    with pytest.raises(SottovoceError, match="wer: expected a transcript with words"):
        error_rate("wer", "the cat", " ")


def test_the_rate_of_a_list_is_all_errors_in_all_words() -> None:
    said = "one two three four five six seven eight nine ten".split()
    lists = [said[: 1 + number % 10] for number in range(40)]
    right, worse, deaf = (
        [{"wer": error_rate("wer", " ".join(words[:keep]), " ".join(words))} for words in lists] for keep in (9, 5, 0)
    )
    total, kept = sum(map(len, lists)), sum(min(len(words), 5) for words in lists)
    assert means(worse)["wer"] == pytest.approx(100 * (total - kept) / total)
    line = compare(deaf, right, worse, ["all"] * 40).groups["all"]["wer"]
    assert line.noisy == 100 and line.compressed == means(worse)["wer"]
    assert line.difference.mean == pytest.approx(line.compressed - line.uncompressed)
    assert line.difference.low < line.difference.mean < line.difference.high


def test_equal_weights_change_nothing() -> None:
    values = np.random.default_rng(0).normal(size=30)
    weighted, plain = mean_interval(values, weights=np.full(30, 4.0)), mean_interval(values)
    assert (weighted.mean, weighted.low, weighted.high) == pytest.approx((plain.mean, plain.low, plain.high))
    with pytest.raises(SottovoceError, match="expected 30 weights"):
        mean_interval(values, weights=[1.0])
