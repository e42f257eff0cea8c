"""What a stage may ask of the run that carries it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from torch import Tensor, nn

from sottovoce.ledger import Row
from sottovoce.training import Fitted, Loss, Penalty, Schedule

Teacher = Literal["dense", "previous"]


class Task(Protocol):
    """A job, as far as stages use it."""

    def loss(self, outputs: Any, batch: Any) -> Tensor: ...

    def imitation(self, outputs: Any, teacher: Any, batch: Any) -> Tensor: ...

    def example(self) -> tuple[Tensor, ...]: ...

    @property
    def sample_rate(self) -> int: ...


class Run(Protocol):
    """The run of a recipe: its task, its training, its history and its ledger."""

    @property
    def task(self) -> Task: ...

    def fit(self, model: nn.Module, loss: Loss, schedule: Schedule,
            penalties: Sequence[Penalty] = ()) -> Fitted:
        """Train the model in place on the task's batches; interrupted, it goes on where it stopped."""
        ...

    def teacher(self, which: Teacher | Path) -> nn.Module:
        """A frozen model: the one the run began with, the one before its last pruning, or that of a checkpoint."""
        ...

    def validation_loss(self, model: nn.Module) -> float:
        """The task's loss over a fixed set of batches that training never sees."""
        ...

    def validation_batches(self, utterances: int) -> Sequence[Any]:
        """At most so many utterances of that set, spread evenly over it, as batches of the task."""
        ...

    def size(self, model: nn.Module) -> int:
        """Bytes of the file that the run would write of the model as it is."""
        ...

    @property
    def rows(self) -> Sequence[Row]:
        """The ledger so far: the model as it came, then a row for every finished stage."""
        ...

    def apply(self, kind: str, stage: Any, model: nn.Module, name: str) -> nn.Module:
        """The model after an inner stage, with a checkpoint and a ledger row of its own."""
        ...

    def folder(self) -> Path:
        """Where the stage at work keeps files that it needs again when the run goes on."""
        ...

    def keep(self, model: nn.Module) -> Any:
        """A copy of the model's state, forms and all."""
        ...

    def recall(self, kept: Any) -> nn.Module:
        """The model of that state."""
        ...

    def note(self, **details: Any) -> None:
        """Add JSON values to the ledger row of the stage at work."""
        ...
