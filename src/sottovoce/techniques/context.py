"""What a stage may ask of the run that carries it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from sottovoce.training import Fitted, Loss, Schedule

Teacher = Literal["dense", "previous"]


class Task(Protocol):
    """A job, as far as stages use it."""

    def loss(self, outputs: Any, batch: Any) -> Tensor: ...

    def imitation(self, outputs: Any, teacher: Any, batch: Any) -> Tensor: ...


class Run(Protocol):
    """The run of a recipe: its task, its training, its history and its ledger."""

    @property
    def task(self) -> Task: ...

    def fit(self, model: nn.Module, loss: Loss, schedule: Schedule,
            penalties: Sequence[Callable[[], Tensor]] = ()) -> Fitted:
        """Train the model in place on the task's batches; interrupted, it goes on where it stopped."""
        ...

    def teacher(self, which: Teacher) -> nn.Module:
        """A frozen model: the one the run began with, or the one before its last pruning."""
        ...

    def validation_loss(self, model: nn.Module) -> float:
        """The task's loss over a fixed set of batches that training never sees."""
        ...

    def scores(self, model: nn.Module) -> dict[str, float]:
        """The task's metrics, averaged over the development list."""
        ...

    def size(self, model: nn.Module) -> int:
        """Bytes of the file that the model would make."""
        ...

    def apply(self, stage: Any, model: nn.Module, name: str) -> nn.Module:
        """The model after an inner stage, with a checkpoint and a ledger row of its own."""
        ...

    def note(self, **details: Any) -> None:
        """Add JSON values to the ledger row of the stage at work."""
        ...
