"""Ways through an utterance: sums over them are what trying each finds, and gradients what small steps find."""

from collections.abc import Callable
from itertools import product

import kaldifst
import numpy as np
import pytest

from sottovoce.decoding.alternatives import LatticeDecoder
from sottovoce.decoding.lattices import Lattice
from sottovoce.decoding.paths import OBJECTIVES, Paths
from sottovoce.decoding.phones import PhoneGraph
from sottovoce.errors import DataError

STATES, FRAMES = 4, 5
# Two words of two states each, with a way past the second that hears nothing; what comes after is drawn anew.
ARCS = [(0, 1, 1, 1), (1, 1, 1, 0), (1, 2, 2, 0), (2, 2, 2, 0), (2, 0, 0, 0), (0, 3, 3, 2), (3, 3, 3, 0), (3, 4, 4, 0),
        (4, 4, 4, 0), (4, 0, 0, 0), (1, 0, 0, 0), (2, 5, 4, 0)]
ENDS = (0, 3, 5)


def graph_costs(seed: int) -> tuple[list[float], list[float]]:
    random = np.random.default_rng(seed)
    return random.uniform(0, 2, len(ARCS)).round(4).tolist(), random.uniform(0, 2, len(ENDS)).round(4).tolist()


def graph(seed: int) -> object:
    costs, ends = graph_costs(seed)
    lines = [f"{' '.join(map(str, arc))} {cost}" for arc, cost in zip(ARCS, costs, strict=True)]
    return kaldifst.compile("\n".join([*lines, *(f"{end} {cost}" for end, cost in zip(ENDS, ends, strict=True)), ""]))


def every_way(seed: int, frames: int) -> list[tuple[list[int], float]]:
    """States and log probability of every way through the graph."""
    costs, ends = graph_costs(seed)
    found, ahead = [], [(0, [], 0.0)]
    while ahead:
        node, heard, log_p = ahead.pop()
        if len(heard) == frames and node in ENDS:
            found.append((heard, log_p - ends[ENDS.index(node)]))
        for (origin, target, label, _), cost in zip(ARCS, costs, strict=True):
            if origin == node and (not label or len(heard) < frames):
                ahead.append((target, heard + [label - 1] * bool(label), log_p - cost))
    return found


