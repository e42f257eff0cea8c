"""Sparse regularization: penalties that draw single weights, and whole groups of them, towards zero."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.errors import RecipeError
from sottovoce.techniques.groups import kernel_dims
from sottovoce.techniques.weights import Weight, weights
from sottovoce.training import Penalty

Strength = float | Literal["auto"]       # of a penalty

SHARE = 0.1              # of the task's loss that a penalty is to have under "auto"


def strength(setting: Strength, size: float, loss: float, name: str) -> float:
    """The number that a setting stands for; "auto" makes the penalty a tenth of the loss.

    `size` is the penalty of weight 1, `loss` the task's. Source of the rule: Tan and Wang 2021, who choose both
    penalties one order of magnitude below the loss. Raises RecipeError where the loss is not a positive number.
    """
    if setting != "auto":
        return setting
    if not 0 < loss < float("inf"):
        raise RecipeError(f"{name}: 'auto' needs a loss above 0 to go by, got {loss:.3g}; give a number")
    return SHARE * loss / size if size > 0 else 0.0


@torch.no_grad()
def sizes(model: nn.Module) -> tuple[float, float]:
    """R_l1 and R_l21 of a model with both penalties' weights at 1."""
    held = weights(model)
    singles, groups = _counts(held)
    l1 = sum(float(weight.value.abs().sum(dtype=torch.float64)) for weight in held)
    l21 = sum(_root(weight.value) * float(_norms(weight.value).sum(dtype=torch.float64)) for weight in held)
    return l1 / singles, l21 / groups


def penalty(model: nn.Module, l1: float, group: float) -> Penalty:
    """The gradient of R_l1 + R_l21, to be added to that of the task; Tan and Wang 2021, eqs. 3 and 4.

        R_l1 = l1 / n(W) * sum of |w|        R_l21 = group / n(G) * sum of sqrt(p) * ||g||_2

    over the nonzero weights W and the nonzero groups G of `kernel_dims`, p elements each, of all weights that
    compression is for, counted now. Where a weight or a group is exactly zero its part of the gradient is zero.
    """
    held = weights(model)
    singles, groups = _counts(held)

    def add() -> None:
        for weight in held:
            value = weight.value
            if value.requires_grad:
                # Through the weight's form to whatever learns under it. Far cheaper than the penalty in the loss.
                torch.autograd.backward(value, _gradient(value.detach(), l1 / singles, group / groups))

    return add


def _gradient(value: Tensor, l1: float, group: float) -> Tensor:
    gradient = value.sign().mul_(l1)
    if group:
        norms = _norms(value)
        gradient.addcmul_(value, torch.where(norms > 0, group * _root(value) / norms, 0.0))
    return gradient


def _norms(value: Tensor) -> Tensor:
    """The l2 norm of every group, in the weight's shape with 1 along the axes of a group."""
    return value.square().sum(kernel_dims(value), keepdim=True).sqrt()       # ten times as fast as vector_norm


def _root(value: Tensor) -> float:
    """The square root of the number of elements of a group."""
    return math.sqrt(math.prod(value.shape[dim] for dim in kernel_dims(value)))


@torch.no_grad()
def _counts(held: Sequence[Weight]) -> tuple[int, int]:
    """How many single weights and how many groups are not zero, at least 1 each."""
    singles = sum(int(weight.value.count_nonzero()) for weight in held)
    groups = sum(int(_norms(weight.value).count_nonzero()) for weight in held)
    return max(1, singles), max(1, groups)
