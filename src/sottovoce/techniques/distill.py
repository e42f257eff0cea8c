"""Training towards a teacher's outputs, and what its layers give: the dense model, or the one before this pruning."""

import fnmatch
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sottovoce.errors import RecipeError
from sottovoce.techniques.context import Run, Teacher
from sottovoce.techniques.train import Train
from sottovoce.techniques.weights import WeightForm
from sottovoce.training import forward


@dataclass(frozen=True)
class Distill(Train):
    """Train on the task and towards a teacher: (1 - weight) * task loss + weight * distance to the teacher.

    With `features` comes feature_weight * the mean squared distance of what these modules give in both. Sources: Wei,
    Li and Zhang 2022, where the teacher is the model before this pruning step; Huang et al. 2022, whose task loss +
    0.2 * distance is 1.2 times that of weight 1/6; Lu, Guo and Renals 2017, whose distance + q * task loss is (1 + q)
    times that of weight 1 / (1 + q), for `temperature`; Jiang et al. 2023 for `mapped`.
    """

    teacher: Teacher = "dense"
    checkpoint: Path | None = None   # of another teacher, safetensors; of another kind or size if a run has made it
    weight: float = 0.5
    temperature: float = 1.0         # of both, for models of log probabilities: above 1 the small ones count more
    features: str = ""               # names of modules, shell-style: "stacks.*"; of nested ones the outermost that run
    feature_weight: float = 1.0
    mapped: bool = False             # a learned linear map, one for all, of what the teacher's modules give

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight must be above 0 and at most 1, got {self.weight}")
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be a positive number, got {self.temperature}")
        if not 0 < self.feature_weight < float("inf"):
            raise ValueError(f"feature_weight must be a positive number, got {self.feature_weight}")
        if self.mapped and not self.features:
            raise ValueError("mapped needs features to map, got none")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        teacher = run.teacher(self.checkpoint or self.teacher)
        if self.temperature != 1:
            _expect_log_probabilities(forward(teacher, run.task.example()))
        with likeness(model, teacher, self.features, run, self.mapped) as distance:

            def loss(outputs: Any, batch: Any) -> Tensor:
                with torch.no_grad():
                    wanted = forward(teacher.to(batch.inputs[0].device), batch.inputs, self.precision)
                imitation = run.task.imitation(
                    softened(outputs, self.temperature), softened(wanted, self.temperature), batch)
                value = imitation if self.weight == 1 else (
                    (1 - self.weight) * run.task.loss(outputs, batch) + self.weight * imitation)
                return value + self.feature_weight * distance() if self.features else value

            self._fit(model, loss, run, [distance] if self.mapped else [])
        return model


def softened(outputs: Any, temperature: float) -> Any:
    """Log probabilities [..., classes] as those of a softmax at this temperature; at 1 whatever outputs as they are.

    What goes into the softmax is known but for a number for all classes, which does not matter. Source: Hinton, Vinyals
    and Dean 2015; without their factor temperature^2 in the loss, as with Lu, Guo and Renals.
    """
    return outputs if temperature == 1 else torch.log_softmax(outputs / temperature, -1)


def _expect_log_probabilities(outputs: Any) -> None:
    """Raises RecipeError for outputs of another kind."""
    if not isinstance(outputs, Tensor) or float(outputs.detach().logsumexp(-1).abs().max()) > 1e-3:
        raise RecipeError("temperature: expected a model that gives log probabilities, got one of other outputs; "
                          "leave it out, or at 1")


class Likeness(nn.Module):
    """How far what modules of a model gave is from what those of its teacher did, in the last pass of both.

    It is the mean over modules of the mean squared difference. With `widths` (of the model's, of the teacher's) the
    teacher's goes through a linear map first, which begins as the identity and learns.
    """

    def __init__(self, ours: Sequence[Tensor], theirs: Sequence[Tensor], widths: tuple[int, int] | None = None) -> None:
        super().__init__()
        self._ours, self._theirs = ours, theirs              # lists that a pass fills anew
        self.map = None if widths is None else nn.Parameter(torch.eye(*widths))

    def forward(self) -> Tensor:
        """Raises RecipeError unless as many modules gave something, of the same sizes."""
        if len(self._ours) != len(self._theirs):
            raise RecipeError(f"features: expected {len(self._theirs)} outputs of modules, as the teacher has, got "
                              f"{len(self._ours)}")
        theirs = self._theirs if self.map is None else [F.linear(other, self.map) for other in self._theirs]
        pairs = list(zip(self._ours, theirs, strict=True))
        for one, other in pairs:
            if one.shape != other.shape:
                raise RecipeError(f"features: expected outputs {list(other.shape)}, as the teacher has, got "
                                  f"{list(one.shape)}; a learned map (mapped = true) evens out their last size")
        return torch.stack([F.mse_loss(one, other) for one, other in pairs]).mean()


@contextmanager
def likeness(model: nn.Module, teacher: nn.Module, pattern: str, run: Run, mapped: bool = False) -> Iterator[Likeness]:
    """The likeness of the modules of these names, while the models are watched; of none with an empty pattern."""
    if not pattern:
        yield Likeness([], [])
        return
    with watched(model, pattern) as ours, watched(teacher, pattern) as theirs:
        widths = (_width(model, ours, run), _width(teacher, theirs, run)) if mapped else None
        yield Likeness(ours, theirs, widths)


@torch.no_grad()
def _width(model: nn.Module, seen: Sequence[Tensor], run: Run) -> int:
    """Features of what the watched modules give. Raises RecipeError unless they are as many in all of them."""
    model.eval()(*run.task.example())
    widths = {part.shape[-1] for part in seen}
    if len(widths) != 1:
        raise RecipeError(f"features: one map for all needs outputs of one width, got {sorted(widths)}")
    return widths.pop()


@contextmanager
def watched(model: nn.Module, pattern: str) -> Iterator[list[Tensor]]:
    """A list that holds what the modules of these names gave in the model's last pass, in the order in which they ran.

    Of modules within each other the outermost counts; containers that are never run do not. Raises RecipeError when
    the pattern matches none.
    """
    names: list[str] = []
    for name, module in model.named_modules():
        within = any(name.startswith(f"{other}.") for other in names)
        runs = not isinstance(module, nn.ModuleList | nn.ModuleDict | WeightForm)
        if name and runs and not within and fnmatch.fnmatchcase(name, pattern):
            names.append(name)
    if not names:
        there = ", ".join(name for name, _ in model.named_children())
        raise RecipeError(f"features: {pattern!r} matches no module; there are {there} and what is within them")
    seen: list[Tensor] = []

    def keep(module: nn.Module, inputs: Any, outputs: Any) -> None:
        parts = outputs if isinstance(outputs, tuple) else (outputs,)
        seen.extend(part.float() for part in parts if isinstance(part, Tensor))

    handles = [model.register_forward_pre_hook(lambda module, inputs: seen.clear())]
    handles += [model.get_submodule(name).register_forward_hook(keep) for name in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
