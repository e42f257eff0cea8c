"""Weights set to zero for good: the smallest ones, by one ratio or by what each tensor can bear."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.artefact.stored import Sparse, Stored
from sottovoce.techniques.context import Run
from sottovoce.techniques.groups import Groups, kept, kept_together
from sottovoce.techniques.sensitivity import MOST, STEPS, balanced, tolerated
from sottovoce.techniques.weights import Weight, WeightForm, weights


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
    """Clear the smallest nonzero weights, or groups of them: a given share, or as much as the loss tolerates.

    With `tolerance` each tensor's share is found by Algorithm 1 of Tan and Wang 2021, with kernels by Algorithm 2:
    the largest multiple of 5 % that, with all other tensors intact, raises the validation loss by no more than this.
    """

    ratio: float | None = None           # share of the nonzero weights, 0 < ratio < 1
    tolerance: float | None = None       # rise of the validation loss
    groups: Groups = "weights"           # what goes together; blocks: 16 rows of a column; tiles: as many
    #                                      left in every row's 128 columns
    scope: Literal["tensor", "global", "balanced"] = "tensor"    # the ratio holds for each tensor, or for all together:
    #                                      by one threshold, or where the outputs move least
    utterances: int = 32                 # of the development list, to measure on
    only: str = "*"                      # names of the weights, shell-style

    def __post_init__(self) -> None:
        if (self.ratio is None) == (self.tolerance is None):
            raise ValueError("give either ratio or tolerance")
        if self.ratio is not None and not 0 < self.ratio < 1:
            raise ValueError(f"ratio must be between 0 and 1, got {self.ratio}")
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")
        if self.tolerance is not None and self.scope != "tensor":
            raise ValueError(f"scope {self.scope!r} needs a ratio; a tolerance is each tensor's own")
        if self.ratio is not None and self.scope == "balanced" and self.ratio > MOST:
            raise ValueError(f"ratio must be at most {MOST} with scope 'balanced', got {self.ratio}")
        if self.scope == "global" and self.groups == "tiles":
            raise ValueError("scope 'global' cannot be with groups 'tiles', which are equally full")
        if self.utterances < 1:
            raise ValueError(f"utterances must be at least 1, got {self.utterances}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        chosen = weights(model, self.only)
        if sum(lay(chosen, self._kept(model, chosen, run))) == 0:
            run.note(pruned=f"nothing: {self._reason(chosen)}")
        return model

    def _kept(self, model: nn.Module, chosen: list[Weight], run: Run) -> list[Tensor]:
        values = [weight.value.detach() for weight in chosen]
        if self.ratio is not None and self.scope == "global":
            return kept_together(values, self.ratio, self.groups, [weight.rows for weight in chosen])
        ratios = self._ratios(model, chosen, run)
        return [kept(value, ratios[weight.name], self.groups, weight.rows)
                for weight, value in zip(chosen, values, strict=True)]

    def _ratios(self, model: nn.Module, chosen: list[Weight], run: Run) -> dict[str, float]:
        if self.ratio is not None and self.scope == "tensor":
            return dict.fromkeys((weight.name for weight in chosen), self.ratio)
        if self.ratio is not None:
            table = balanced(model, chosen, self.ratio, self.groups, run, self.utterances)
        else:
            assert self.tolerance is not None
            table = tolerated(model, chosen, self.tolerance, self.groups, run, self.utterances)
        table.note(run)
        return table.ratios

    def _reason(self, chosen: list[Weight]) -> str:
        if not any(weight.value.any() for weight in chosen):
            return "all these weights are zero already"
        if self.tolerance is not None:
            return f"no tensor can lose {100 / STEPS:g} % within a tolerance of {self.tolerance:g}"
        return f"{self.ratio:g} of what is left is less than one of the {self.groups}"


@torch.no_grad()
def lay(chosen: list[Weight], masks: list[Tensor]) -> list[int]:
    """Hold weights to masks; how many elements each loses. One that loses none stays as it is."""
    lost = [int(weight.value.count_nonzero() - keep.sum()) for weight, keep in zip(chosen, masks, strict=True)]
    for weight, keep, less in zip(chosen, masks, lost, strict=True):
        if less:
            weight.hold(Mask(keep))
    return lost
