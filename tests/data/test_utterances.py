"""Utterances by number: the same from any start, each once an epoch, little padding, and none lost in silence."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import toy

from sottovoce.data.corpora import load_corpus
from sottovoce.data.pool import Pool
from sottovoce.data.utterances import Speaking, Speech, Transcribed, Utterance, cut
from sottovoce.data.vocabulary import Phones
from sottovoce.errors import DataError

PLAIN = Speaking(speed=(1.0, 1.0), noise=0.0)


@pytest.fixture(scope="module")
def found() -> Transcribed:
    corpus = load_corpus(toy.ROOT / "sample" / "speech.jsonl", {"corpus": "!kathleen"})
    return Transcribed(Pool(corpus), Phones(), 9.0, 1.1)


@pytest.fixture(scope="module")
def speech(found: Transcribed) -> Speech:
    noise = Pool(load_corpus(toy.ROOT / "sample" / "noise.jsonl"), "class")
    return Speech(found.pool, found.utterances, noise, Speaking(), 20.0)


def test_every_clip_is_an_utterance_or_is_left_out_for_a_reason(found: Transcribed) -> None:
    assert len(found.utterances) + found.left_out.total() == len(found.pool.cuts)
    assert found.left_out["without text"] == 174 and found.left_out["longer than 9 s"] > 0
    told = list(found.complaints())
    assert told[0] == "174 utterances left out: without text" and "felons'" not in told[-1]
    with pytest.raises(DataError, match=r"expected transcribed utterances, got none; .* longer than 0.1 s"):
        _ = Transcribed(found.pool, Phones(), 0.1).utterances


def test_signs_that_no_word_has_are_named(found: Transcribed) -> None:
    strange = Transcribed(found.pool, Phones(), 9.0)
    strange.unknown.update(["rock'n'42", "stra\u00dfe", "xqzzt", "42"])
    assert list(strange.complaints())[-1] == "signs unknown: 2 4 \u00df"
    strange.unknown = Counter(["x'qzzt"])
    assert list(strange.complaints()) == ["1 words unknown: x'qzzt (1)"]


def test_a_batch_is_its_number(speech: Speech) -> None:
    one, same, other = speech.batch(3, 7), speech.batch(3, 7), speech.batch(4, 7)
    for tensors in zip(one.inputs + one.targets, same.inputs + same.targets, strict=True):
        np.testing.assert_array_equal(*tensors)
    assert one.inputs[0].shape != other.inputs[0].shape or (one.inputs[0] != other.inputs[0]).any()


def test_targets_say_where_waveforms_and_symbols_end(speech: Speech) -> None:
    (waveform,), (samples, symbols, counts) = speech.batch(0, 0)
    assert waveform.shape == (len(samples), max(samples)) and symbols.shape == (len(counts), max(counts))
    for wave, length, codes, count in zip(waveform, samples, symbols, counts, strict=True):
        assert not wave[length:].any() and wave[:length].any()
        assert not codes[count:].any() and codes[:count].all()


def test_an_epoch_has_every_utterance_once() -> None:
    lengths = np.random.default_rng(0).uniform(1, 15, 200)
    utterances = [Utterance(str(n), length, "", (1,)) for n, length in enumerate(lengths)]

    class Silence(Pool):
        def read(self, clip: str, start: float, seconds: float) -> np.ndarray:
            return np.full(round(100 * seconds), float(clip), np.float32)

    speech = Speech(object.__new__(Silence), utterances, None, PLAIN, 60.0)
    batches = len(cut(np.sort(lengths), 60.0))
    for epoch in (0, 1):
        drawn = [speech.batch(0, epoch * batches + n) for n in range(batches)]
        assert sorted(int(wave[0]) for batch in drawn for wave in batch.inputs[0]) == list(range(200))
        held, padded = sum(int(b.targets[0].sum()) for b in drawn), sum(b.inputs[0].numel() for b in drawn)
        assert held > 0.85 * padded


@pytest.mark.parametrize("seconds", [1.0, 10.0, 100.0])
def test_no_batch_is_too_long_unless_it_is_one_utterance(seconds: float) -> None:
    lengths = np.sort(np.random.default_rng(1).uniform(0.5, 15, 50))
    spans = cut(lengths, seconds)
    assert [first for first, _ in spans[1:]] == [last for _, last in islice(spans, len(spans) - 1)]
    assert all(last - first == 1 or (last - first) * lengths[last - 1] <= seconds for first, last in spans)
