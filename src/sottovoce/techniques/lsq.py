"""Learned step size quantization, Esser et al. 2020: uniform levels whose step is learned with the weights."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from sottovoce.artefact.stored import top_level
from sottovoce.techniques.levels import LevelForm, beside


class Lsq(LevelForm):
    """step * round(w / step), held to the levels there are; the gradient passes straight through the rounding.

    What learns is the logarithm of the step: Adam, which moves all numbers alike, then moves it by shares of itself
    and never through zero.
    """

    def __init__(self, keep: Tensor, bits: Tensor, log_step: Tensor) -> None:
        super().__init__(keep, bits)
        self.log_step = nn.Parameter(log_step.detach().clone())  # [1, ...] along each axis, or but one

    @classmethod
    def of(cls, value: Tensor, bits: int, axis: int | None) -> "Lsq":
        """For weights of these values, whose zeros stay; each index of the axis has a step of its own.

        The first step is 2 mean|w| / sqrt(n) with levels up to n, as published; mean|w|, the best, with one bit.
        """
        keep, axes = value != 0, beside(value, axis)
        mean = value.abs().sum(axes, keepdim=True) / keep.sum(axes, keepdim=True).clamp_min(1)
        step = mean if bits == 1 else 2 * mean / math.sqrt(top_level(bits))
        return cls(keep, torch.tensor(bits), torch.where(mean > 0, step, 1.0).log())

    @property
    def scale(self) -> Tensor:
        return self.log_step.exp()

    def levels(self, weight: Tensor) -> Tensor:
        return _nearest(weight / self.scale, self.width)

    def learning(self, weight: Tensor) -> Tensor:
        return _Rounded.apply(weight, self.scale, self.width)        # type: ignore[no-any-return,no-untyped-call]


def _nearest(ratio: Tensor, bits: int) -> Tensor:
    top = top_level(bits)
    return torch.where(ratio > 0, 1.0, -1.0) if bits == 1 else ratio.round().clamp(-top, top)


class _Rounded(torch.autograd.Function):
    """The nearest level times the step, with the gradients of Esser et al. 2020, eqs. 3 and 5, and their scale."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: Tensor, bits: int) -> Tensor:
        ratio = weight / step
        level, inside = _nearest(ratio, bits), ratio.abs() <= top_level(bits)
        ctx.save_for_backward(inside, torch.where(inside, level - ratio, level), step)
        ctx.damping = 1 / math.sqrt(weight.numel() / step.numel() * top_level(bits))
        return level * step

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        inside, by_step, step = ctx.saved_tensors
        (gradient,) = gradients
        return gradient * inside, (by_step * gradient).sum_to_size(step.shape) * ctx.damping, None
