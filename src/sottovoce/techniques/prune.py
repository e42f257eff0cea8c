"""Weights set to zero for good: the smallest ones, by one ratio or by what each tensor can bear."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sottovoce.artefact.stored import Sparse, Stored
from sottovoce.techniques.context import Run
from sottovoce.techniques.weights import Weight, WeightForm, weights

STEP = 0.05              # of the sensitivity search, a share of the nonzero weights


class Mask(WeightForm):
    """Zero wherever `keep` is False."""

    keep: Tensor

    def __init__(self, keep: Tensor) -> None:
        super().__init__()
        self.register_buffer("keep", keep)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.keep

    def stored(self, weight: Tensor) -> Stored:
        # A kept weight may itself be zero; -0.0 would not survive the product, so it is made +0.0 here as well.
        values = (self(weight) + 0.0).cpu().numpy()
        return Sparse(values != 0, values[values != 0])


@dataclass(frozen=True)
class Prune:
    """Clear the smallest nonzero weights of every tensor: a given share, or as much as the loss tolerates.

    With `tolerance` each tensor's share is found by Algorithm 1 of Tan and Wang 2021: the largest multiple of 5 %
    that, with all other tensors intact, raises the validation loss by no more than this.
    """

    ratio: float | None = None           # share of the nonzero weights, 0 < ratio < 1
    tolerance: float | None = None       # rise of the validation loss
    only: str = "*"                      # names of the weights, shell-style

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.tolerance is None):
            raise ValueError("give either ratio or tolerance")
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise ValueError(f"ratio must be between 0 and 1, got {self.ratio}")
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        chosen = weights(model, self.only)
        if self.ratio is not None:
            ratios = dict.fromkeys((weight.name for weight in chosen), self.ratio)
        else:
            ratios = sensitivity(model, chosen, self.tolerance or 0.0, run)
            run.note(ratios=ratios)
        for weight in chosen:
            weight.hold(Mask(smallest_kept(weight.value.detach(), ratios[weight.name])))
        return model


def smallest_kept(value: Tensor, ratio: float) -> Tensor:
    """A mask of the tensor's shape that is False at zeros and at the given share of the smallest nonzero values."""
    keep = value != 0
    count = int(ratio * int(keep.sum()))
    order = torch.where(keep, value.abs(), torch.inf).flatten().argsort(stable=True)
    flat = keep.flatten().clone()
    flat[order[:count]] = False
    return flat.view_as(value)


def sensitivity(model: nn.Module, chosen: list[Weight], tolerance: float, run: Run) -> dict[str, float]:
    """The share of its nonzero weights that each tensor can lose; Tan and Wang 2021, Algorithm 1."""
    base = run.validation_loss(model)
    return {weight.name: _bearable(model, weight, base + tolerance, run) for weight in chosen}


@torch.no_grad()
def _bearable(model: nn.Module, weight: Weight, limit: float, run: Run) -> float:
    before, used = weight.original.clone(), weight.value.clone()
    steps = round(1 / STEP)
    try:
        for step in range(1, steps + 1):
            weight.original.copy_(used * smallest_kept(used, step / steps))
            if run.validation_loss(model) > limit:
                return (step - 1) / steps
        return 1.0
    finally:
        weight.original.copy_(before)
