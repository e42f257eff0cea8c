"""Words: the graph finds what trying every sentence finds, and a folder's graph is built once and for its settings."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from sottovoce.data.vocabulary import Phones, spoken, trigrams
from sottovoce.decoding import words as decoding
from sottovoce.decoding.graph import build_graph
from sottovoce.decoding.ngrams import Ngrams, Order
from sottovoce.decoding.words import WordDecoder, finished_graph, kept_graph
from sottovoce.errors import DataError, FormatError

WORDS = ("<s>", "</s>", "a", "ab", "b", "bee", "ba", "caba")
SPOKEN = [("a", [1]), ("ab", [1, 2]), ("b", [2]), ("bee", [2]), ("bee", [2, 2]), ("ba", [2, 1]), ("caba", [3, 1, 2, 1]),
          ("unheard of", [3])]
SYMBOLS, MOST = 4, 3                     # words of the sentences that are tried


def drawn(seed: int) -> Ngrams:
    """A model with some bigrams and trigrams, each likelier than by backing off: then there is one way to read it."""
    random, size = np.random.default_rng(seed), len(WORDS)
    pairs = np.array([pair for pair in product(range(size), range(size)) if random.random() < 0.5 and pair[0] != 1])
    triples = np.array([(*pair, word) for pair in pairs for word in range(1, size)
                        if random.random() < 0.3 and pair[1] != 1])

    def order(codes: np.ndarray, low: float, high: float) -> Order:
        return Order(codes, random.uniform(low, high, len(codes)), random.uniform(-1, -0.5, len(codes)))

    return Ngrams(WORDS, (order(np.arange(size)[:, None], -5, -3), order(pairs, -3, -1.5), order(triples, -1.5, 0)))


def sentence_cost(model: Ngrams, said: tuple[int, ...]) -> float:
    codes = [0, *said, 1]
    history = [codes[max(0, place - 2) : place + 1] for place in range(1, len(codes))]
    return -sum(float(model.log_p(np.array([ngram]))[0]) for ngram in history)


def heard_cost(frames: np.ndarray, symbols: list[int]) -> float:
    """Of the best way through frames that is written so: symbols with blanks between, repeats parted by one."""
    states = [0] + [state for symbol in symbols for state in (symbol, 0)]
    costs = np.full(len(states), np.inf)
    costs[0] = 0
    for number, frame in enumerate(-frames):
        before = costs.copy() if number else np.where(np.arange(len(states)) == 0, 0, np.inf)
        for place, state in enumerate(states):
            ways = [before[place], before[place - 1] if place else np.inf]
            if place > 1 and state not in (0, states[place - 2]):
                ways.append(before[place - 2])
            costs[place] = min(ways) + frame[state]
        if not number and len(states) > 1:
            costs[1], costs[2:] = frame[states[1]], np.inf
    return float(min(costs[-2:]))


@pytest.mark.parametrize("seed", range(6))
def test_the_best_sentence_is_found(seed: int) -> None:
    model, random = drawn(seed), np.random.default_rng(100 + seed)
    frames = np.log(random.dirichlet([0.5] * SYMBOLS, 7)).astype(np.float32)
    ways = [(WORDS.index(word), codes) for word, codes in SPOKEN if word in WORDS]
    costs: dict[tuple[int, ...], float] = {}
    for length in range(MOST + 1):
        for chosen in product(ways, repeat=length):
            said = tuple(word for word, _ in chosen)
            cost = 2 * heard_cost(frames, [code for _, codes in chosen for code in codes]) + sentence_cost(model, said)
            costs[said] = min(cost, costs.get(said, np.inf))
    decoder = WordDecoder(build_graph(SYMBOLS, SPOKEN, model), WORDS, scale=2.0, beam=1000.0)
    found = tuple(WORDS.index(word) for word in decoder.words(frames))
    if len(found) <= MOST:               # a longer one was not tried, and is better than those that were
        assert costs[found] == pytest.approx(min(costs.values()))
    assert decoder.words(frames[:0]) == []


def test_states_other_than_those_that_there_are_priors_of_are_named() -> None:
    decoder = WordDecoder(build_graph(SYMBOLS, SPOKEN, drawn(0)), WORDS, log_priors=[-1.0] * SYMBOLS)
    with pytest.raises(FormatError, match=r"expected \[frames, 4\], as the graph has states, got \[7, 5\]"):
        decoder.words(np.zeros((7, SYMBOLS + 1)))


def test_a_graph_is_built_once_and_for_its_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Phones.symbols, spoken(), trigrams()
    _, vocabulary = kept_graph(tmp_path / "graph", *made, 200, 2000)
    monkeypatch.setattr(decoding, "_built", None)
    graph, again = kept_graph(tmp_path / "graph", *made, 200, 2000)
    assert again == vocabulary == finished_graph(tmp_path / "graph", list(Phones.symbols))[1] and len(vocabulary) == 202
    with pytest.raises(DataError, match="expected a graph of the 3 symbols of the model, got one of others"):
        finished_graph(tmp_path / "graph", ["<blk>", "A", "B"])
    with pytest.raises(DataError, match=r"none/graph.json: expected what a graph is made of, got: No such file"):
        finished_graph(tmp_path / "none", list(Phones.symbols))
    said = "i know that you are in it".split()
    path = [code for symbol in Phones().codes(said) for code in (symbol, 0)]
    assert WordDecoder(graph, vocabulary).words(np.log(0.9 * np.eye(40)[path] + 0.0025)) == said
    with pytest.raises(DataError, match=r"expected a graph of 300 words and 2000 ngrams .* got one of .* words 200"):
        kept_graph(tmp_path / "graph", *made, 300, 2000)
    (tmp_path / "graph" / "graph.fst").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"graph.fst: expected a graph, got damaged data"):
        kept_graph(tmp_path / "graph", *made, 200, 2000)
    (tmp_path / "graph" / "graph.json").write_text("{}")
    with pytest.raises(DataError, match="got damaged data"):
        kept_graph(tmp_path / "graph", *made, 200, 2000)
