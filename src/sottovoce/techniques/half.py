"""Half precision for what no other technique has taken: biases and norms, which are small but not free."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.artefact.stored import Dense, Stored
from sottovoce.errors import RecipeError
from sottovoce.techniques.context import Run
from sottovoce.techniques.weights import WeightForm, learned


class Half(WeightForm):
    """The nearest 16-bit float; gradients pass straight through the rounding."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (weight.half().float() - weight).detach()

    def stored(self, weight: Tensor) -> Stored:
        return Dense(self(weight).cpu().numpy().astype(np.float16))


@dataclass(frozen=True)
class HalfPrecision:
    """Round every tensor that has no other form to 16-bit floats."""

    only: str = "*"          # names of the tensors, shell-style

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        for weight in learned(model, self.only):
            if isinstance(weight.module, FoldedNorm):
                weight.module.rounded.fill_(True)            # stored as one scale and one shift, which it rounds
                _check(weight.name, *weight.module.folded())
            elif weight.form is None:
                _check(weight.name, weight.value)
                weight.hold(Half())
        return model


@runtime_checkable
class FoldedNorm(Protocol):
    """A batch norm that is stored as what it comes to after training."""

    rounded: Tensor

    def folded(self) -> tuple[Tensor, Tensor]: ...


def _check(name: str, *values: Tensor) -> None:
    if not all(torch.isfinite(value.detach().half()).all() for value in values):
        raise RecipeError(f"{name} has values beyond 65504 and cannot be 16-bit floats")
