"""What is good: the data, the loss and the metrics of one job."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol

from torch import Tensor

from sottovoce.data.batches import Batch
from sottovoce.tasks.acoustic import Acoustic
from sottovoce.tasks.enhance import Enhance
from sottovoce.tasks.extract import Extract
from sottovoce.tasks.lists import Split
from sottovoce.tasks.recognize import Recognize


class Task(Protocol):
    """A job that models are trained and scored for."""

    name: ClassVar[str]
    given: ClassVar[str]                 # what its input is called

    @property
    def sample_rate(self) -> int:
        """Hz."""
        ...

    @property
    def has_test(self) -> bool:
        """Whether the recipe names a test list."""
        ...

    @property
    def meta(self) -> Mapping[str, Any]:
        """What a file of a model has to say for it to be used."""
        ...

    @property
    def step_seconds(self) -> float:
        """Seconds of audio that a step of training hears."""
        ...

    def batches(self, seed: int, start: int, stride: int) -> Iterator[Batch]:
        """Training batches without end, from batch number `start`; the same seed gives the same sequence."""
        ...

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """How far the model's outputs are from the targets of the batch; a scalar."""
        ...

    def imitation(self, outputs: Any, teacher: Any, batch: Batch) -> Tensor:
        """How far the model's outputs are from those of a teacher for the same inputs; a scalar."""
        ...

    def fixed(self, split: Split) -> Iterator[Batch]:
        """The utterances of a fixed list as batches, for a loss that can be compared."""
        ...

    def scores(self, model: Callable[..., Any] | None, split: Split) -> list[dict[str, float]]:
        """The metrics of every utterance of a fixed list; without a model, of the input itself.

        The model maps numpy arrays of one utterance to numpy arrays: torch or a file, the scores do not care.
        """
        ...

    def identity(self, split: Split) -> Mapping[str, Any]:
        """What the scores of a fixed list depend on beside the model, JSON values."""
        ...

    def groups(self, split: Split) -> list[str]:
        """What each utterance of a fixed list is grouped by in tables."""
        ...

    def check(self) -> Iterator[str]:
        """What there is to train on and to score, in words; raises DataError where there is nothing."""
        ...

    def example(self) -> tuple[Tensor, ...]:
        """Inputs for tracing a model."""
        ...


TASKS: dict[str, type] = {
    "acoustic": Acoustic,
    "enhance": Enhance,
    "extract": Extract,
    "recognize": Recognize,
}
