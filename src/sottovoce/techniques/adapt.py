"""Adaptation to speakers without transcripts, and what it brings; the model stays as it came."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from sottovoce.errors import RecipeError
from sottovoce.metrics.statistics import means
from sottovoce.techniques.context import Run, Teacher
from sottovoce.techniques.weights import learned, plain, weights
from sottovoce.training import Schedule, fit

Array = NDArray[np.float32]
Split = Literal["dev", "test"]


@runtime_checkable
class Spoken(Protocol):
    """What a task offers whose models hear all that a speaker of a list says at once, and give states of its frames."""

    def scores(self, model: Callable[[Array], Array], split: Split) -> Sequence[Mapping[str, float]]:
        """The metrics of a list; the model is called once for each speaker, in the order in which they first come."""
        ...

    def speakers(self, split: Split) -> Sequence[str]:
        """Who speaks in each of the entries of `scores`."""
        ...

    def labels(self, log_probabilities: Array) -> NDArray[np.int64]:
        """The states [frames] of the best words for log probabilities [frames, states]; -1 for none.

        Raises RecipeError where the recipe has no decoder.
        """
        ...


@dataclass(frozen=True)
class Adapt:
    """Score a list before and after the model has adapted to each of its speakers; the model is left as it came.

    What a speaker says is heard twice: first to find what the frames are, then to learn that, one step of Adam over all
    of it a pass, at a fixed rate. What learns is free of masks and codebooks. Source: Lu, Guo and Renals 2017, with
    steepest descent over small batches.
    """

    labels: Literal["teacher", "decoded"] = "teacher"    # a teacher's probabilities, or the states of the words found
    teacher: Teacher = "dense"
    checkpoint: Path | None = None       # of another teacher, safetensors; of another kind or size if a run has made it
    passes: int = 5
    lr: float = 2e-4                     # of Adam, constant; ten times as fast overfits 20 s of speech
    only: str = "*gate*"                 # names of the weights that learn, shell-style
    least_seconds: float = 5.0           # of whom less is there to hear, the model stays as it is
    split: Split = "dev"                 # the list

    def __post_init__(self) -> None:
        if not 0 <= self.least_seconds < float("inf"):
            raise ValueError(f"least_seconds must be a number, 0 or more, got {self.least_seconds}")
        if self.passes < 1:
            raise ValueError(f"passes must be at least 1, got {self.passes}")
        if self.checkpoint is not None and self.labels == "decoded":
            raise ValueError(f'checkpoint: expected one for labels "teacher" only, got {self.checkpoint}')
        _ = self.schedule        # refuses what it cannot run

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.passes, self.lr, decay_to=1.0)

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        task = run.task
        if not isinstance(task, Spoken):
            raise RecipeError('adapt: expected a task that hears speaker by speaker, such as "acoustic"')
        before = plain(model)
        weights(before, self.only)           # says what there is where it matches none
        find = self._decoded(before, task) if self.labels == "decoded" else partial(
            log_probabilities, run.teacher(self.checkpoint or self.teacher))
        adapting = Adapting(before, find, self.only, self.schedule, round(self.least_seconds * task.sample_rate))
        speakers = task.speakers(self.split)
        if not speakers:
            raise RecipeError(f"adapt: expected a table [task.{self.split}] with speakers to adapt to, got none")
        first = task.scores(lambda waveform: log_probabilities(before, _row(waveform))[0].numpy(), self.split)
        second = task.scores(adapting, self.split)
        seconds = {name: samples / task.sample_rate
                   for name, samples in zip(dict.fromkeys(speakers), adapting.heard, strict=True)}
        old, new = by_speaker(speakers, first), by_speaker(speakers, second)
        run.note(before=means(first), after=means(second),
                 left_alone=[name for name, spoken in seconds.items() if spoken < self.least_seconds],
                 speakers={name: {"seconds": spoken, "before": old[name], "after": new[name]}
                           for name, spoken in seconds.items()})
        return model

    @staticmethod
    def _decoded(model: nn.Module, task: Spoken) -> Callable[[Tensor], Tensor]:
        """What the words that are found in a waveform [1, samples] say of its frames: states [1, frames]."""
        return lambda row: torch.from_numpy(task.labels(log_probabilities(model, row)[0].numpy()))[None]


@dataclass
class Adapting:
    """A model that adapts to whom it hears before it says what that is, to each anew."""

    model: nn.Module                     # without forms
    find: Callable[[Tensor], Tensor]     # waveform [1, samples] -> what it learns of its frames, see `distance`
    only: str
    schedule: Schedule
    least: int                           # samples; of less it says at once what it is
    heard: list[int] = field(default_factory=list)       # samples, of each so far

    def __call__(self, waveform: Array) -> Array:
        """Log probabilities [frames, states] of a waveform [samples]."""
        row = _row(waveform)
        self.heard.append(len(waveform))
        model = self.model if len(waveform) < self.least else adapted(
            self.model, row, self.find(row), self.only, self.schedule)
        said: Array = log_probabilities(model, row)[0].numpy()
        return said


class Heard(NamedTuple):
    """A batch: all that a speaker says, as one row, and what its frames are taken for."""

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]


def adapted(model: nn.Module, row: Tensor, wanted: Tensor, only: str, schedule: Schedule) -> nn.Module:
    """A copy of a model without forms whose weights of these names have learnt from a waveform [1, samples].

    A pass over the waveform is a step of the schedule. `wanted` is as `distance` takes it.
    """
    copy = plain(model)
    for weight in learned(copy, only):
        weight.original.requires_grad_(True)
    fit(copy, lambda start, stride: repeat(Heard((row,), (wanted,))), distance, schedule)
    return copy.requires_grad_(False)


def distance(outputs: Tensor, batch: Any) -> Tensor:
    """Cross-entropy per frame of log probabilities [1, frames, states] with what is wanted.

    That are log probabilities of the same shape, or states [1, frames], -1 for frames that do not count.
    """
    (wanted,) = batch.targets
    if wanted.is_floating_point():
        apart: Tensor = -(wanted.exp() * outputs).sum(-1).mean()
        return apart
    losses = F.nll_loss(outputs[0], wanted[0], ignore_index=-1, reduction="sum")
    mean: Tensor = losses / (wanted != -1).sum().clamp(min=1)
    return mean


@torch.no_grad()
def log_probabilities(model: nn.Module, row: Tensor) -> Tensor:
    """What a model that is not learning gives for a waveform [1, samples]: [1, frames, states]."""
    said: Tensor = model(row)
    return said


def by_speaker(speakers: Sequence[str], scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """The means of the scores of each speaker."""
    groups = defaultdict(list)
    for name, score in zip(speakers, scores, strict=True):
        groups[name].append(score)
    return {name: means(group) for name, group in groups.items()}


def _row(waveform: Array) -> Tensor:
    """Samples [samples] as [1, samples]."""
    return torch.from_numpy(waveform)[None]
