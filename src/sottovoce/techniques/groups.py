"""The groups in which weights are regularized and pruned together, and which of them go first."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sottovoce.techniques.weights import Rows

Groups = Literal["weights", "kernels", "tiles", "blocks"]

SEGMENT = 128            # columns of a tile: what a vector instruction can pick from
SLICE = 16               # rows of a block: what the engine multiplies side by side


def kernel_dims(weight: Tensor) -> tuple[int, ...]:
    """The axes along which a weight's groups lie: a matrix's columns, a convolution's kernels.

    The input and the recurrent matrix of an LSTM or a GRU are matrices of their own. A group of a matrix
    [rows, columns] is one column; of a kernel tensor [a, b, ...], all elements of one pair (a, b). Tan and Wang 2021,
    section III.
    """
    return (0,) if weight.dim() == 2 else tuple(range(2, weight.dim()))


def kept(value: Tensor, ratio: float, groups: Groups = "weights", rows: Rows = Rows()) -> Tensor:    # noqa: B008
    """A mask of the tensor's shape: False at zeros and in the given share of the nonzero groups, smallest first.

    "weights" are single elements, "kernels" the groups of `kernel_dims` and "blocks" 16 rows of one column, by mean
    magnitude; of "tiles", a row's segments of 128 columns, each keeps the same number of elements.
    """
    if groups == "tiles":
        return _kept_in_tiles(value, ratio, rows)
    return kept_together([value], ratio, groups, [rows])[0]


def kept_together(values: Sequence[Tensor], ratio: float, groups: Groups, rows: Sequence[Rows]) -> list[Tensor]:
    """As `kept`, with the groups of all tensors ranked together by their mean magnitude: one threshold for all."""
    scores = [_scores(value, groups, lie) for value, lie in zip(values, rows, strict=True)]
    flat = torch.cat([score.flatten() for score in scores])
    parts = torch.split(_largest(flat, ratio), [score.numel() for score in scores])
    return [
        (value != 0) & _of_elements(part.view_as(score), value, groups, lie)
        for value, part, score, lie in zip(values, parts, scores, rows, strict=True)
    ]


def _largest(scores: Tensor, ratio: float) -> Tensor:
    """False at zeros and in the given share of the others, smallest first, of equal ones the first; [N].

    By one threshold: sorting millions of them takes longer than a model that is run to see what they are worth.
    """
    nonzero = scores[scores != 0]
    count = int(ratio * len(nonzero))
    if count == 0:
        return scores != 0
    threshold = nonzero.kthvalue(count).values
    keep = ~(scores <= threshold)
    level = (scores == threshold).nonzero().flatten()
    gone = count - (len(nonzero) - int(keep.sum()) - len(level))     # of these
    keep[level[gone:]] = True
    return keep


def _scores(value: Tensor, groups: Groups, rows: Rows) -> Tensor:
    """A magnitude per group, for `_of_elements`; 0 only for groups of zeros."""
    if groups == "weights":
        return value.abs()
    if groups == "kernels":
        return value.abs().mean(kernel_dims(value), keepdim=True)
    matrices = rows.matrices(value.abs())
    count = matrices.shape[1]
    sums = torch.unflatten(F.pad(matrices, (0, 0, 0, -count % SLICE)), 1, (-1, SLICE)).sum(2)
    sizes = torch.tensor([min(SLICE, count - first) for first in range(0, count, SLICE)], device=value.device)
    return sums / sizes[:, None]         # a short last block is as good as a whole one


def _of_elements(keep: Tensor, value: Tensor, groups: Groups, rows: Rows) -> Tensor:
    """What holds of groups as what holds of elements, of a shape that broadcasts to the tensor's."""
    if groups != "blocks":
        return keep
    count = rows.matrices(value).shape[1]
    return rows.tensor(keep.repeat_interleave(SLICE, 1)[:, :count], value.shape)


def _kept_in_tiles(value: Tensor, ratio: float, rows: Rows) -> Tensor:
    """The largest elements of each row's segments, as many in each as bring the tensor to the wanted density.

    A shorter last segment keeps its share. A tile keeps at least one element unless all are to go, and one with
    fewer nonzero elements than the others keeps them all.
    """
    matrices = rows.matrices(value)
    columns = matrices.shape[2]
    nonzeros = int((matrices != 0).sum())
    density = (nonzeros - int(ratio * nonzeros)) / max(1, matrices.numel())
    widths = torch.tensor([min(SEGMENT, columns - first) for first in range(0, columns, SEGMENT)])
    count = (density * widths).round().clamp_min(1 if density else 0).to(value.device)
    tiles = torch.unflatten(F.pad(matrices.abs(), (0, -columns % SEGMENT)), 2, (-1, SEGMENT))
    rank = tiles.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    keep = (rank < count[:, None]).flatten(2)[..., :columns]
    return rows.tensor(keep & (matrices != 0), value.shape)
