"""The groups in which weights are regularized and pruned together, and which of them go first."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Groups = Literal["weights", "kernels", "tiles"]

SEGMENT = 128            # columns of a tile: what a vector instruction can pick from


def kernel_dims(weight: Tensor) -> tuple[int, ...]:
    """The axes along which a weight's groups lie: a matrix's columns, a convolution's kernels.

    The input and the recurrent matrix of an LSTM or a GRU are matrices of their own. A group of a matrix
    [rows, columns] is one column; of a kernel tensor [a, b, ...], all elements of one pair (a, b). Tan and Wang 2021,
    section III.
    """
    return (0,) if weight.dim() == 2 else tuple(range(2, weight.dim()))


def kept(value: Tensor, ratio: float, groups: Groups = "weights") -> Tensor:
    """A mask of the tensor's shape: False at zeros and in the given share of the nonzero groups, smallest first.

    "weights" are single elements and "kernels" the groups of `kernel_dims`, by l1 norm; of "tiles", a row's segments
    of 128 columns, each keeps the same number of elements.
    """
    if groups == "tiles":
        return _kept_in_tiles(value, ratio)
    return kept_together([value], ratio, groups)[0]


def kept_together(values: Sequence[Tensor], ratio: float, groups: Groups) -> list[Tensor]:
    """As `kept`, with the groups of all tensors ranked together by their mean magnitude: one threshold for all."""
    scores = [_scores(value, groups) for value in values]
    flat = torch.cat([score.flatten() for score in scores])
    keep = flat != 0
    count = int(ratio * int(keep.sum()))
    order = torch.where(keep, flat, torch.inf).argsort(stable=True)
    keep[order[:count]] = False
    parts = torch.split(keep, [score.numel() for score in scores])
    return [
        (value != 0) & part.view_as(score) for value, part, score in zip(values, parts, scores, strict=True)
    ]


def _scores(value: Tensor, groups: Groups) -> Tensor:
    """A magnitude per group, of a shape that broadcasts to the tensor's; 0 only for groups of zeros."""
    return value.abs() if groups == "weights" else value.abs().mean(kernel_dims(value), keepdim=True)


def _kept_in_tiles(value: Tensor, ratio: float) -> Tensor:
    """The largest elements of each row's segments, as many in each as bring the tensor to the wanted density.

    A shorter last segment keeps its share. A tile keeps at least one element unless all are to go, and one with
    fewer nonzero elements than the others keeps them all.
    """
    matrix = value.flatten(1)
    rows, columns = matrix.shape
    nonzeros = int((matrix != 0).sum())
    density = (nonzeros - int(ratio * nonzeros)) / max(1, matrix.numel())
    widths = torch.tensor([min(SEGMENT, columns - first) for first in range(0, columns, SEGMENT)])
    count = (density * widths).round().clamp_min(1 if density else 0).to(value.device)
    tiles = F.pad(matrix.abs(), (0, -columns % SEGMENT)).view(rows, -1, SEGMENT)
    rank = tiles.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    keep = (rank < count[:, None]).flatten(1)[:, :columns]
    return (keep & (matrix != 0)).view_as(value)
