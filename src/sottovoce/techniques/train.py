"""Training on the task itself, with sparse regularization on request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from sottovoce.techniques.context import Run
from sottovoce.techniques.regularize import Strength, penalty, sizes, strength
from sottovoce.training import Beside, Loss, Precision, Schedule


@dataclass(frozen=True)
class Train:
    """Train on the task; masks and codebooks hold."""

    steps: int
    lr: float = 1e-3             # of Adam, falling along a half cosine to decay_to of it
    warmup: int = 0              # steps
    decay_to: float = 0.05
    precision: Precision = "fp32"    # of the forward pass; bf16 is faster where the hardware has it
    l1: Strength = 0.0           # in the loss, of the mean magnitude of the nonzero weights; or "auto"
    group: Strength = 0.0        # in the loss, of the mean scaled norm of the nonzero groups of weights; or "auto"
    decay: float = 0.9           # what remains of l1 and group from round to round of an iterate stage

    def __post_init__(self) -> None:
        for name, value in (("l1", self.l1), ("group", self.group)):
            if value != "auto" and not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be a number, 0 or more, or 'auto', got {value}")
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be above 0 and at most 1, got {self.decay}")
        _ = self.schedule        # refuses what it cannot run

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.steps, self.lr, self.warmup, self.decay_to, precision=self.precision)

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        self._fit(model, run.task.loss, run)
        return model

    def _fit(self, model: nn.Module, loss: Loss, run: Run, beside: Sequence[nn.Module] = ()) -> None:
        l1, group = self._strengths(model, run)
        learner = Beside(model, *beside) if beside else model
        fitted = run.fit(learner, loss, self.schedule, [penalty(model, l1, group)] if l1 or group else [])
        if fitted.setbacks:
            run.note(setbacks=[str(setback) for setback in fitted.setbacks])

    def _strengths(self, model: nn.Module, run: Run) -> tuple[float, float]:
        if "auto" not in (self.l1, self.group):
            return float(self.l1), float(self.group)
        loss, (l1_size, group_size) = run.validation_loss(model), sizes(model)
        l1, group = strength(self.l1, l1_size, loss, "l1"), strength(self.group, group_size, loss, "group")
        run.note(l1=l1, group=group)
        return l1, group


def next_round(stage: Any, details: Mapping[str, Any]) -> Any:
    """The stage as the next round of an iterate stage has it, given what this round noted in the ledger."""
    if not isinstance(stage, Train):
        return stage
    l1, group = (stage.decay * details.get(name, getattr(stage, name)) for name in ("l1", "group"))
    return replace(stage, l1=l1, group=group)
