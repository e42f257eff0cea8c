"""Training on the task itself, with sparse regularization on request."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from sottovoce.techniques.context import Run
from sottovoce.techniques.weights import weights
from sottovoce.training import Schedule


@dataclass(frozen=True)
class Train:
    """Train on the task; masks and codebooks hold."""

    steps: int
    lr: float = 1e-3         # of Adam, falling along a half cosine to decay_to of it
    warmup: int = 0          # steps
    decay_to: float = 0.05
    l1: float = 0.0          # weight of the mean magnitude of the nonzero weights in the loss

    def __post_init__(self) -> None:
        if self.l1 < 0:
            raise ValueError(f"l1 must not be negative, got {self.l1}")
        _ = self.schedule        # refuses what it cannot run

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.steps, self.lr, self.warmup, self.decay_to)

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        run.fit(model, run.task.loss, self.schedule, penalties(model, self.l1))
        return model


def penalties(model: nn.Module, l1: float) -> list[Callable[[], Tensor]]:
    """The l1 penalty of Tan and Wang 2021, eq. 3: l1 / n(W) times the sum of |w|, n counting the nonzero weights."""
    if l1 == 0:
        return []
    held = weights(model)
    count = sum(int(weight.value.count_nonzero()) for weight in held)

    def penalty() -> Tensor:
        total = held[0].value.new_zeros(())
        for weight in held:
            total = total + weight.value.abs().sum()
        return total * (l1 / max(1, count))

    return [penalty]
