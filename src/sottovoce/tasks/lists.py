"""What tasks on mixtures have in common: corpora to draw from, and fixed lists of mixtures to be scored on."""

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.batches import Batch, Mixer, Rendered, mixture_batches, stacked
from sottovoce.data.corpora import load_corpus
from sottovoce.data.plans import Plan, read_list, write_list
from sottovoce.data.pool import RATE, Pool
from sottovoce.errors import DataError, RecipeError
from sottovoce.metrics.scoring import score

Split = Literal["dev", "test"]
Where = Mapping[str, Any]
Array = NDArray[np.float32]
AT_ONCE = 8              # mixtures that a model hears: a recurrent layer takes twice as long for them as for one
AnyPlan = TypeVar("AnyPlan", bound=Plan)


@dataclass(frozen=True)
class Corpus:
    """A corpus and which of its clips to take."""

    path: Path
    where: Where = field(default_factory=dict)           # field of the manifest -> value(s); "!value" excludes

    def pool(self, group: str, rate: int = RATE) -> Pool:
        """Its clips, balanced by that field, at a sample rate."""
        return Pool(load_corpus(self.path, self.where), group, rate)


class FixedList(Generic[AnyPlan]):
    """A list of mixtures that is drawn from its seed when its file is not there yet, and the same from then on."""

    kind: type[AnyPlan]                                  # of its plans
    plans: Path                                          # the file, JSON, one mixture a line
    metrics: tuple[str, ...]

    @property
    @abstractmethod
    def mixer(self) -> Mixer:
        """What draws and renders the mixtures."""

    @abstractmethod
    def drawn(self) -> list[AnyPlan]:
        """The plans of a new list."""

    @abstractmethod
    def group(self, mixture: AnyPlan) -> str:
        """What a mixture is grouped by in tables."""

    @abstractmethod
    def caption(self, mixture: AnyPlan) -> str:
        """What a mixture is like, for one who listens to it."""

    @cached_property
    def mixtures(self) -> list[AnyPlan]:
        """The plans, as stored."""
        if not self.plans.is_file():
            write_list(self.plans, self.drawn())
        return read_list(self.plans, self.kind)

    @cached_property
    def waveforms(self) -> list[Rendered]:
        """What the mixer renders of every plan. Raises DataError when the list is of another corpus."""
        try:
            return [self.mixer.render(mixture) for mixture in self.mixtures]
        except DataError as error:
            raise DataError(f"{self.plans}: {error}; remove the list to have it drawn anew") from None


AnyList = TypeVar("AnyList", bound=FixedList[Any])


class ListTask(Generic[AnyList]):
    """A task on mixtures: drawn without end to learn from, and in fixed lists to be scored on.

    Of what a list renders, the first arrays are the model's inputs, the mixture before all; the next is what its
    output should be.
    """

    mixing: Any                                          # how they are drawn; of `seconds` each
    batch: int                                           # mixtures a step
    workers: int                                         # processes that make batches
    meta: ClassVar[Mapping[str, Any]] = {}               # what a file of a model has to say for it to be used

    @property
    @abstractmethod
    def sample_rate(self) -> int:
        """Hz."""

    @property
    @abstractmethod
    def mixer(self) -> Mixer:
        """What training draws from."""

    @property
    @abstractmethod
    def lists(self) -> Mapping[Split, AnyList]:
        """The lists that the recipe has."""

    @property
    def has_test(self) -> bool:
        return "test" in self.lists

    def evaluation(self, split: Split) -> AnyList:
        """The list of that name. Raises RecipeError when the recipe has none."""
        if split not in self.lists:
            raise RecipeError(f"task: expected a table [task.{split}] with the mixtures to score, got none")
        return self.lists[split]

    @property
    def step_seconds(self) -> float:
        return self.batch * float(self.mixing.seconds)

    def batches(self, seed: int, start: int, stride: int = 1) -> Iterator[Batch]:
        return mixture_batches(self.mixer, seed, size=self.batch, start=start, stride=stride, workers=self.workers)

    def fixed(self, split: Split) -> Iterator[Batch]:
        """The mixtures of a list as batches."""
        evaluation = self.evaluation(split)
        for first in range(0, len(evaluation.mixtures), self.batch):
            yield stacked(evaluation.waveforms[first : first + self.batch], evaluation.mixer.inputs)

    def scores(self, model: Callable[..., Array] | None, split: Split) -> list[dict[str, float]]:
        """The metrics of every mixture of a list, as the model makes of its inputs, or as it is without a model.

        A model that has one input is given several mixtures at once, [B, samples]. Empty for a dev list that the recipe
        does not have.
        """
        if split == "dev" and split not in self.lists:
            return []
        evaluation = self.evaluation(split)
        inputs = evaluation.mixer.inputs
        heard = outputs(model, evaluation.waveforms, inputs)
        pairs = (
            (mixture.id, output, waves[inputs])
            for mixture, waves, output in zip(evaluation.mixtures, evaluation.waveforms, heard, strict=True)
        )
        return score(pairs, evaluation.metrics, sample_rate=self.sample_rate)

    def identity(self, split: Split) -> Mapping[str, Any]:
        evaluation = self.evaluation(split)
        _ = evaluation.mixtures          # draws the list if it is not there
        digest = hashlib.sha256(evaluation.plans.read_bytes()).hexdigest()
        return {"list": digest, "metrics": list(evaluation.metrics)}

    def groups(self, split: Split) -> list[str]:
        """What each mixture of a list is grouped by in tables."""
        evaluation = self.evaluation(split)
        return [evaluation.group(mixture) for mixture in evaluation.mixtures]


def outputs(model: Callable[..., Array] | None, waveforms: Sequence[Rendered], inputs: int) -> Iterator[Array]:
    """What a model makes of each mixture of a list, which are all of one length."""
    for first in range(0, len(waveforms), AT_ONCE):
        together = waveforms[first : first + AT_ONCE]
        if model is None:
            yield from (waves[0] for waves in together)
        elif inputs > 1:                                         # conditions are one mixture's own
            yield from (model(*waves[:inputs]) for waves in together)
        else:
            yield from model(np.stack([waves[0] for waves in together]))


def check_metrics(chosen: Sequence[str], there_are: Sequence[str]) -> None:
    """Raises ValueError for a metric that a list cannot be scored with."""
    for metric in chosen:
        if metric not in there_are:
            raise ValueError(f"metrics: unknown {metric!r}; there are: {', '.join(there_are)}")


def check_loading(workers: int, batch: int | None = None) -> None:
    """Raises ValueError for settings that no batches can be made with; `batch` where they are of a fixed size."""
    if workers < 0:
        raise ValueError(f"workers must be at least 0, got {workers}")
    if batch is not None and batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
