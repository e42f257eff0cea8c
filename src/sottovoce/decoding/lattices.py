"""Lattices: the ways through a graph that are nearly as probable as the best, kept as arcs."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from sottovoce.decoding.paths import Array, Occupancy, States
from sottovoce.errors import DataError

Integers = NDArray[np.int32]
FIELDS = ("source", "target", "frame", "state", "log_p")


@dataclass(frozen=True, eq=False)
class Lattice:
    """Arcs between nodes, from node 0 to the last one; every node lies on a way between the two.

    An arc hears one frame as one state of the model, or nothing: then it has frame and state -1.
    """

    source: Integers                 # node that an arc leaves
    target: Integers                 # ... and that it comes to
    frame: Integers
    state: Integers
    log_p: NDArray[np.float32]       # of the graph, without what is heard

    def occupancy(self, scores: Array, reference: States) -> Occupancy:
        """Where the ways lead, by forward and backward sums over the arcs of log probabilities and right frames."""
        heard = self.state >= 0
        frame, state = self.frame[heard], self.state[heard]
        score, right = self.log_p.astype(np.float64), np.zeros(len(self.state))
        score[heard] += scores[frame, state]
        right[heard] = reference[frame] == state
        before, right_before = _sums(self._onwards, self.source, score, right)
        after, right_after = _sums(self._backwards, self.target, score, right)
        total, expected = before[-1], right_before[-1]
        share = np.exp(before[self.source] + score + after[self.target] - total)[heard]
        more = (right_before[self.source] + right + right_after[self.target])[heard] - expected
        occupied, surplus = np.zeros_like(scores), np.zeros_like(scores)
        np.add.at(occupied, (frame, state), share)
        np.add.at(surplus, (frame, state), share * more)
        return Occupancy(float(total), float(expected), occupied, surplus)

    @cached_property
    def _onwards(self) -> list["_Layer"]:
        return list(_layers(self.source, self.target))

    @cached_property
    def _backwards(self) -> list["_Layer"]:
        return list(_layers(self.target, self.source))

    def to_bytes(self) -> bytes:
        """As a file of numpy arrays."""
        file = io.BytesIO()
        np.savez_compressed(file, **{name: getattr(self, name) for name in FIELDS})
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, where: object = "lattice") -> "Lattice":
        """What `to_bytes` made. Raises DataError for anything else."""
        try:
            with np.load(io.BytesIO(data)) as arrays:
                return cls(*(arrays[name] for name in FIELDS))
        except (ValueError, LookupError, OSError, EOFError, BadZipFile) as error:
            raise DataError(f"{where}: expected a lattice, got damaged data ({error})") from None


@dataclass(frozen=True, eq=False)
class _Layer:
    """All arcs that come to some nodes; none of them follows another of them."""

    arcs: NDArray[np.int64]
    starts: NDArray[np.int64]        # places among them where those to another node begin
    nodes: Integers                  # that they come to


def _sums(layers: Sequence[_Layer], source: Integers, score: Array, right: Array) -> tuple[Array, Array]:
    """By node, the log sum of the ways to it and the right frames expected on them."""
    nodes = sum(len(layer.nodes) for layer in layers) + 1
    total, expected = np.zeros(nodes), np.zeros(nodes)
    for layer in layers:
        origin = source[layer.arcs]
        reached = total[origin] + score[layer.arcs]
        sums = np.logaddexp.reduceat(reached, layer.starts)
        shares = np.exp(reached - np.repeat(sums, np.diff(layer.starts, append=len(reached))))
        total[layer.nodes] = sums
        expected[layer.nodes] = np.add.reduceat(shares * (expected[origin] + right[layer.arcs]), layer.starts)
    return total, expected


def _layers(source: Integers, target: Integers) -> Iterator[_Layer]:
    """The arcs in layers, in an order in which all ways to a node are known before any goes on from it."""
    depth = longest(source, target, np.ones_like(source))[target]
    order = np.lexsort((target, depth))
    for arcs in np.split(order, np.flatnonzero(np.diff(depth[order])) + 1):
        starts = np.flatnonzero(np.diff(target[arcs], prepend=-1))
        yield _Layer(arcs, starts, target[arcs[starts]])


def longest(source: Integers, target: Integers, lengths: NDArray[Any]) -> NDArray[np.int64]:
    """Length of the longest way to each node, of arcs without a cycle."""
    nodes = int(max(source.max(), target.max())) + 1
    waits = np.bincount(target, minlength=nodes).tolist()
    order = np.argsort(source, kind="stable")
    places = np.searchsorted(source[order], np.arange(nodes + 1)).tolist()
    onwards = list(zip(target[order].tolist(), lengths[order].tolist(), strict=True))
    found, ready = [0] * nodes, [node for node in range(nodes) if not waits[node]]
    while ready:
        node = ready.pop()
        for other, length in onwards[places[node] : places[node + 1]]:
            found[other] = max(found[other], found[node] + length)
            waits[other] -= 1
            if not waits[other]:
                ready.append(other)
    return np.array(found)
