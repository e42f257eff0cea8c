"""Weights that share a few values per tensor; zeros stay exact."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sottovoce.artefact import stored
from sottovoce.techniques.context import Run
from sottovoce.techniques.weights import WeightForm, weights


class Codebook(WeightForm):
    """A code per element into zero and the centroids; the centroids learn, the codes stay."""

    codes: Tensor
    frozen = True

    def __init__(self, codes: Tensor, centroids: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)                     # int32, the weight's shape; 0 is the exact zero
        self.centroids = nn.Parameter(centroids.detach().clone())

    def forward(self, weight: Tensor) -> Tensor:
        return _Lookup.apply(self.centroids, self.codes)         # type: ignore[no-any-return,no-untyped-call]

    def stored(self, weight: Tensor) -> stored.Stored:
        table = np.concatenate([np.zeros(1, np.float32), self.centroids.detach().cpu().numpy()])
        codes = self.codes.cpu().numpy()
        return stored.Codebook(codes.astype(np.uint8) if len(table) <= 256 else codes.astype(np.uint16), table)


class _Lookup(torch.autograd.Function):
    """centroids[codes - 1], 0 where the code is 0. Its own backward, because that of indexing sorts every element."""

    @staticmethod
    def forward(ctx: Any, centroids: Tensor, codes: Tensor) -> Tensor:
        ctx.save_for_backward(codes)
        ctx.count = len(centroids)
        return torch.cat([centroids.new_zeros(1), centroids]).index_select(0, codes.flatten()).view_as(codes)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (codes,) = ctx.saved_tensors
        sums = torch.bincount(codes.flatten(), weights=gradients[0].flatten(), minlength=ctx.count + 1)
        return sums[1:].to(gradients[0].dtype), None


@dataclass(frozen=True)
class Cluster:
    """Give the nonzero weights of each tensor one of a few values, found by k-means; Tan and Wang 2021.

    A Train or Distill stage after it moves the values and never the codes.
    """

    values: int = 16         # per tensor, the exact zero among them, 2..4096
    only: str = "*"          # names of the weights, shell-style

    def __post_init__(self) -> None:
        if not 2 <= self.values <= 4096:
            raise ValueError(f"values must be 2..4096, got {self.values}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        for weight in weights(model, self.only):
            value = weight.value.detach()
            codes, centroids = clustered(value.cpu().numpy(), self.values - 1)
            form = Codebook(torch.from_numpy(codes).to(value.device), torch.from_numpy(centroids).to(value.device))
            weight.hold(form)
        return model


def clustered(
    value: NDArray[np.float32], count: int, rounds: int = 100
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Codes of the value's shape (0: zero) and at most `count` ascending centroids of its nonzero elements.

    Lloyd's k-means on the sorted values, centroids first spread evenly from the least to the greatest; centroids that
    lose all their elements go. Never more centroids than distinct values.
    """
    nonzero = np.sort(value[value != 0].astype(np.float64))
    distinct = np.unique(nonzero)
    if len(distinct) <= count:
        centroids = distinct
    else:
        centroids = _lloyd(nonzero, np.linspace(nonzero[0], nonzero[-1], count), rounds)
    table = np.unique(centroids.astype(np.float32))
    table = table[table != 0]
    edges = (table[1:] + table[:-1]) / 2
    codes = np.where(value == 0, 0, np.searchsorted(edges, value) + 1).astype(np.int32)
    return codes, table


def _lloyd(values: NDArray[np.float64], centroids: NDArray[np.float64], rounds: int) -> NDArray[np.float64]:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    for _ in range(rounds):
        bounds = np.searchsorted(values, (centroids[1:] + centroids[:-1]) / 2)
        bounds = np.concatenate([[0], bounds, [len(values)]])
        counts = np.diff(bounds)
        moved = (np.diff(sums[bounds])[counts > 0]) / counts[counts > 0]
        if len(moved) == len(centroids) and np.allclose(moved, centroids, rtol=1e-6, atol=0):
            return moved
        centroids = moved
    return centroids
