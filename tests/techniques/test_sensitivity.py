"""The search ends where trying every ratio would, and an allocation is the best there is."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sottovoce.data.batches import Batch
from sottovoce.run import Run
from sottovoce.techniques.sensitivity import CURVE, STEPS, Offer, allocate, bearable, curve, movement


def one_after_the_other(rises: list[float], tolerance: float) -> float:
    """Algorithm 1 as published; rises at 5 %, 10 %, ..., 100 %."""
    return next((step for step, rise in enumerate(rises) if rise > tolerance), STEPS) / STEPS


@pytest.mark.parametrize("seed", range(20))
def test_halving_ends_where_the_published_search_ends(seed: int) -> None:
    rises = np.cumsum(np.random.default_rng(seed).exponential(size=STEPS) ** 3).tolist()
    asked: list[float] = []

    def rise(ratio: float) -> float:
        asked.append(ratio)
        return float(rises[round(ratio * STEPS) - 1])

    for tolerance in (0.0, *rises, 2 * rises[-1]):
        asked.clear()
        assert bearable(rise, tolerance) == one_after_the_other(rises, tolerance)
        assert len(asked) <= 5


def test_a_rise_that_is_not_a_number_is_too_much() -> None:
    assert bearable(lambda ratio: float("nan") if ratio > 0.3 else 0.0, 1.0) == 0.3


@pytest.mark.parametrize(("changed", "moved"), [(1.0, 0.0), (2.0, 1.0), (0.0, 1.0), (0.9, 0.01)])
def test_outputs_that_move_count_by_their_power_whichever_way_they_go(changed: float, moved: float) -> None:
    outputs, other, loss = torch.randn(2, 50), torch.randn(2, 50), movement()
    first, second = (Batch((outputs,), (outputs,)) for _ in range(2))
    assert [float(loss(outputs, first)), float(loss((other, None), second))] == [0.0, 0.0]
    assert float(loss(changed * outputs, first)) == pytest.approx(moved, abs=1e-6)
    assert float(loss(changed * other, second)) == pytest.approx(moved, abs=1e-6)


def test_an_utterance_counts_as_much_however_loud_it_is_and_whatever_stands_beside_it() -> None:
    outputs, moved, loud = torch.randn(4, 50), torch.randn(4, 50), torch.tensor([[1.0], [1e3], [1e-3], [10.0]])

    def mean(parts: list[slice]) -> float:
        loss, batches = movement(), [Batch((outputs[part],), ()) for part in parts]
        for part, batch in zip(parts, batches, strict=True):
            loss((loud * outputs)[part], batch)
        return sum(len(batch.inputs[0]) * float(loss((loud * moved)[part], batch))
                   for part, batch in zip(parts, batches, strict=True)) / 4

    apart = mean([slice(n, n + 1) for n in range(4)])
    assert [mean([slice(4)]), mean([slice(3), slice(3, 4)])] == pytest.approx([apart, apart])


def test_a_curve_goes_through_what_was_measured_and_never_falls() -> None:
    rises = dict(zip(CURVE, (-1, 1, 0.5, 2, 3, float("nan"), 5, float("inf")), strict=True))
    risen = curve(rises.__getitem__)
    points = [risen(ratio) for ratio in np.linspace(0, CURVE[-1], 100)]
    assert points == sorted(points) and points[0] == 0
    assert risen(CURVE[0]) == 0 and risen(CURVE[1]) == 1 and risen(CURVE[4]) == 3
    assert risen((CURVE[3] + CURVE[4]) / 2) == pytest.approx(2.5)
    assert np.isfinite(points).all() and risen(CURVE[5]) == risen(CURVE[-1]) == 30


def offers(rng: np.random.Generator, convex: bool) -> list[Offer]:
    savings, rises = rng.uniform(1, 5, 4), rng.uniform(0, 2, 4)
    if convex:
        rises = savings * np.sort(rng.uniform(0, 1, 4))
    costs, totals = 30 - np.cumsum(savings), np.cumsum(rises)
    return [Offer(30.0, 0.0), *(Offer(float(cost), float(rise)) for cost, rise in zip(costs, totals, strict=True))]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("convex", [True, False])
def test_no_other_allocation_of_that_cost_is_better(seed: int, convex: bool) -> None:
    rng = np.random.default_rng(seed)
    tensors = {name: offers(rng, convex) for name in "abc"}
    every = [tuple(map(sum, zip(*((o.cost, o.rise) for o in chosen), strict=True)))
             for chosen in itertools.product(*tensors.values())]
    for wanted in rng.uniform(min(cost for cost, _ in every), 90, 5):
        taken = allocate(tensors, wanted)
        cost, rise = sum(offer.cost for offer in taken.values()), sum(offer.rise for offer in taken.values())
        assert cost <= wanted
        # The best of its own cost up to the last step, which may have had to save more than was wanted.
        largest = max(a.rise - b.rise for several in tensors.values() for b, a in itertools.combinations(several, 2))
        assert rise - largest <= min(other for spent, other in every if spent <= wanted) + 1e-9


def test_what_costs_nothing_is_taken_from_all_alike_and_no_further_than_asked() -> None:
    tensors = {name: [Offer(100 - cut, 0.0, cut / 100) for cut in range(96)] for name in "ab"}
    taken = allocate(tensors, 120)
    assert sum(offer.cost for offer in taken.values()) == 120
    assert {offer.ratio for offer in taken.values()} == {0.4}


def test_where_the_cost_cannot_be_reached_all_is_given() -> None:
    tensors = {"a": [Offer(10, 0), Offer(5, 1)], "b": [Offer(10, 0), Offer(4, 9)]}
    assert [offer.cost for offer in allocate(tensors, 1).values()] == [5, 4]
    assert [offer.cost for offer in allocate(tensors, 20).values()] == [10, 10]


@pytest.mark.parametrize(("asked", "wanted"), [(3, [1, 5, 8]), (5, [1, 3, 5, 7, 9]), (10, list(range(10))),
                                               (99, list(range(10)))])
@pytest.mark.parametrize("lengths", [(1, 1, 1), (1, 2, 2), (1, 2, 3), (2, 1, 2)])
def test_utterances_are_spread_over_the_list_and_those_of_one_length_come_together(
        asked: int, wanted: list[int], lengths: tuple[int, ...]) -> None:
    numbers = [torch.arange(first, min(first + 4, 10)).repeat(length, 1).T
               for first, length in zip((0, 4, 8), lengths, strict=True)]
    task = SimpleNamespace(fixed=lambda split: [Batch((part,), (-part,)) for part in numbers])
    chosen = Run.validation_batches(SimpleNamespace(task=task), asked)           # type: ignore[arg-type]
    assert [int(number) for batch in chosen for number in batch.inputs[0][:, 0]] == wanted
    assert all(torch.equal(batch.targets[0], -batch.inputs[0]) for batch in chosen)
    sizes = [len(batch.inputs[0]) for batch in chosen]
    assert all(0 < size <= 4 for size in sizes)          # a list is made in batches of 4: there is memory for these
    widths = [batch.inputs[0].shape[1] for batch in chosen]
    assert all(one != other or size + more > 4 for one, other, size, more
               in zip(widths, widths[1:], sizes, sizes[1:], strict=False))
