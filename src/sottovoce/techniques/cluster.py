"""Weights that share a few values per tensor; zeros stay exact."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sottovoce.artefact import stored
from sottovoce.techniques.context import Run
from sottovoce.techniques.weights import Weight, WeightForm, weights

MOST = 4095              # nonzero values of a tensor


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

    With `tolerance` each tensor gets the number of values that Algorithm 3 of the paper finds: doubled from one until
    the validation loss, with all other tensors intact, rises by less than this, or twice as many would be more than it
    has nonzero weights. A Train or Distill stage after it moves the values and never the codes.
    """

    values: int | None = None        # per tensor, the exact zero among them, 2..4096; 16 without a tolerance
    tolerance: float | None = None   # rise of the validation loss
    rate: float = 0.0                # price of a bit per weight, in variances of the weights: see entropy_constrained
    only: str = "*"                  # names of the weights, shell-style

    def __post_init__(self) -> None:
        if self.values is not None and self.tolerance is not None:
            raise ValueError("give either values or tolerance")
        if self.values is not None and not 2 <= self.values <= MOST + 1:
            raise ValueError(f"values must be 2..{MOST + 1}, got {self.values}")
        if self.tolerance is not None and not self.tolerance > 0:
            raise ValueError(f"tolerance must be positive, got {self.tolerance}")
        if not 0 <= self.rate < float("inf"):
            raise ValueError(f"rate must be a number, 0 or more, got {self.rate}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        chosen = weights(model, self.only)
        base = 0.0 if self.tolerance is None else run.validation_loss(model)
        tensors, remarks, forms = {}, [], []
        for weight in chosen:
            value = weight.value.detach()
            found = self._search(model, weight, base, run) if self.tolerance else self._found(value, self.values or 16)
            tensors[weight.name] = found.details()
            remarks += [f"{weight.name}: {remark}" for remark in self._remarks(value.cpu().numpy(), found)]
            forms.append(found.form(value.device))
        for weight, form in zip(chosen, forms, strict=True):
            weight.hold(form)
        run.note(tensors=tensors, **({"remarks": "; ".join(remarks)} if remarks else {}))
        return model

    def _found(self, value: Tensor, values: int) -> "_Found":
        count, array = values - 1, value.cpu().numpy()
        pair = entropy_constrained(array, count, self.rate) if self.rate else clustered(array, count)
        return _Found(*pair, wanted=count)

    @torch.no_grad()
    def _search(self, model: nn.Module, weight: Weight, base: float, run: Run) -> "_Found":
        """Algorithm 3; leaves the weight with its value, free of its form."""
        value, count = weight.value.detach().clone(), 1
        weight.free()
        try:
            while True:
                found = self._found(value, count + 1)
                weight.original.copy_(found.form(value.device)(value))
                rise = run.validation_loss(model) - base
                if rise < (self.tolerance or 0.0) or 2 * count > min(int(value.count_nonzero()), MOST):
                    return replace(found, rise=rise)
                count *= 2
        finally:
            weight.original.copy_(value)

    def _remarks(self, value: NDArray[np.float32], found: "_Found") -> Iterator[str]:
        """What the ledger should say of a tensor."""
        if self.tolerance is not None and found.rise is not None and not found.rise < self.tolerance:
            yield f"the loss rises by {found.rise:.3g} with {len(found.centroids)} values, {self.tolerance:g} allowed"
        if not value.any():
            yield "all zero"
        elif len(found.centroids) < found.wanted:
            distinct = len(np.unique(value[value != 0]))
            if distinct < found.wanted:
                yield f"{distinct} distinct nonzero values, fewer than {found.wanted}"


@dataclass(frozen=True)
class _Found:
    """The clusters of a tensor."""

    codes: NDArray[np.int32]
    centroids: NDArray[np.float32]
    wanted: int                      # nonzero values asked for
    rise: float | None = None        # of the validation loss with them, where it was measured

    def form(self, device: torch.device) -> Codebook:
        return Codebook(torch.from_numpy(self.codes).to(device), torch.from_numpy(self.centroids).to(device))

    def details(self) -> dict[str, float]:
        """Nonzero values, bits per weight, and the rise of the loss if it is known."""
        known = {} if self.rise is None else {"rise": self.rise}
        return {"values": len(self.centroids), "entropy": entropy(self.codes), **known}


def entropy(codes: NDArray[np.int32]) -> float:
    """First-order entropy of codes, the zero's among them, bits per weight."""
    share = np.unique(codes, return_counts=True)[1] / codes.size
    return float(-(share * np.log2(share)).sum()) + 0.0          # not -0


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
        centroids = lloyd(nonzero, np.linspace(nonzero[0], nonzero[-1], count), rounds)
    table = np.unique(centroids.astype(np.float32))
    table = table[table != 0]
    edges = (table[1:] + table[:-1]) / 2
    codes = np.where(value == 0, 0, np.searchsorted(edges, value) + 1).astype(np.int32)
    return codes, table


def lloyd(values: NDArray[np.float64], centroids: NDArray[np.float64], rounds: int) -> NDArray[np.float64]:
    """K-means of sorted values from sorted centroids; those that lose all their values go."""
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


def entropy_constrained(
    value: NDArray[np.float32], count: int, rate: float, rounds: int = 1000
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """As `clustered`, but frequent codes are cheaper, and small weights may become zero; Chou et al. 1989.

    A weight w takes the code c, the exact zero being one, with the least (w - c)^2 / v + rate * bits: v is the variance
    of the nonzero weights, bits the length -log2(share of the code among all elements). Shares and centroids follow
    from the choice in turn, until they stay. A code that nobody takes is dropped. Exact zeros stay.
    """
    ordered = np.sort(value[value != 0].astype(np.float64))
    sums, zeros = np.concatenate([[0.0], np.cumsum(ordered)]), value.size - len(ordered)
    table = np.unique(np.append(clustered(value, count)[1].astype(np.float64), 0.0))
    price, bits = rate * ordered.var() if len(ordered) else 0.0, np.zeros(len(table))
    for _ in range(rounds):
        taken, edges = _regions(table, price * bits)
        bounds = np.concatenate([[0], np.searchsorted(ordered, edges), [len(ordered)]])
        counts, means = np.zeros(len(table), int), table.copy()
        counts[taken] = np.diff(bounds)
        filled = (counts > 0) & (table != 0)
        means[filled] = np.diff(sums[bounds])[filled[taken]] / counts[filled]
        shares = counts + np.where(table == 0, zeros, 0)
        # Sorted again, because the zero does not move and a neighbour's mean may pass it.
        after, place = np.unique(means[shares > 0], return_inverse=True)
        lengths = -np.log2(np.bincount(place, shares[shares > 0]) / value.size)
        settled = len(after) == len(table) and np.allclose([after, lengths], [table, bits], rtol=1e-6, atol=0)
        table, bits = after, lengths
        if settled:
            break
    taken, edges = _regions(table, price * bits)
    chosen = np.where(value == 0, 0, table[taken][np.searchsorted(edges, value, side="right")]).astype(np.float32)
    centroids = np.unique(chosen[chosen != 0])
    return np.where(chosen == 0, 0, np.searchsorted(centroids, chosen) + 1).astype(np.int32), centroids


def _regions(table: NDArray[np.float64], cost: NDArray[np.float64]) -> tuple[list[int], list[float]]:
    """Where each value of an ascending table is the one with the least (w - value)^2 + cost, as w rises.

    The places of those that are it somewhere, and the edges between them: the lower envelope of lines in w.
    """
    taken: list[int] = []
    edges: list[float] = []
    for new in range(len(table)):
        edge = -np.inf
        while taken:
            last = taken[-1]
            height = table[new] ** 2 - table[last] ** 2 + cost[new] - cost[last]
            edge = height / (2 * (table[new] - table[last]))
            if not edges or edge > edges[-1]:
                break
            taken.pop()
            edges.pop()
        if taken:
            edges.append(edge)
        taken.append(new)
    return taken, edges
