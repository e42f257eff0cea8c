"""What is good: the data, the loss and the metrics of one job."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch import Tensor, nn

from sottovoce.data.batches import Batch
from sottovoce.tasks.enhance import Enhance


class Task(Protocol):
    """A job that models are trained and scored for."""

    def batches(self, seed: int, start: int, stride: int) -> Iterator[Batch]:
        """Training batches without end, from batch number `start`; the same seed gives the same sequence."""
        ...

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """How far the model's outputs are from the targets of the batch; a scalar."""
        ...

    def imitation(self, outputs: Any, teacher: Any, batch: Batch) -> Tensor:
        """How far the model's outputs are from those of a teacher for the same inputs; a scalar."""
        ...

    def scores(self, model: nn.Module, split: str) -> list[dict[str, float]]:
        """The metrics of every utterance of the fixed list `split` (dev or test)."""
        ...

    def example(self) -> tuple[Tensor, ...]:
        """Inputs for tracing a model."""
        ...


TASKS: dict[str, type] = {
    "enhance": Enhance,
}
