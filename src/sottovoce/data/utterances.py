"""Transcribed utterances as batches of about the same seconds, any of them by its number.

The utterances of an epoch are put in order of their lengths, a little shaken, cut into batches at fixed places, and the
batches are shuffled. Every epoch has the same number of batches, so a number says which epoch and which batch: lhotse's
samplers would have to be run from the start to come to it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sottovoce.data.batches import Batch
from sottovoce.data.mixing import fill, sped
from sottovoce.data.plans import fitted
from sottovoce.data.pool import Pool
from sottovoce.data.synthetic import unit
from sottovoce.data.vocabulary import Vocabulary, words_of
from sottovoce.errors import DataError

FRAMES_PER_SECOND = 25       # of a recognizer's output: there have to be as many as symbols, and one between equal ones
SHAKEN = 0.1                 # lengths are taken as up to this share longer when they are put in order
MOST_NAMED = 20              # words that a complaint lists


@dataclass(frozen=True)
class Utterance:
    """A clip and what is said in it."""

    clip: str
    seconds: float
    text: str                        # as the vocabulary writes it
    codes: tuple[int, ...]


@dataclass
class Transcribed:
    """The utterances of a corpus that can be learnt from or scored, and why others cannot."""

    pool: Pool
    vocabulary: Vocabulary
    most_seconds: float
    fastest: float = 1.0                                                 # speed that they may be read at
    left_out: Counter[str] = field(default_factory=Counter)              # reason -> clips
    unknown: Counter[str] = field(default_factory=Counter)               # word -> times

    @cached_property
    def utterances(self) -> list[Utterance]:
        """In the order of the corpus. Raises DataError where there are none."""
        found = [utterance for cut in self.pool.cuts if (utterance := self._written(cut)) is not None]
        if not found:
            raise DataError(f"speech: expected transcribed utterances, got none; {'; '.join(self.complaints())}")
        return found

    def complaints(self) -> Iterator[str]:
        """What was left out, in words."""
        for reason, clips in self.left_out.items():
            yield f"{clips} utterances left out: {reason}"
        if self.unknown:
            named = ", ".join(f"{word} ({times})" for word, times in self.unknown.most_common(MOST_NAMED))
            yield f"{len(self.unknown)} words unknown: {named}{', ...' if len(self.unknown) > MOST_NAMED else ''}"
        if signs := self.vocabulary.unknown(sorted({*"".join(self.unknown)} - {"'"})):        # alone it is no word
            yield f"signs unknown: {' '.join(signs[:MOST_NAMED])}{' ...' if len(signs) > MOST_NAMED else ''}"

    def _written(self, cut: Any) -> Utterance | None:
        words = words_of(" ".join(said.text or "" for said in cut.supervisions))
        unknown = self.vocabulary.unknown(words)
        self.unknown.update(unknown)
        codes = [] if unknown else self.vocabulary.codes(words)
        needed = len(codes) + sum(one == two for one, two in pairwise(codes))
        reasons = {
            "without text": not words,
            "words that the vocabulary does not know": bool(unknown),
            f"longer than {self.most_seconds:g} s": cut.duration > self.most_seconds,
            "more symbols than frames": needed >= cut.duration / self.fastest * FRAMES_PER_SECOND,
        }
        for reason, holds in reasons.items():
            if holds:
                self.left_out[reason] += 1
                return None
        return Utterance(cut.id, cut.duration, " ".join(words), tuple(codes))


@dataclass(frozen=True)
class Speaking:
    """What utterances to learn from are like."""

    speed: tuple[float, float] = (0.9, 1.1)          # drawn uniformly
    noise: float = 0.5                               # share with recorded noise, if there is a corpus of it
    snr_db: tuple[float, float] = (5.0, 25.0)        # drawn uniformly

    def __post_init__(self) -> None:
        if not 0.1 <= self.speed[0] <= self.speed[1] <= 10:
            raise ValueError(f"speed must be (low, high), 0.1..10, got {self.speed}")
        if not 0 <= self.noise <= 1:
            raise ValueError(f"noise is a share and must be 0..1, got {self.noise}")
        if not -1e3 <= self.snr_db[0] <= self.snr_db[1] <= 1e3:
            raise ValueError(f"snr_db must be (low, high), finite, got {self.snr_db}")


@dataclass(frozen=True)
class Speech:
    """Makes batches of utterances: batch `number` of what a seed starts."""

    pool: Pool
    utterances: Sequence[Utterance]
    noise: Pool | None
    settings: Speaking
    seconds: float                                   # of a batch, with its padding; a longer utterance is one alone

    def batch(self, seed: int, number: int) -> Batch:
        """Batch `number` of the endless sequence that `seed` starts."""
        epoch, place = divmod(number, len(self._places))
        order = np.random.default_rng([seed, 0, epoch])
        lengths = self._seconds * order.uniform(1, 1 + SHAKEN, len(self._seconds))
        first, last = self._places[order.permutation(len(self._places))[place]]
        rng = np.random.default_rng([seed, 1, number])
        chosen = [self.utterances[at] for at in np.argsort(lengths, kind="stable")[first:last]]
        return padded([self._spoken(rng, utterance) for utterance in chosen], chosen)

    def _spoken(self, rng: np.random.Generator, utterance: Utterance) -> NDArray[np.float32]:
        speed = float(rng.uniform(*self.settings.speed))
        wave = sped(self.pool.read(utterance.clip, 0.0, utterance.seconds), speed)
        if self.noise is None or rng.random() >= self.settings.noise:
            return wave
        seconds = len(wave) / self.pool.rate
        pieces = fill(rng, self.noise, seconds)
        noise = np.concatenate([self.noise.read(piece.clip, piece.start, piece.seconds) for piece in pieces])
        rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
        gain = np.float32(rms * 10 ** (-float(rng.uniform(*self.settings.snr_db)) / 20))
        return wave + gain * unit(fitted(noise, len(wave)))

    @cached_property
    def _seconds(self) -> NDArray[np.float64]:
        return np.array([utterance.seconds for utterance in self.utterances])

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """First and last place, of utterances in order of length, of every batch of an epoch."""
        return cut(np.sort(self._seconds), self.seconds)


def cut(lengths: Sequence[float] | NDArray[np.float64], seconds: float) -> list[tuple[int, int]]:
    """Lengths in rising order as spans of places that take at most so many seconds once padded, one place at least."""
    spans, first = [], 0
    for place, length in enumerate(lengths):
        if place > first and (place + 1 - first) * length > seconds:
            spans.append((first, place))
            first = place
    return [*spans, (first, len(lengths))]


def padded(waves: Sequence[NDArray[np.float32]], utterances: Sequence[Utterance]) -> Batch:
    """Waveforms [batch, samples]; lengths in samples [batch], symbols [batch, most] and their counts [batch]."""
    samples, symbols = [len(wave) for wave in waves], [len(utterance.codes) for utterance in utterances]
    waveform = np.stack([fitted(wave, max(samples)) for wave in waves])
    codes = np.stack([np.pad(utterance.codes, (0, max(symbols) - len(utterance.codes))) for utterance in utterances])
    return Batch(
        (torch.from_numpy(waveform),), (torch.tensor(samples), torch.from_numpy(codes), torch.tensor(symbols))
    )
