"""Structured pruning that trains which units stay: random gates on them, under a constraint on the expected size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sottovoce.techniques.context import Run, Teacher
from sottovoce.techniques.distill import likeness
from sottovoce.techniques.gates import Extent, Gates, lay_gates
from sottovoce.techniques.removal import Objective, extent_of, groups_of, without
from sottovoce.training import Beside, Precision, Schedule, forward
from sottovoce.units import Cuttable, Group

MISSED = 0.02            # of the whole, by which what was removed may miss its target in silence
MOST_MOVED = 16.0        # by which log alphas are moved to meet the target: from surely open to surely closed


@dataclass(frozen=True)
class L0:
    """Remove a share of the model's units while it trains; which ones, gates learn that are open with a probability.

    The loss is the task's + multiplier_1 * (s - t) + multiplier_2 * (s - t)^2, where s is the share that is expected
    to be removed, t its target and the multipliers go up the loss; with `features` also feature_weight * the mean
    squared distance of what these modules give from what the teacher's do, through a learned linear map. Then all log
    alphas move alike until the target is met, as many units of a kind and place stay as are expected to, and the model
    is cut, or zero where they were. Goes before what shares modules or rounds inputs; codebooks and levels are let go,
    masks hold. Source: Jiang et al. 2023.
    """

    steps: int
    target: float                    # share of the parameters, or of the multiply-adds, 0 < target < 1
    objective: Objective = "size"
    kinds: tuple[str, ...] = ()      # of units, as the model names them; all by default
    lr: float = 3e-4                 # of the weights; all rates fall along a half cosine to decay_to of themselves
    gate_lr: float = 1e-2
    multiplier_lr: float = 1e-2
    decay_to: float = 0.05
    rise: float = 0.1                # share of the steps in which the target rises from 0
    temperature: float = 1.0         # of the gates: the lower, the nearer to 0 or 1 they are drawn
    teacher: Teacher = "dense"
    features: str = ""               # names of modules, shell-style: "blocks.*"; of nested ones the outermost that run
    feature_weight: float = 1.0
    precision: Precision = "fp32"    # of the forward pass; bf16 is faster where the hardware has it

    def __post_init__(self) -> None:
        _ = self.schedule        # refuses what it cannot run
        for name in ("target", "gate_lr", "multiplier_lr"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if not 0 < self.rise <= 1:
            raise ValueError(f"rise must be above 0 and at most 1, got {self.rise}")
        for name in ("temperature", "feature_weight"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.steps, self.lr, decay_to=self.decay_to, precision=self.precision)

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        groups = self.groups(model)
        extent = extent_of(model, self.objective, run)
        gates = {group.name: self._gates(model, group) for group in groups}
        self._fit(model, groups, gates, extent, run)
        stay, removed = self._stay(gates, extent)
        for name, gate in gates.items():
            gate.settle(stay[name])
        run.note(removed=removed, units={name: [int(units.sum()), len(units)] for name, units in stay.items()})
        if abs(removed - self.target) > MISSED:
            run.note(missed=f"target {self.target:g}, removed {removed:.3f}")
        return without(model, groups, stay)

    def _stay(self, gates: Mapping[str, Gates], extent: Extent) -> tuple[dict[str, Tensor], float]:
        """Which units stay when all log alphas move alike until the target is met, and the share that goes then."""
        def chosen(moved: float) -> tuple[dict[str, Tensor], float]:
            stay = {name: gate.likely(moved) for name, gate in gates.items()}
            return stay, float(extent.removed({name: units.float() for name, units in stay.items()}))

        # The higher they are, the less goes.
        low, high = -MOST_MOVED, MOST_MOVED
        while high - low > 1e-4:
            middle = (low + high) / 2
            low, high = (middle, high) if chosen(middle)[1] > self.target else (low, middle)
        return min((chosen(low), chosen(high)), key=lambda found: abs(found[1] - self.target))

    def groups(self, model: nn.Module) -> list[Group]:
        """The groups of units that are gated. Raises RecipeError where the model has none of these kinds."""
        return groups_of(model, self.kinds)

    def _gates(self, model: nn.Module, group: Group) -> Gates:
        norms = model.norms(group.name) if isinstance(model, Cuttable) else ()
        return Gates(group.count, self.temperature, norms, self.gate_lr / self.lr)

    def _fit(self, model: nn.Module, groups: Sequence[Group], gates: Mapping[str, Gates], extent: Extent,
             run: Run) -> None:
        """Train weights, gates and multipliers together."""
        constraint = Constraint(extent, gates, self.target, self.rise, -self.multiplier_lr / self.lr)
        teacher = run.teacher(self.teacher) if self.features else nn.Identity()
        with likeness(model, teacher, self.features, run, mapped=True) as distance:
            lay_gates(model, groups, gates)

            def loss(outputs: Any, batch: Any) -> Tensor:
                value: Tensor = run.task.loss(outputs, batch) + constraint()
                if self.features:
                    with torch.no_grad():
                        forward(teacher.to(batch.inputs[0].device), batch.inputs, self.precision)
                    value = value + self.feature_weight * distance()
                return value

            fitted = run.fit(Beside(model, constraint, distance), loss, self.schedule)
        if fitted.setbacks:
            run.note(setbacks=[str(setback) for setback in fitted.setbacks])


class Constraint(nn.Module):
    """What is added to the loss until the expected share that is removed is the target: a Lagrangian.

    The target rises from 0 within the first share `rise` of the steps.
    """

    share: Tensor

    def __init__(self, extent: Extent, gates: Mapping[str, Gates], target: float, rise: float, pace: float) -> None:
        super().__init__()
        self._extent, self._gates = extent, gates
        self.gates = nn.ModuleList(gates.values())
        self._target, self._rise, self.pace = target, rise, pace
        self.multipliers = nn.Parameter(torch.zeros(2))
        self.register_buffer("share", torch.tensor(0.0))         # of the target, so far

    def anneal(self, share: float) -> None:
        self.share.fill_(min(1.0, share / self._rise))

    def forward(self) -> Tensor:
        removed = self._extent.removed({name: gates.open() for name, gates in self._gates.items()})
        over = removed - self.share * self._target
        return self.multipliers[0] * over + self.multipliers[1] * over.square()
