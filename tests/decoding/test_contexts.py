"""Phones in context: every sentence's states are accepted and tell its words, and no others are."""

from itertools import product
from pathlib import Path

import kaldifst
import numpy as np
import pytest

from sottovoce.data.vocabulary import PHONES, hmms
from sottovoce.decoding.contexts import Contexts
from sottovoce.decoding.graph import build_graph
from sottovoce.decoding.hmms import ALONE, FIRST, INNER, LAST, read_hmms
from sottovoce.decoding.ngrams import Ngrams, Order
from sottovoce.errors import DataError

WORDS = ("<s>", "</s>", "a", "b", "bee", "aba", "ab")
SPOKEN = [("a", [1]), ("b", [2]), ("bee", [2]), ("bee", [2, 2]), ("aba", [1, 2, 1]), ("ab", [1, 2])]
SILENT = 2                               # beside a phone
STATES = np.arange(4 * 2 * 3 * 3 * 3).reshape(4, 2, 3, 3, 3)         # no two contexts share one
QUIET = STATES.size + np.arange(3)
CONTEXTS = Contexts(STATES, QUIET)


@pytest.fixture(scope="module")
def graph() -> kaldifst.StdVectorFst:
    def order(codes: np.ndarray) -> Order:
        return Order(codes, np.full(len(codes), -1.0), np.full(len(codes), -0.5))

    model = Ngrams(WORDS, tuple(map(order, (np.arange(7)[:, None], np.array([[0, 2], [2, 3]]), np.array([[0, 2, 3]])))))
    return build_graph(CONTEXTS.symbols, CONTEXTS.placed(SPOKEN), model, CONTEXTS.topology)


def states_of(ways: list[tuple[str, list[int]]], silences: tuple[bool, ...]) -> list[int]:
    """Those of words, with a silence before the first, and after each, or not."""
    line = [SILENT]                                                  # phones, and silences by their number
    places = [-1]
    for word, ((_, codes), silent) in enumerate(zip(ways, silences[1:], strict=True)):
        line += [code - 1 for code in codes]
        places += [ALONE] if len(codes) == 1 else [FIRST, *[INNER] * (len(codes) - 2), LAST]
        if silent or word == len(ways) - 1:
            line.append(SILENT)
            places.append(-1 if silent else -2)                      # -2: beside the last phone, but not heard
    places[0] = -1 if silences[0] else -2
    found: list[int] = []
    for at, (phone, place) in enumerate(zip(line, places, strict=True)):
        found += [*QUIET] if place == -1 else [] if place == -2 else [*STATES[place, phone, line[at - 1], line[at + 1]]]
    return found


def heard(graph: kaldifst.StdVectorFst, states: list[int]) -> list[str] | None:
    """The words of frames of these states; None where they are not accepted."""
    line = kaldifst.compile("".join(f"{at} {at + 1} {state + 1} {state + 1} 0\n" for at, state in enumerate(states))
                            + f"{len(states)} 0\n")
    kaldifst.arcsort(graph, "ilabel")
    found = kaldifst.compose(line, graph)
    if found.num_states == 0:
        return None
    _, _, labels, _ = kaldifst.get_linear_symbol_sequence(kaldifst.shortest_path(found))
    return [WORDS[label - 1] for label in labels]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_states_tell_the_words_of_a_sentence_and_others_are_refused(graph: kaldifst.StdVectorFst, count: int) -> None:
    rng = np.random.default_rng(count)
    for ways in product(SPOKEN, repeat=count):
        states = states_of([*ways], tuple(rng.random(count + 1) < 0.5))
        words = heard(graph, np.repeat(states, rng.integers(1, 3, len(states))).tolist())
        assert words is not None and len(words) == count
        for word, (_, codes) in zip(words, ways, strict=True):
            assert (word, codes) in SPOKEN                           # that one, or one that sounds the same
        gap = rng.integers(len(states))
        assert heard(graph, [*states[:gap], *states[gap + 1 :]]) is None


def test_of_silence_alone_nothing_is_said(graph: kaldifst.StdVectorFst) -> None:
    assert heard(graph, [*QUIET, *QUIET]) == []


def test_a_model_definition_gives_each_phone_its_states(tmp_path: Path) -> None:
    found = read_hmms(hmms())
    phones, silence = found.of(PHONES)
    assert phones.shape == (4, 39, 40, 40, 3) and [found.kinds[code] for code in silence] == ["SIL.0", "SIL.1", "SIL.2"]
    for part in range(3):
        of = np.array([*(f"{phone}.{part}" for phone in PHONES)])[:, None, None]
        assert (np.array(found.kinds)[phones[..., part]] == of).all()
    s, iy, t = (PHONES.index(phone) for phone in ("S", "IY", "T"))
    assert len({tuple(states) for states in phones[:, iy, s, t].tolist()}) > 1            # places tell apart
    bad = tmp_path / "mdef"
    cut = hmms().read_bytes()[:9999]
    for data, message in (b"BMDF", "damaged data"), (b"text", "got something else"), (cut, "damaged data"):
        bad.write_bytes(data)
        with pytest.raises(DataError, match=message):
            read_hmms(bad)
    with pytest.raises(DataError, match="none: expected a model definition, got: No such file"):
        read_hmms(tmp_path / "none")