def drawn(seed: int, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(100 + seed)
    return np.log(random.dirichlet([1.0] * STATES, frames)), random.integers(STATES, size=frames)


def lattice(seed: int, frames: int = FRAMES) -> Lattice:
    found = LatticeDecoder(graph(seed), beam=1000.0, lattice_beam=1000.0).lattice(drawn(seed, frames)[0])
    assert found is not None
    return found


def slope(objective: str, paths: Paths, scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """The gradient of an objective, by small steps of every score."""
    step, found = 1e-5, np.zeros_like(scores)
    for place in product(*map(range, scores.shape)):
        moved = [scores.copy(), scores.copy()]
        moved[0][place] -= step
        moved[1][place] += step
        low, high = (OBJECTIVES[objective](paths, one, reference)[0] for one in moved)
        found[place] = (high - low) / (2 * step)
    return found


PHONES, PLACES = np.array([0, 0, 2, 2]), np.array([0, 1, 0, 1])          # of states; phone 1 has none
ROWS = ([0, 0, 1, 2, 3], [2, 2, 2, 3, 0, 1, 1], [0, 1, 0, 0, 1, 2, 3, 2, 3], [3, 0, 1])


def phone_graph() -> PhoneGraph:
    return PhoneGraph.seen(map(np.array, ROWS), PHONES, PLACES)


def every_row(frames: int) -> list[tuple[list[int], float]]:
    """States and log probability of every way of so many frames through the graph of phones."""
    graph = phone_graph()
    moves = graph.leave[:, None] * graph.enter[graph.phones]
    np.add.at(moves, (graph.source, graph.target), graph.weight)
    rows = [[*row] for row in product(range(STATES), repeat=frames)]
    with np.errstate(divide="ignore"):
        return [(row, float(np.log(graph.first[row[0]]) + np.log(moves[row[:-1], row[1:]]).sum())) for row in rows]


Ways = list[tuple[list[int], float]]
CASES: list[Callable[[int, int], tuple[Paths, Ways]]] = [
    lambda seed, frames: (lattice(seed, frames), every_way(seed, frames)),
    lambda seed, frames: (phone_graph(), every_row(frames)),
]
cases = pytest.mark.parametrize("case", CASES, ids=["lattice", "phones"])


@cases
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("frames", [2, 5])
def test_sums_are_over_every_way(case: Callable[..., tuple[Paths, Ways]], seed: int, frames: int) -> None:
    (scores, reference), (paths, ways) = drawn(seed, frames), case(seed, frames)
    log_p = np.array([graph + sum(scores[frame, state] for frame, state in enumerate(heard)) for heard, graph in ways])
    right = np.array([np.sum(reference == heard) for heard, _ in ways])
    found = paths.occupancy(scores, reference)
    assert found.total == pytest.approx(np.logaddexp.reduce(log_p), abs=1e-5)
    shares = np.exp(log_p - np.logaddexp.reduce(log_p))
    assert found.right == pytest.approx(shares @ right, abs=1e-5)
    for frame, state in product(range(frames), range(STATES)):
        through = shares * np.array([heard[frame] == state for heard, _ in ways])
        assert found.occupied[frame, state] == pytest.approx(through.sum(), abs=1e-5)
        assert found.surplus[frame, state] == pytest.approx(through @ (right - found.right), abs=1e-5)


@cases
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_what_small_steps_find(case: Callable[..., tuple[Paths, Ways]], objective: str,
                                             seed: int) -> None:
    (scores, reference), (paths, _) = drawn(seed), case(seed, FRAMES)
    _, gradient = OBJECTIVES[objective](paths, scores, reference)
    np.testing.assert_allclose(gradient, slope(objective, paths, scores, reference), rtol=1e-5, atol=1e-8)


def test_every_row_of_phones_that_was_seen_is_a_way_and_ways_add_up_to_one() -> None:
    for row in ROWS:
        likely = np.where(np.eye(STATES)[row] > 0, 0.0, -200.0)          # of another way nothing is left
        assert phone_graph().occupancy(likely, np.array(row)).right == pytest.approx(len(row))
    for rows in (ROWS, ROWS[:1]):                                        # in one row nothing comes after its last state
        graph = PhoneGraph.seen(map(np.array, rows), PHONES, PLACES)
        assert graph.occupancy(np.zeros((6, STATES)), np.zeros(6, int)).total == pytest.approx(0)
    with pytest.raises(DataError, match="phones: expected rows of states to count, got none"):
        PhoneGraph.seen([], PHONES, PLACES)


def test_a_narrower_beam_keeps_fewer_ways_and_the_best() -> None:
    scores, _ = drawn(1)
    best = max(every_way(1, FRAMES), key=lambda way: way[1] + sum(scores[range(FRAMES), way[0]]))
    kept = LatticeDecoder(graph(1), beam=16.0, lattice_beam=0.5).lattice(scores)
    assert kept is not None and len(kept.state) < len(lattice(1).state)
    assert set(enumerate(best[0])) <= set(zip(kept.frame.tolist(), kept.state.tolist(), strict=True))


def test_of_too_much_a_narrower_search_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.decoding.alternatives.MOST", 4)
    search = LatticeDecoder(graph(1), beam=4.0, lattice_beam=4.0)
    few = search.lattice(drawn(1)[0])
    monkeypatch.undo()
    every = search.lattice(drawn(1)[0])
    assert few is not None and every is not None and few.target.max() <= 4 * FRAMES < every.target.max()


@pytest.mark.parametrize("frames", [0, 1])
def test_nothing_is_found_where_no_way_is_as_long(frames: int) -> None:
    shortest = kaldifst.compile("0 1 1 0\n1 2 2 0\n2 2 2 0\n2\n")
    assert LatticeDecoder(shortest, 16.0, 10.0).lattice(drawn(0)[0][:frames]) is None


def test_a_lattice_is_the_same_after_it_was_kept() -> None:
    made = lattice(0)
    again = Lattice.from_bytes(made.to_bytes())
    scores, reference = drawn(0)
    for one, other in zip(made.occupancy(scores, reference), again.occupancy(scores, reference), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(DataError, match=r"a1.npz: expected a lattice, got damaged data"):
        Lattice.from_bytes(made.to_bytes()[:-30], "a1.npz")
