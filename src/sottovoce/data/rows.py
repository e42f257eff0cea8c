"""Recordings of one speaker joined to rows, with the state of every frame: what is normalised is then a speaker."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sottovoce.data.alignments import Alignments, Integers
from sottovoce.data.batches import Batch
from sottovoce.data.plans import fitted
from sottovoce.data.pool import Pool
from sottovoce.data.utterances import SHAKEN, cut

HOP = 160                            # samples of a frame
NONE = -1                            # the state of a frame that is not aligned


@dataclass(frozen=True)
class Row:
    """Clips of one speaker."""

    speaker: str
    clips: tuple[str, ...]
    seconds: float


class Span(NamedTuple):
    """Where an utterance is in a batch."""

    utterance: str
    row: int
    first: int                       # frame
    states: Integers                 # [frames]

    def of(self, outputs: Any) -> Any:
        """Its frames [frames, ...] of outputs [batch, frames, ...]."""
        return outputs[self.row, self.first : self.first + len(self.states)]


def rows_of(pool: Pool, clips: Collection[str], most_seconds: float) -> list[Row]:
    """All of these clips of a pool, its groups taken as speakers; a row is longer only where it is a single clip."""
    rows = []
    for speaker, members in pool.members.items():
        chosen: list[int] = []
        for member in (member for member in members.tolist() if pool.cuts[member].id in clips):
            if chosen and pool.seconds[[*chosen, member]].sum() > most_seconds:
                rows.append(_row(pool, speaker, chosen))
                chosen = []
            chosen.append(member)
        if chosen:
            rows.append(_row(pool, speaker, chosen))
    return rows


def _row(pool: Pool, speaker: str, members: Sequence[int]) -> Row:
    return Row(speaker, tuple(pool.cuts[member].id for member in members), float(pool.seconds[members].sum()))


@dataclass(frozen=True)
class Joined:
    """Makes batches of rows: batch `number` of what a seed starts."""

    pool: Pool
    alignments: Alignments
    rows: Sequence[Row]
    seconds: float                   # of a batch; a longer row is one alone
    share: float = 1.0               # of the frames of a batch that it is about

    def batch(self, seed: int, number: int) -> Batch:
        """Batch `number` of the endless sequence that `seed` starts."""
        epoch, place = divmod(number, len(self._places))
        order = np.random.default_rng([seed, 0, epoch])
        lengths = self._seconds * order.uniform(1, 1 + SHAKEN, len(self._seconds))
        first, last = self._places[order.permutation(len(self._places))[place]]
        batch = self.of([self.rows[at] for at in np.argsort(lengths, kind="stable")[first:last]])
        return batch if self.share == 1 else _thinned(batch, self.share, np.random.default_rng([seed, 1, number]))

    def in_order(self) -> list[Batch]:
        """All rows, each once, in order of length."""
        ordered = sorted(self.rows, key=lambda row: row.seconds)
        return [self.of(ordered[first:last]) for first, last in self._places]

    def of(self, rows: Sequence[Row]) -> Batch:
        """Waveforms [batch, samples]; states [batch, frames]; of clips number, first frame, frames [batch, clips, 3].

        A row that is shorter begins again, without states, so that no silence is normalised with the speaker. One of
        fewer clips ends in some of number NONE.
        """
        waves, states, spans = [], [], []
        for row in rows:
            wave, found, firsts = self.joined(row)
            waves.append(wave)
            states.append(found)
            spans.append([[self.alignments.clips.index(clip), first, count] for clip, first, count in firsts])
        frames, most = max(map(len, states)), max(map(len, spans))
        filled = [[*clips, *[[NONE, 0, 0]] * (most - len(clips))] for clips in spans]
        return Batch(
            (torch.from_numpy(np.stack([np.resize(wave, frames * HOP) for wave in waves])),),
            (torch.from_numpy(np.stack([_lengthened(found, frames) for found in states])), torch.tensor(filled)),
        )

    def joined(self, row: Row) -> tuple[NDArray[np.float32], Integers, list[tuple[str, int, int]]]:
        """Its waveform [frames * HOP], states [frames], and of each clip the first frame and how many are aligned."""
        waves, states, firsts, at = [], [], [], 0
        for clip in row.clips:
            wave = self.pool.read(clip, 0.0, float(self.pool.seconds[self.pool.index[clip]]))
            frames = -(-len(wave) // HOP)
            found = self.alignments.of(clip)[:frames]
            waves.append(fitted(wave, frames * HOP))
            states.append(_lengthened(found, frames))
            firsts.append((clip, at, len(found)))
            at += frames
        return np.concatenate(waves), np.concatenate(states), firsts

    def spans(self, batch: Batch) -> list[Span]:
        """The utterances of one of its batches."""
        states, places = (target.cpu().numpy() for target in batch.targets)
        return [Span(self.alignments.clips[clip], row, first, states[row, first : first + count])
                for row, clips in enumerate(places.tolist()) for clip, first, count in clips if clip != NONE]

    @cached_property
    def _seconds(self) -> NDArray[np.float64]:
        return np.array([row.seconds for row in self.rows])

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """First and last place, of rows in order of length, of every batch of an epoch."""
        return cut(np.sort(self._seconds), self.seconds)


def _thinned(batch: Batch, share: float, rng: np.random.Generator) -> Batch:
    """A batch of some of the frames alone, drawn at random of those with states; they are another input [batch, count].

    Frames that are beside each other say nearly the same: a step learns more of fewer frames of more speakers.
    """
    states, spans = batch.targets
    drawn = np.argsort(rng.random(states.shape) + (states.numpy() == NONE))[:, : ceil(share * states.shape[1])]
    frames = torch.from_numpy(np.sort(drawn))
    return Batch((*batch.inputs, frames), (states.gather(1, frames), spans))


def _lengthened(states: Integers, frames: int) -> Integers:
    return np.pad(states, (0, frames - len(states)), constant_values=NONE)
