"""Weights of 1 to 8 bits that go on learning: quantization-aware training as a stage."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.artefact.stored import top_level
from sottovoce.techniques.cluster import entropy
from sottovoce.techniques.context import Run
from sottovoce.techniques.levels import LevelForm, output_axis
from sottovoce.techniques.lsq import Lsq
from sottovoce.techniques.staircase import COOLEST, SHARPEST, Staircase
from sottovoce.techniques.weights import weights


@dataclass(frozen=True)
class Quantize:
    """Hold weights to 2^bits - 1 evenly spaced levels, zero among them, or to two of them with one bit.

    A Train or Distill stage after it moves the weights from level to level, and the scales. Weights that are zero,
    pruned ones among them, stay zero: with one bit they are a third value. Prune before: a mask laid later takes the
    values as they are and lets them go from their levels.
    """

    bits: int = 3                    # per weight, 1..8
    method: Literal["staircase", "lsq"] = "staircase"    # of Huang et al. 2022 (TinyWASE), or of Esser et al. 2020
    per: Literal["tensor", "channel"] = "tensor"         # what has a scale of its own; channel: an output of a module
    temperature: float = 500.0       # of the staircase at the end of a fit; published: 10 more an epoch, 50 epochs
    only: str = "*"                  # names of the weights, shell-style

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise ValueError(f"bits must be 1..8, got {self.bits}")
        if not COOLEST <= self.temperature <= SHARPEST:
            raise ValueError(f"temperature must be {COOLEST:g}..{SHARPEST:g}, got {self.temperature}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        tensors, remarks = {}, []
        for weight in weights(model, self.only):
            value = weight.value.detach()
            form = self._form(value, output_axis(weight) if self.per == "channel" else None)
            weight.hold(form)
            levels = form.stored(value).levels.astype(np.int32)
            tensors[weight.name] = {"levels": len(np.unique(levels)), "entropy": entropy(levels)}
            remarks += [f"{weight.name}: {remark}" for remark in self._remarks(value)]
        run.note(tensors=tensors, **({"remarks": "; ".join(remarks)} if remarks else {}))
        return model

    def _form(self, value: Tensor, axis: int | None) -> LevelForm:
        if self.method == "staircase":
            return Staircase.of(value, self.bits, axis, self.temperature)
        return Lsq.of(value, self.bits, axis)

    def _remarks(self, value: Tensor) -> Iterator[str]:
        """What the ledger should say of a tensor."""
        nonzero, wanted = value[value != 0], 2 * top_level(self.bits)
        distinct = len(torch.unique(nonzero))
        if not distinct:
            yield "all zero"
        elif distinct < wanted:
            yield f"{distinct} distinct nonzero values, fewer than {wanted}"
        if self.bits == 1 and 0 < len(nonzero) < value.numel():
            yield f"{value.numel() - len(nonzero)} weights stay zero beside the two levels"
