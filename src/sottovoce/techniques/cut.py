"""Structured pruning by magnitude: the smallest units go, without training."""

import bisect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sottovoce.errors import RecipeError
from sottovoce.techniques.context import Run
from sottovoce.techniques.gates import along, kept, placed
from sottovoce.techniques.removal import Objective, extent_of, groups_of, mask, without
from sottovoce.units import Cuttable, Group

Units = Mapping[str, Tensor]             # a value of each unit, [count], by name of its group


@dataclass(frozen=True)
class Cut:
    """Remove the units of the smallest magnitude, ranked over the whole model, until a share of it is gone.

    The magnitude of a unit is the root mean square of the weights that a gate on it would scale, over the mean of its
    kind in the model. With `hold` the model is cut, or held at zero where they were. Without it these weights are set
    to zero and may learn again, for a later `cut` to choose anew (Lai et al. 2021); norms go on over their zeros. Comes
    before what shares, factors or rounds; codebooks and levels are let go, masks hold.
    """

    target: float                    # share of what the stage meets that no mask holds at zero, 0 < target < 1
    objective: Objective = "size"    # what the share is of: the parameters, or the multiply-adds
    kinds: tuple[str, ...] = ()      # of units, as the model names them; all by default
    hold: bool = True                # for good

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ValueError(f"target must be between 0 and 1, got {self.target}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        groups = self.groups(model)
        extent = extent_of(model, self.objective, run)
        there, magnitudes = _units(model, groups)
        whole = float(extent(_numbers(there)))

        def left(least: float) -> Units:
            return {name: units & (magnitudes[name] > least) for name, units in there.items()}

        def removed(least: float) -> float:
            return 1 - float(extent(_numbers(left(least)))) / whole

        values = torch.cat([magnitudes[name][units] for name, units in there.items()])
        choices: list[float] = sorted(set(values[values.isfinite()].tolist()))
        place = bisect.bisect_left(choices, self.target, key=removed)
        if place == len(choices):
            raise RecipeError(f"target: expected {self.target:g} of the model to go, got units that are no more than "
                              f"{removed(max(choices, default=0.0)):.3f} of it")
        stay = left(choices[place])
        run.note(removed=removed(choices[place]),
                 units={name: [int(units.sum()), len(units)] for name, units in stay.items()})
        return without(model, groups, stay) if self.hold else _silenced(model, groups, stay)

    def groups(self, model: nn.Module) -> list[Group]:
        """The groups of units that are ranked. Raises RecipeError where the model has none of these kinds."""
        return groups_of(model, self.kinds)


@torch.no_grad()
def _units(model: nn.Module, groups: Sequence[Group]) -> tuple[Units, Units]:
    """Which units no mask holds at zero, and the magnitudes of all.

    Of channels that norms go over the largest counts as infinite, for one has to stay.
    """
    there = {group.name: torch.zeros(group.count, dtype=torch.bool) for group in groups}
    squares = {group.name: torch.zeros(group.count, dtype=torch.float64) for group in groups}
    counts = {group.name: torch.zeros(group.count, dtype=torch.float64) for group in groups}
    for weight, places in placed(model, groups):
        value, keep = weight.value.cpu().double(), kept(weight).cpu()
        for group, place in ((group, place) for group, place in places if place.scaled):
            units = place.numbers(group.count)
            rows, alive = (part.movedim(place.axis, 0).reshape(len(units), -1)[units >= 0] for part in (value, keep))
            units = units[units >= 0]
            squares[group.name].index_add_(0, units, rows.square().sum(1))
            counts[group.name].index_add_(0, units, torch.full_like(rows, rows.shape[1])[:, 0])
            there[group.name][units[alive.any(1)]] = True
    roots = {name: (squares[name] / counts[name]).sqrt() for name in squares}
    kinds: dict[str, list[Tensor]] = defaultdict(list)
    for group in groups:
        kinds[group.kind].append(roots[group.name][there[group.name]])
    means = {kind: torch.cat(parts).mean().clamp_min(1e-300) for kind, parts in kinds.items()}
    magnitudes = {group.name: roots[group.name] / means[group.kind] for group in groups}
    if isinstance(model, Cuttable):
        for name in (name for name in magnitudes if model.norms(name)):
            magnitudes[name][torch.where(there[name], magnitudes[name], -1.0).argmax()] = torch.inf
    return there, magnitudes


def _numbers(units: Units) -> Units:
    return {name: values.double() for name, values in units.items()}


@torch.no_grad()
def _silenced(model: nn.Module, groups: Sequence[Group], stay: Units) -> nn.Module:
    """The model with zeros where gates of the other units would scale: what leads there can wake them again."""
    for weight, places in placed(model, groups):
        keep, loud = kept(weight), torch.ones_like(weight.value, dtype=torch.bool)
        for group, place in ((group, place) for group, place in places if place.scaled):
            loud &= along(stay[group.name].to(loud.device), place, loud.dim())
        if not loud.all():
            weight.free()
            weight.original.mul_(loud)
            mask(weight, keep)
    return model
