"""Training on whole utterances: the right way through one against all that could have been said."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable
from urllib.parse import quote

import torch
from torch import Tensor, nn

from sottovoce.decoding.lattices import Lattice
from sottovoce.decoding.paths import OBJECTIVES, Array, Paths, States
from sottovoce.errors import RecipeError
from sottovoce.files import write_bytes
from sottovoce.techniques.context import Run
from sottovoce.techniques.train import Train
from sottovoce.techniques.weights import plain
from sottovoce.training import forward

TOLD = 10                # parts of the fit that the ledger has the objective of


class Span(Protocol):
    """Where an utterance is in a batch."""

    @property
    def utterance(self) -> str:
        """Its name, the same in every batch."""
        ...

    @property
    def states(self) -> States:
        """The right ones [frames]."""
        ...

    def of(self, outputs: Tensor) -> Tensor:
        """Its frames [frames, states] of outputs [batch, frames, states]."""
        ...


class Alternatives(Protocol):
    """A search for all that may have been said."""

    def lattice(self, scores: Array) -> Lattice | None:
        """Of scaled log likelihoods [frames, states]; None where nothing was found."""
        ...


@runtime_checkable
class Aligned(Protocol):
    """What a task offers whose models give log probabilities of states [batch, frames, states]."""

    @property
    def log_priors(self) -> Array:
        """How likely each state is [states]."""
        ...

    def spans(self, batch: Any) -> Sequence[Span]:
        """The utterances of a batch that are aligned."""
        ...

    def alternatives(self, beam: float, lattice_beam: float) -> Alternatives:
        """A search in the decoding graph of the task. Raises RecipeError where the recipe has none."""
        ...

    def anything(self) -> Paths:
        """All that could be said in phones."""
        ...


Search = Callable[[Any, Sequence[Span]], Iterable[Lattice | None]]           # of a batch and utterances in it


@dataclass(frozen=True)
class SequenceTraining(Train):
    """Train on whole utterances: weight * distance to the teacher, or task loss without one, - objective per frame.

    The objective is the share of frames that are right, expected over all ways through an utterance (smbr), or the log
    probability of the right way (mmi). Scores of states are scale * (log probability - log prior). The ways are those
    of a lattice, which the model as it comes makes of an utterance when it is first met, and which is kept; or all rows
    of phones. Sources: Lu, Guo and Renals 2017; Vesely et al. 2013; Povey et al. 2016 for ways without lattices.
    """

    lr: float = 1e-5
    objective: Literal["smbr", "mmi"] = "smbr"
    lattice: Literal["decoder", "free"] = "decoder"
    scale: float = 0.1               # of what is heard against what the graph says (k); for free ways rather 1
    beam: float = 9.0                # of the search: how much worse than the best a way may be and stay open
    lattice_beam: float = 6.0        # ... and be kept
    weight: float = 0.2              # of the distance or the task loss (p)
    teacher: Literal["none", "dense", "previous"] = "none"
    checkpoint: Path | None = None   # of another teacher, safetensors; of another kind or size if a run has made it

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("scale", "beam", "lattice_beam"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be a positive number, got {getattr(self, name)}")
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"weight must be a number, 0 or more, got {self.weight}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        task = run.task
        if not isinstance(task, Aligned):
            raise RecipeError('sequence: expected a task whose frames are aligned with states, such as "acoustic"')
        teacher, history = self._teacher(run), History(self.steps)
        ways: Free | Kept = Free(task.anything()) if self.lattice == "free" else Kept(
            run.folder(), self._search(plain(model), task))

        def loss(outputs: Tensor, batch: Any) -> Tensor:
            value = self._value(outputs, batch, task, ways)
            history.add(value)
            if not self.weight:
                return -value
            if teacher is None:
                return self.weight * run.task.loss(outputs, batch) - value
            with torch.no_grad():
                wanted = forward(teacher.to(outputs.device), batch.inputs, self.precision)
            return self.weight * run.task.imitation(outputs, wanted, batch) - value

        self._fit(model, loss, run, [history])
        run.note(objective=history.told(), left_out=ways.left_out())
        return model

    def _teacher(self, run: Run) -> nn.Module | None:
        if self.checkpoint is not None:
            return run.teacher(self.checkpoint)
        return None if self.teacher == "none" else run.teacher(self.teacher)

    def _value(self, outputs: Tensor, batch: Any, task: Aligned, ways: "Free | Kept") -> Tensor:
        """The objective per frame of the utterances of a batch that there are ways through; 0 where there are none."""
        value, frames = outputs[:0].sum(), 0
        spans = task.spans(batch)
        for span, paths in zip(spans, ways.over(batch, spans), strict=True):
            if paths is not None:
                value = value + won(span.of(outputs), task.log_priors, self.scale, self.objective, paths, span.states)
                frames += len(span.states)
        return value / max(frames, 1)

    def _search(self, model: nn.Module, task: Aligned) -> Search:
        """What makes the lattices of the utterances of a batch."""
        search = task.alternatives(self.beam, self.lattice_beam)

        @torch.no_grad()
        def lattices(batch: Any, spans: Sequence[Span]) -> Iterable[Lattice | None]:
            outputs = forward(model.to(batch.inputs[0].device), batch.inputs)
            return (search.lattice(scaled(span.of(outputs), task.log_priors, self.scale)) for span in spans)

        return lattices


def won(outputs: Tensor, log_priors: Array, scale: float, objective: str, paths: Paths, states: States) -> Tensor:
    """An objective of an utterance, not by frame, of log probabilities [frames, states]; a scalar."""
    value: Tensor = _Won.apply(outputs, log_priors, scale, objective, paths, states)   # type: ignore[no-untyped-call]
    return value


class _Won(torch.autograd.Function):
    """`won`; its gradient is found along with it."""

    @staticmethod
    def forward(ctx: Any, outputs: Tensor, log_priors: Array, scale: float, objective: str, paths: Paths,
                states: States) -> Tensor:
        value, gradient = OBJECTIVES[objective](paths, scaled(outputs, log_priors, scale), states)
        ctx.save_for_backward(scale * torch.from_numpy(gradient).to(outputs.device))
        return outputs.new_tensor(value)

    @staticmethod
    def backward(ctx: Any, *above: Any) -> Any:
        (gradient,) = ctx.saved_tensors
        return above[0] * gradient, None, None, None, None, None


def scaled(outputs: Tensor, log_priors: Array, scale: float) -> Array:
    """Scaled log likelihoods of states, up to a number for each frame, of log probabilities [frames, states]."""
    heard = outputs.detach().cpu().numpy()
    found: Array = scale * (heard - log_priors.astype(heard.dtype))
    return found


class Free:
    """The same ways for every utterance."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def over(self, batch: Any, spans: Sequence[Span]) -> list[Paths | None]:
        return [self._paths] * len(spans)

    def left_out(self) -> int:
        return 0


