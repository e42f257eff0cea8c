"""What all forms of a few bits have in common: whole numbers times a scale, and weights that stay zero."""

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.artefact import stored
from sottovoce.techniques.weights import Weight, WeightForm


class LevelForm(WeightForm):
    """Levels -n .. n times a scale, n = 2^(bits - 1) - 1; of one bit -1 and 1. Zero wherever `keep` is False.

    A kept weight may round to zero and come back; with one bit it cannot, so that a pruned tensor has three values.
    """

    keep: Tensor
    bits: Tensor

    def __init__(self, keep: Tensor, bits: Tensor) -> None:
        super().__init__()
        self.register_buffer("keep", keep)                       # bool, the weight's shape
        self.register_buffer("bits", bits)                       # a whole number ...
        self.width = int(bits)                                   # ... and without waiting for an accelerator

    def forward(self, weight: Tensor) -> Tensor:
        if self.training:
            return torch.where(self.keep, self.learning(weight), 0.0)
        return self._kept_levels(weight) * self.scale + 0.0      # not -0

    def levels(self, weight: Tensor) -> Tensor:
        """The level of every element."""
        raise TypeError(f"{type(self).__name__} does not say which level a weight is at")

    def learning(self, weight: Tensor) -> Tensor:
        """What the model uses while it trains, with gradients; pruned weights need not be zero."""
        raise TypeError(f"{type(self).__name__} does not say how a weight learns")

    @property
    def scale(self) -> Tensor:
        """The value of level 1, of a shape that broadcasts to the weight's."""
        raise TypeError(f"{type(self).__name__} does not say what a level is worth")

    def stored(self, weight: Tensor) -> stored.Levels:
        levels = self._kept_levels(weight).cpu().numpy().astype(np.int8)
        return stored.Levels(levels, self.scale.detach().cpu().numpy().copy(), self.width)

    @torch.no_grad()
    def _kept_levels(self, weight: Tensor) -> Tensor:
        return torch.where(self.keep, self.levels(weight), 0.0)


def output_axis(weight: Weight) -> int:
    """The axis of the tensor that counts the outputs of its module."""
    return 1 if isinstance(weight.module, nn.ConvTranspose1d | nn.ConvTranspose2d) else 0


def beside(value: Tensor, axis: int | None) -> tuple[int, ...]:
    """The axes that share a scale: all of them, or all but one."""
    return tuple(other for other in range(value.dim()) if other != axis)
