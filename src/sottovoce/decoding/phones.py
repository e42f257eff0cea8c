"""All that could be said in phones: a bigram of them over the tied states that they were aligned with.

Which state a phone begins with is drawn given the phone before, as often as it was seen after it. A state then lasts as
long as it did on average, and is followed by one of the same phone, as often as that was seen, or by the phone's end.
So every row of states that was seen is a way through, and so is what no dictionary has. A way may stop anywhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sottovoce.decoding.paths import Array, Occupancy, States
from sottovoce.errors import DataError

Shares = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PhoneGraph:
    """The states, the phones that they are of, and how likely each is to follow."""

    phones: Numbers                  # [states], from 0
    first: Shares                    # [states], to begin with
    source: Numbers                  # [arcs] within phones, with one of every state to itself
    target: Numbers
    weight: Shares
    leave: Shares                    # [states], to end the phone
    enter: Shares                    # [phones, states], to begin the next one

    @classmethod
    def seen(cls, rows: Iterable[States], phones: States, places: States) -> "PhoneGraph":
        """That of rows of states, one a frame; `phones` and `places` say of each state where it belongs.

        A state at a later place of the same phone goes on with it, any other begins the next one. Raises DataError
        where there are no rows.
        """
        runs = [(row[starts], np.diff(starts, append=len(row)))
                for row in rows for starts in [np.flatnonzero(np.diff(row, prepend=-1))] if len(row)]
        if not runs:
            raise DataError("phones: expected rows of states to count, got none")
        count = len(phones)
        seen = np.concatenate([states for states, _ in runs])
        frames = np.bincount(seen, np.concatenate([lengths for _, lengths in runs]), count)
        here, there = (np.concatenate([states[part] for states, _ in runs]) for part in (slice(-1), slice(1, None)))
        nexts = np.bincount(here, minlength=count)
        # A state that nothing was seen after stays.
        change = np.where(nexts > 0, np.bincount(seen, minlength=count) / np.maximum(frames, 1), 0.0)
        each = change / np.maximum(nexts, 1)
        same = (phones[here] == phones[there]) & (places[here] < places[there])
        pairs, times = np.unique(np.stack([here, there])[:, same], axis=1, return_counts=True)
        enter = np.zeros((int(phones.max()) + 1, count))
        np.add.at(enter, (phones[here[~same]], there[~same]), 1.0)
        states = np.arange(count)
        return cls(
            phones=np.asarray(phones, np.int64),
            first=np.bincount([states[0] for states, _ in runs], minlength=count) / len(runs),
            source=np.concatenate([states, pairs[0]]),
            target=np.concatenate([states, pairs[1]]),
            weight=np.concatenate([1 - change, times * each[pairs[0]]]),
            leave=np.bincount(here[~same], minlength=count) * each,
            enter=enter / np.maximum(enter.sum(1, keepdims=True), 1),
        )

    def occupancy(self, scores: Array, reference: States) -> Occupancy:
        """Where the ways lead, by forward and backward sums of probabilities, scaled in every frame.

        Both are rows of [2, states]: a probability, and that times the right frames expected with it.
        """
        peaks = scores.max(1, keepdims=True).astype(np.float64)
        heard = np.exp(scores - peaks)
        before, total = np.empty((len(scores), 2, len(self.phones))), float(peaks.sum())
        now = np.stack([self.first, np.zeros_like(self.first)])
        for frame, right in enumerate(reference):
            now = (self._onwards(now) if frame else now) * heard[frame]
            now[1, right] += now[0, right]
            scale = now[0].sum()
            now /= scale
            total += float(np.log(scale))
            before[frame] = now
        expected = float(now[1].sum())
        occupied, surplus = np.empty_like(scores), np.empty_like(scores)
        after = np.stack([np.ones_like(self.first), np.zeros_like(self.first)])
        for frame in reversed(range(len(scores))):
            share, more = before[frame][0] * after[0], before[frame][1] * after[0] + before[frame][0] * after[1]
            scale = share.sum()
            occupied[frame], surplus[frame] = share / scale, (more - expected * share) / scale
            after = after * heard[frame]
            after[1, reference[frame]] += after[0, reference[frame]]
            after = self._backwards(after / after[0].sum())
        return Occupancy(total, expected, occupied, surplus)

    def _onwards(self, values: Shares) -> Shares:
        """What comes to each state, of values [2, states] of those before."""
        states, phones, starts = self._ends
        ended = np.zeros((2, len(self.enter)))
        ended[:, phones] = np.add.reduceat((values * self.leave).take(states, 1), starts, axis=1)
        source, weight, starts = self._into
        return np.add.reduceat(values.take(source, 1) * weight, starts, axis=1) + ended @ self.enter

    def _backwards(self, values: Shares) -> Shares:
        """What goes from each state to values [2, states] of those after."""
        target, weight, starts = self._out_of
        within = np.add.reduceat(values.take(target, 1) * weight, starts, axis=1)
        return within + self.leave * (values @ self.enter.T).take(self.phones, 1)

    @cached_property
    def _into(self) -> tuple[Numbers, Shares, Numbers]:
        """Sources and weights of the arcs in order of their targets, and where those to each state begin."""
        order, starts = _grouped(self.target)
        return self.source[order], self.weight[order], starts

    @cached_property
    def _out_of(self) -> tuple[Numbers, Shares, Numbers]:
        """Targets and weights of the arcs in order of their sources, and where those from each state begin."""
        order, starts = _grouped(self.source)
        return self.target[order], self.weight[order], starts

    @cached_property
    def _ends(self) -> tuple[Numbers, Numbers, Numbers]:
        """The states in order of their phones, the phones that have some, and where those of each begin."""
        order, starts = _grouped(self.phones)
        return order, self.phones[order[starts]], starts


def _grouped(keys: Numbers) -> tuple[Numbers, Numbers]:
    """Places in an order in which equal keys are side by side, and where each key begins in it."""
    order = np.argsort(keys, kind="stable")
    return order, np.flatnonzero(np.diff(keys[order], prepend=-1))
