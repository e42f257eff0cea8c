"""From the states of phones in context, one a frame, to the phones of words: what the graph of a hybrid begins with.

A phone is written with its place in its word, first, last, both or neither, and so phones say where words end. There
may be silence; a phone next to it, or to the end of what is heard, has silence beside it. Every state lasts one frame
or more. How likely it is to last is left out: beside what the frames say it is little, and alike for all phones.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from sottovoce.decoding.hmms import ALONE, BEGINS, ENDS, FIRST, INNER, LAST, PLACES, Integers

if TYPE_CHECKING:
    from sottovoce.decoding.graph import Arc, Spoken  # which needs more to be installed

Position = tuple[int, ...]           # left phone, phone and its place, the next one to be told
END: Position = ()                   # of a word, where there may be silence


@dataclass(frozen=True)
class States:
    """The tied states that a model gives probabilities of."""

    digest: str                      # by which they are known
    contexts: "Contexts"
    log_priors: Sequence[float]      # how likely each is [states], natural logarithms


@dataclass(frozen=True)
class Contexts:
    """The states that phones are made of, by what is beside them."""

    phones: Integers                 # [place, phone, left, right, 3]; the last of the left and right ones is silence
    silence: Integers                # [3]

    @property
    def symbols(self) -> int:
        """How many there are for a graph: 0 is none, as it would be CTC's blank."""
        return 1 + len(PLACES) * self._silent

    def placed(self, spoken: "Spoken") -> "Spoken":
        """Words whose phones, from 1 up, are written with their places."""
        return [(word, [_symbol(code - 1, place) for code, place in zip(codes, _places(len(codes)), strict=True)])
                for word, codes in spoken]

    def topology(self, symbols: int, silent: Sequence[int]) -> Iterator["Arc"]:
        """From states in each frame to phones with their places. Of the labels `silent`, after words, nothing is heard.

        A phone is known by those beside it, and so a way through it ends where the next one is known. That one is said
        with the last of its three states: ways that differ in what follows part only there.
        """
        assert symbols == self.symbols, f"expected {self.symbols} symbols, got {symbols}"
        number = _Numbers()
        start = number["start"]
        entries: dict[Position, set[tuple[int, int]]] = defaultdict(set)         # first states, and where they lead
        arrivals: dict[Position, set[int]] = defaultdict(set)
        arrivals[END].add(start)                                     # it begins as if after a silence
        for phone, place in self._follow(END):
            yield start, number["begin", phone, place], 0, _symbol(phone, place) + 1, 0.0
            arrivals[self._silent, phone, place].add(number["begin", phone, place])
        drawn: set[Arc] = set()
        for position in (END, *product(range(self._silent + 1), range(self._silent), PLACES)):
            for (first, second, third), said, target in self._ways(position):
                one, two, three = number[position, first], number[position, first, second], number[target, "in", third]
                entries[position].add((first, one))
                arrivals[target].add(three)
                ways = [(one, one, first), (one, two, second), (two, two, second), (three, three, third)]
                arcs = {*((here, there, state + 1, 0, 0.0) for here, there, state in ways),
                        (two, three, third + 1, said, 0.0)}
                yield from arcs - drawn
                drawn |= arcs
        for position, nodes in arrivals.items():
            for node, (first, one) in product(nodes, entries[position]):
                yield node, one, first + 1, 0, 0.0
            if position == END or position[-1] in ENDS:
                yield from ((node, node, 0, label, 0.0) for node, label in product(nodes, silent))
        yield from ((node, 0.0) for node in arrivals[END])

    @property
    def _silent(self) -> int:
        """The number of silence beside a phone."""
        return int(self.phones.shape[1])

    def _follow(self, position: Position) -> Iterator[tuple[int, int]]:
        """Phones and places that may come after a phone or a silence."""
        return product(range(self._silent), BEGINS if position == END or position[-1] in ENDS else (INNER, LAST))

    def _ways(self, position: Position) -> Iterator[tuple[Sequence[int], int, Position]]:
        """The ways on from a phone whose left one is known, or from an end: their states, labels, and where they lead.

        After an end there is silence, any number of times.
        """
        if position == END:
            beside = [self.silence.tolist()] * (self._silent + 1)
            phone = self._silent
        else:
            left, phone, place = position
            beside = self.phones[place, phone, left].tolist()
        for after, there in self._follow(position):
            yield beside[after], _symbol(after, there) + 1, (phone, after, there)
        if position == END or place in ENDS:
            yield beside[self._silent], 0, END


class _Numbers(dict[object, int]):
    """Numbers of names, from 0 up in the order in which they are met."""

    def __missing__(self, name: object) -> int:
        self[name] = len(self)
        return self[name]


def _symbol(phone: int, place: int) -> int:
    return 1 + len(PLACES) * phone + place


def _places(length: int) -> list[int]:
    return [ALONE] if length == 1 else [FIRST, *[INNER] * (length - 2), LAST]
