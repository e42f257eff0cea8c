"""A graph of all that may be said: the topology of CTC, a dictionary and a language model, composed once and kept.

Labels are codes of the symbols plus one, as 0 is the empty label, and places of the words plus one.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import kaldifst
import numpy as np

from sottovoce.decoding.ngrams import END, START, Ngrams

Spoken = Sequence[tuple[str, Sequence[int]]]         # words and the codes of their symbols; a word may come again
Arc = tuple[object, ...]                             # from, to, input, output and cost, or a final state and its cost
Topology = Callable[[int, Sequence[int]], Iterator[Arc]]     # of so many symbols; of the labels given nothing is heard


def build_graph(symbols: int, spoken: Spoken, model: Ngrams, topology: Topology | None = None) -> Any:
    """The graph from so many symbols, 0 the blank of CTC, to the words of the model. A large one takes minutes.

    With a topology it is not CTC's, but from what that hears in each frame.
    """
    number = {word: place + 1 for place, word in enumerate(model.words)}
    lexicon, twins = _lexicon(symbols, spoken, number)
    grammar = _compiled(_grammar(model, back=len(model.words) + 1))
    kaldifst.arcsort(lexicon, "olabel")
    kaldifst.arcsort(grammar, "ilabel")
    words = kaldifst.compose(lexicon, grammar)
    del lexicon, grammar
    kaldifst.determinize_star(words)
    kaldifst.minimize_encoded(words)
    heard = _compiled((topology or _topology)(symbols, [symbols + 1 + twin for twin in range(twins + 1)]))
    kaldifst.arcsort(heard, "olabel")
    kaldifst.arcsort(words, "ilabel")
    return kaldifst.compose(heard, words)


def _lexicon(symbols: int, spoken: Spoken, number: dict[str, int]) -> tuple[Any, int]:
    """From symbols to words, any number of them; and how many labels part words that would sound as others begin.

    The first of these labels, before them, lets the backoffs of the language model through.
    """
    known = [(number[word], tuple(code + 1 for code in codes)) for word, codes in spoken if word in number]
    begun = {codes[:length] for _, codes in known for length in range(1, len(codes))}
    alike = Counter(codes for _, codes in known)
    used: Counter[tuple[int, ...]] = Counter()
    arcs: list[Arc] = [(0, 0, symbols + 1, len(number) + 1, 0.0)]
    state = 0
    for word, codes in known:
        labels = [*codes]
        if alike[codes] > 1 or codes in begun:
            used[codes] += 1
            labels.append(symbols + 1 + used[codes])
        here = 0
        for place, label in enumerate(labels):
            state, there = (state, 0) if place == len(labels) - 1 else (state + 1, state + 1)
            arcs.append((here, there, label, 0 if place else word, 0.0))
            here = there
    return _compiled([*arcs, (0, 0.0)]), max(used.values(), default=0)


def _grammar(model: Ngrams, back: int) -> Iterator[Arc]:
    """Words, with a state for every history that n-grams go on from; the label `back` leads to a shorter one."""
    uni, bi, tri = model.orders
    size = len(model.words)
    pairs, at_pair = np.unique(model.places(tri.codes[:, :2])[0], return_inverse=True)       # bigrams that go on
    goes_on = np.zeros(size, bool)
    goes_on[bi.codes[:, 0]] = True
    of_word = np.where(goes_on, np.cumsum(goes_on), 0)                                       # 0: no history
    of_pair = of_word.max() + 1 + np.arange(len(pairs))
    after_pair = of_word[bi.codes[:, 1]]
    after_pair[pairs] = of_pair
    at, known = model.places(tri.codes[:, 1:])
    after = [of_word, after_pair, of_word[tri.codes[:, 2]]]
    after[2][known] = after_pair[at[known]]
    before = [np.zeros(size, np.int64), of_word[bi.codes[:, 0]], of_pair[at_pair]]
    start, end = model.words.index(START), model.words.index(END)
    first = int(of_word[start])
    rows = [(b, a, o.codes[:, -1], o.log_p) for b, a, o in zip(before, after, model.orders, strict=True)]
    columns = [np.concatenate(column) for column in zip(*rows, strict=True)]
    order = np.argsort(columns[0] != first, kind="stable")                   # the graph begins where its first arc does
    for here, there, word, log_p in zip(*(column[order].tolist() for column in columns), strict=True):
        if word == end:
            yield here, -log_p
        elif word != start:
            yield here, there, word + 1, word + 1, -log_p
    for word in np.flatnonzero(goes_on).tolist():
        yield int(of_word[word]), 0, back, 0, -float(uni.backoff[word])
    for state, pair in zip(of_pair.tolist(), pairs.tolist(), strict=True):
        yield state, int(of_word[bi.codes[pair, 1]]), back, 0, -float(bi.backoff[pair])


def _topology(symbols: int, silent: Sequence[int]) -> Iterator[Arc]:
    """From what is heard in each frame to symbols: repeats are one. Of the labels `silent` nothing is heard."""
    for state in range(symbols):                                 # what was heard last; 0 is the blank
        yield state, state, state + 1, 0, 0.0
        for heard in range(symbols):
            if heard != state:
                yield state, heard, heard + 1, heard and heard + 1, 0.0
        for label in silent:
            yield state, state, 0, label, 0.0
        yield state, 0.0


def _compiled(arcs: Iterable[Arc]) -> Any:
    return kaldifst.compile("".join(f"{' '.join(map(str, arc))}\n" for arc in arcs))
