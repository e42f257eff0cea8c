"""The soft staircase: sigmoids at fixed thresholds that sharpen into steps while the model trains.

Sources: Yang et al. 2019 (Quantization Networks), and Huang et al. 2022, who compress speaker extraction with it.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sottovoce.artefact.stored import top_level
from sottovoce.techniques.cluster import lloyd
from sottovoce.techniques.levels import LevelForm, beside

COOLEST, SHARPEST = 10.0, 2000.0     # temperatures: of the first epoch, and the highest there is
REACH = 1.25                         # largest weight in levels, over the largest level
CLAMP = 20.0                         # of the exponent in a sigmoid


class Staircase(LevelForm):
    """alpha * (sum of s * step(beta * w - t) - o) over the thresholds t; s is the height of a step, o half of all.

    While it trains a step is sigmoid(temperature * (beta * w - t)). Thresholds stay; the weight, alpha and beta learn.
    """

    thresholds: Tensor
    temperature: Tensor
    last_temperature: Tensor

    def __init__(self, keep: Tensor, bits: Tensor, thresholds: Tensor, alpha: Tensor, beta: Tensor,
                 temperature: Tensor, last_temperature: Tensor) -> None:
        super().__init__(keep, bits)
        self.register_buffer("thresholds", thresholds)                   # [steps], ascending
        self.alpha = nn.Parameter(alpha.detach().clone())                # [1, ...] along each axis, or but one
        self.beta = nn.Parameter(beta.detach().clone())
        self.register_buffer("temperature", temperature.clone())         # changes
        self.register_buffer("last_temperature", last_temperature)       # where training ends

    @classmethod
    def of(cls, value: Tensor, bits: int, axis: int | None, last_temperature: float) -> "Staircase":
        """For weights of these values, whose zeros stay; each index of the axis has an alpha and a beta of its own."""
        top = top_level(bits)
        peak = value.abs().amax(beside(value, axis), keepdim=True)
        beta = torch.where(peak > 0, REACH * top / peak, 1.0)
        keep = value != 0
        found = thresholds((beta * value)[keep].cpu().numpy(), bits)
        numbers = (torch.tensor(number, device=value.device) for number in (COOLEST, last_temperature))
        return cls(keep, torch.tensor(bits), torch.from_numpy(found).to(value.device), 1 / beta, beta, *numbers)

    @property
    def scale(self) -> Tensor:
        return self.alpha

    def levels(self, weight: Tensor) -> Tensor:
        passed = torch.bucketize(self.beta * weight, self.thresholds)    # how many lie strictly below
        return self._height * passed - top_level(self.width)

    def learning(self, weight: Tensor) -> Tensor:
        return _Soft.apply(weight, self.alpha, self.beta, self.thresholds,       # type: ignore[no-any-return]
                           self.temperature, self._height, top_level(self.width))  # type: ignore[no-untyped-call]

    def anneal(self, share: float) -> None:
        """Sharpen for the next step of training, when this share of the steps is done; never softer than before.

        The published temperature rises by 10 an epoch, from 10 in the first; here it rises along a straight line.
        """
        risen = COOLEST + share * (self.last_temperature - COOLEST)
        self.temperature.copy_(torch.maximum(self.temperature, risen))

    @property
    def _height(self) -> float:
        return 2.0 if self.width == 1 else 1.0


class _Soft(torch.autograd.Function):
    """The soft staircase and its gradients as published; one threshold at a time, for the memory of one."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, alpha: Tensor, beta: Tensor, thresholds: Tensor, temperature: Tensor,
                height: float, top: int) -> Tensor:
        scaled, level, slope = beta * weight, torch.full_like(weight, -top), torch.zeros_like(weight)
        for threshold in thresholds:
            step = torch.sigmoid((temperature * (scaled - threshold)).clamp_(-CLAMP, CLAMP))
            level.add_(step, alpha=height)
            slope.add_(step * (1 - step), alpha=height)
        slope *= temperature
        ctx.save_for_backward(weight, alpha, beta, level, slope)
        return alpha * level

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weight, alpha, beta, level, slope = ctx.saved_tensors
        (gradient,) = gradients
        by_scaled = alpha * slope * gradient
        return (beta * by_scaled, (level * gradient).sum_to_size(alpha.shape),
                (weight * by_scaled).sum_to_size(beta.shape), None, None, None, None)


def thresholds(scaled: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Where the clusters of weights meet: halfway between the two neighbours, one cluster a level.

    Halfway between the levels where so many clusters are not found, as with fewer values than levels.
    """
    top, ordered = top_level(bits), np.sort(scaled.astype(np.float64))
    distinct, count = np.unique(ordered), 2 * top + (bits > 1)
    if len(distinct) >= count:
        spread = distinct[np.linspace(0, len(distinct) - 1, count).round().astype(int)]
        centroids = lloyd(ordered, spread, rounds=100)
        meets = np.searchsorted(ordered, (centroids[1:] + centroids[:-1]) / 2)
        if len(meets) == count - 1 and (np.diff(meets, prepend=0, append=len(ordered)) > 0).all():
            return ((ordered[meets - 1] + ordered[meets]) / 2).astype(np.float32)
    return np.zeros(1, np.float32) if bits == 1 else np.arange(0.5 - top, top, dtype=np.float32)