class Kept:
    """Lattices in a folder, a file for each utterance that was met; an empty one where none was found."""

    def __init__(self, folder: Path, search: Search) -> None:
        self._folder, self._search = folder, search

    def over(self, batch: Any, spans: Sequence[Span]) -> list[Paths | None]:
        """The lattice of each utterance, made where it is not there yet."""
        new = [span for span in spans if not self._file(span).is_file()]
        for span, lattice in zip(new, self._search(batch, new) if new else [], strict=True):
            write_bytes(self._file(span), b"" if lattice is None else lattice.to_bytes())
        kept = [(file, file.read_bytes()) for file in map(self._file, spans)]
        return [Lattice.from_bytes(data, file) if data else None for file, data in kept]

    def left_out(self) -> int:
        """Utterances without a lattice."""
        return sum(not file.stat().st_size for file in self._folder.glob("*.npz"))

    def _file(self, span: Span) -> Path:
        return self._folder / f"{quote(span.utterance, safe='')}.npz"


class History(nn.Module):
    """The objective of every step; beside the model, so that a fit that was killed goes on with it."""

    values: Tensor
    count: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.register_buffer("values", torch.zeros(steps))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def add(self, value: Tensor) -> None:
        self.values[self.count] = value
        self.count += 1

    def told(self) -> list[float]:
        """Its mean over each part of the fit, of ten or as many as there are steps."""
        return [round(float(part.mean()), 5) for part in self.values[: int(self.count)].cpu().tensor_split(TOLD)
                if len(part)]
