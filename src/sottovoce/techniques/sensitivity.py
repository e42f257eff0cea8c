"""What each tensor can lose: how the loss rises, or the outputs move, when it alone is changed."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.techniques.context import Run
from sottovoce.techniques.groups import Groups, kept
from sottovoce.techniques.rerun import Rerun, Rise
from sottovoce.techniques.tracing import first
from sottovoce.techniques.weights import Rows, Weight
from sottovoce.training import Loss

STEPS = 20                               # of the search: multiples of 5 %
CURVE = (0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)        # where a curve is measured
MOST = CURVE[-1]                         # of a tensor at once: one that is all gone does not learn again
SHARES = np.linspace(0, MOST, 191).tolist()              # that a tensor is offered to lose


@dataclass(frozen=True)
class Table:
    """What was measured, and the share of its nonzero weights that each tensor is to lose."""

    loss: float                                          # of the model as it is, mean over the utterances
    utterances: int
    ratios: dict[str, float] = field(default_factory=dict)
    evaluated: list[tuple[str, float, float]] = field(default_factory=list)      # tensor, ratio, rise of the loss
    whole: str = ""                                      # why every evaluation ran the whole model; empty if not

    def note(self, run: Run) -> None:
        """Put the table into the ledger row of the stage at work, under `sensitivity`."""
        record: dict[str, Any] = {**vars(self), "ratios": self.ratios, "evaluations": len(self.evaluated)}
        run.note(sensitivity={key: value for key, value in record.items() if value != ""})

    def pruned(self, name: str, value: Tensor, rise: Rise, groups: Groups, rows: Rows) -> Callable[[float], float]:
        """The rise of the loss as a function of the ratio; every evaluation is written down."""

        def measured(ratio: float) -> float:
            found = rise(value * kept(value, ratio, groups, rows))
            self.evaluated.append((name, ratio, found))
            return found

        return measured


def prepared(model: nn.Module, run: Run, utterances: int, loss: Loss) -> tuple[Rerun, Table]:
    """The model over at most so many utterances of the development list, and an empty table."""
    batches = run.validation_batches(utterances)
    rerun = Rerun(model, batches, loss)
    return rerun, Table(rerun.base, sum(len(batch.inputs[0]) for batch in batches), whole=rerun.whole)


def movement() -> Loss:
    """A loss: how far an utterance's outputs are from those that came first, squared, over the power of these.

    Unlike the task's loss on a few utterances it never falls when something is taken away, and what it is for several
    tensors is about the sum of what it is for each, so that one may share out a ratio by it.
    """
    intacts: dict[int, Tensor] = {}

    def moved(outputs: Any, batch: Any) -> Tensor:
        given: Tensor = first(outputs).float().flatten(1)
        intact = intacts.setdefault(id(batch), given)      # the batches are those of one Rerun, as long as it lasts
        tiny = torch.finfo(torch.float32).tiny
        return ((given - intact).square().sum(1) / intact.square().sum(1).clamp_min(tiny)).mean()

    return moved


def tolerated(model: nn.Module, chosen: Sequence[Weight], tolerance: float, groups: Groups, run: Run,
              utterances: int) -> Table:
    """The ratio of each tensor by Algorithms 1 (weights) and 2 (kernels) of Tan and Wang 2021; none left, ratio 0."""
    rerun, table = prepared(model, run, utterances, run.task.loss)
    rows = {weight.name: weight.rows for weight in chosen}
    for name, value, rise in rerun.weights([weight.name for weight in chosen]):
        measured = table.pruned(name, value, rise, groups, rows[name])
        table.ratios[name] = bearable(measured, tolerance) if value.any() else 0.0
    return table


def bearable(rise: Callable[[float], float], tolerance: float) -> float:
    """The largest multiple of 5 % that raises the loss by no more than `tolerance`; 0 if none does.

    Found by halving. Where the curve only rises it is the ratio that the published search, which tries one multiple
    after the other, ends with. A rise that is not a number is too much.
    """
    low, high = 0, STEPS + 1
    while high - low > 1:
        middle = (low + high) // 2
        if rise(middle / STEPS) <= tolerance:
            low = middle
        else:
            high = middle
    return low / STEPS


def balanced(model: nn.Module, chosen: Sequence[Weight], ratio: float, groups: Groups, run: Run,
             utterances: int) -> Table:
    """Ratios by which the share `ratio` of all nonzero weights goes at the least total movement of the outputs.

    The movements are taken to add up, and to lie on straight lines between the measured points.
    """
    rerun, table = prepared(model, run, utterances, movement())
    offers, total = {}, 0
    rows = {weight.name: weight.rows for weight in chosen}
    for name, value, rise in rerun.weights([weight.name for weight in chosen]):
        nonzeros = int(value.count_nonzero())
        total += nonzeros
        if nonzeros:
            risen = curve(table.pruned(name, value, rise, groups, rows[name]))
            offers[name] = [Offer(nonzeros * (1 - share), risen(share), share) for share in SHARES]
    taken = allocate(offers, (1 - ratio) * total)
    table.ratios.update(dict.fromkeys((weight.name for weight in chosen), 0.0))
    table.ratios.update({name: offer.ratio for name, offer in taken.items()})
    return table


def curve(rise: Callable[[float], float]) -> Callable[[float], float]:
    """The rise over the ratio, measured at a few of them: 0 at 0, never falling, straight in between."""
    rises = np.array([0.0, *(rise(ratio) for ratio in CURVE)])
    rises = np.maximum.accumulate(np.where(np.isfinite(rises), rises, np.inf))
    known = np.isfinite(rises)
    rises[~known] = 10 * max(float(rises[known].max()), 1.0)     # worse than anything measured
    return lambda ratio: float(np.interp(ratio, (0.0, *CURVE), rises))


class Offer(NamedTuple):
    """A tensor made smaller in one way."""

    cost: float              # bytes, or weights that stay
    rise: float              # of the loss
    ratio: float = 0.0       # of its nonzero weights that go
    values: int = 0          # that the others share


def allocate(offers: Mapping[str, Sequence[Offer]], wanted: float) -> dict[str, Offer]:
    """An offer for each tensor, of at most the wanted cost together, at the least total rise.

    Each tensor goes down the lower convex hull of its offers, always the one next that saves most for its rise, so
    that all end at about the same slope; the last goes no further than it has to. Where the wanted cost cannot be
    reached, the cheapest offers.
    """
    hulls = {name: _hull(several) for name, several in offers.items()}
    steps = sorted(
        (slope, number / len(hull), name, number)        # equal slopes: all tensors go down together
        for name, hull in hulls.items()
        for number, slope in enumerate(_slopes(hull), 1)
    )
    taken = {name: hull[0] for name, hull in hulls.items()}
    total = math.fsum(offer.cost for offer in taken.values())
    for _, _, name, number in steps if total > wanted else ():
        others = total - taken[name].cost
        taken[name] = hulls[name][number]
        total = others + taken[name].cost
        if total <= wanted:
            enough = (offer for offer in offers[name] if others + offer.cost <= wanted)
            taken[name] = min(enough, key=lambda offer: (offer.rise, -offer.cost))
            break
    return taken


def _hull(offers: Sequence[Offer]) -> list[Offer]:
    """The offers on the lower convex hull of rise over cost, from the least rise to the least cost."""
    hull: list[Offer] = []
    for offer in sorted(offers, key=lambda offer: (-offer.cost, offer.rise)):
        while hull and offer.rise < hull[-1].rise:
            hull.pop()                   # cheaper and better
        if hull and offer.cost == hull[-1].cost:
            continue
        while len(hull) > 1 and _slope(hull[-1], offer) < _slope(hull[-2], hull[-1]):
            hull.pop()
        hull.append(offer)
    return hull


def _slopes(hull: Sequence[Offer]) -> list[float]:
    """Rise per saving from offer to offer; held to never fall, as on a straight line it may in the last digit."""
    return list(accumulate(map(_slope, hull, hull[1:]), max))


def _slope(before: Offer, after: Offer) -> float:
    return (after.rise - before.rise) / (before.cost - after.cost)
