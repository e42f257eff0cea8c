"""Sparsity and bits for each tensor, so that a file has the wanted bytes at the least movement of its outputs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sottovoce.techniques.cluster import Codebook, clustered, entropy
from sottovoce.techniques.context import Run
from sottovoce.techniques.groups import Groups, kept
from sottovoce.techniques.prune import lay
from sottovoce.techniques.sensitivity import SHARES, Offer, Table, allocate, curve, movement, prepared
from sottovoce.techniques.weights import weights

CLOSE = 0.98             # of the wanted bytes is near enough
MEASURED = 6             # files at most to find an allocation of the wanted bytes


@dataclass(frozen=True)
class PruneTo:
    """Prune so that the file, once clustered, has the wanted bytes."""

    bytes: int
    most: int                # values of a tensor
    utterances: int
    only: str
    groups: Groups

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        offers, table = _offers(model, self.only, self.most, SHARES, run, self.utterances, self.groups)
        taken = _allotted(model, offers, self.bytes, run, self.groups)
        table.ratios.update({name: offer.ratio for name, offer in taken.items()})
        table.note(run)
        chosen = weights(model, self.only)
        run.note(values={weight.name: taken[weight.name].values for weight in chosen})
        lay(chosen, [kept(weight.value.detach(), taken[weight.name].ratio, self.groups, weight.rows)
                     for weight in chosen])
        return model


@dataclass(frozen=True)
class ClusterTo:
    """Cluster with these values; with fewer where the file would have more than the wanted bytes."""

    bytes: int | None
    values: tuple[int, ...]  # of each tensor; without names, for settings lie in the file
    most: int                # of all of them
    utterances: int
    only: str

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        taken = uncut(model, self.only, self.values)
        if self.bytes is not None and run.size(coded(model, taken, run)) > self.bytes:
            offers, _ = _offers(model, self.only, self.most, [0.0], run, self.utterances)
            taken = _allotted(model, offers, self.bytes, run)
        run.note(values={name: offer.values for name, offer in taken.items()})
        return coded(model, taken, run)


def uncut(model: nn.Module, only: str, values: Sequence[int]) -> dict[str, Offer]:
    """These values for each tensor, and nothing pruned."""
    chosen = weights(model, only)
    return {weight.name: Offer(0, 0, values=count) for weight, count in zip(chosen, values, strict=True)}


def coded(model: nn.Module, taken: Mapping[str, Offer], run: Run, groups: Groups = "weights") -> nn.Module:
    """A copy of the model, pruned and clustered as allocated."""
    copy = run.recall(run.keep(model))
    for weight in weights(copy):
        if weight.name in taken:
            value, offer = weight.value.detach(), taken[weight.name]
            pruned = value * kept(value, offer.ratio, groups, weight.rows) if offer.ratio else value
            codes, centroids = clustered(pruned.numpy(), offer.values - 1)
            weight.hold(Codebook(torch.from_numpy(codes), torch.from_numpy(centroids)))
    return copy


def _allotted(model: nn.Module, offers: Mapping[str, Sequence[Offer]], wanted: int, run: Run,
              groups: Groups = "weights") -> dict[str, Offer]:
    """An offer for each tensor with which the file has at most the wanted bytes, but not much less.

    What offers cost is an estimate: files are made and measured until it is right. Where all of them are larger, the
    smallest.
    """
    aim, taken = float(wanted), dict[str, Offer]()
    found: dict[int, dict[str, Offer]] = {}
    for _ in range(MEASURED):
        before, taken = taken, allocate(offers, aim)
        if taken == before:
            break
        size = run.size(coded(model, taken, run, groups))
        found[size] = taken
        if CLOSE * wanted <= size <= wanted:
            break
        aim = wanted - size + math.fsum(offer.cost for offer in taken.values())
    return found[max((size for size in found if size <= wanted), default=min(found))]


def _offers(model: nn.Module, only: str, most: int, shares: Sequence[float], run: Run,
            utterances: int, groups: Groups = "weights") -> tuple[dict[str, list[Offer]], Table]:
    """What each tensor would cost in the file and in the loss, for each share that it loses and number of values."""
    rerun, table = prepared(model, run, utterances, movement())
    offers: dict[str, list[Offer]] = {}
    rises = []
    rows = {weight.name: weight.rows for weight in weights(model, only)}
    for name, value, rise in rerun.weights(list(rows)):
        pruned = len(shares) > 1 and value.any()
        lost = curve(table.pruned(name, value, rise, groups, rows[name])) if pruned else _no_rise
        offers[name] = []
        for values in _counts(most):
            codes, centroids = clustered(value.cpu().numpy(), values - 1)
            risen = rise(Codebook(torch.from_numpy(codes), torch.from_numpy(centroids))(value.cpu()).to(value.device))
            rises.append((name, values, risen))
            bits = entropy(codes[codes > 0]) if centroids.size else 0.0
            for share in shares:
                cost = _bytes(codes.size, (1 - share) * np.count_nonzero(codes), bits) + 4 * len(centroids)
                if share == 0:
                    unpruned = cost
                if share == 0 or cost < unpruned:        # a few zeros cost more places than they save codes
                    offers[name].append(Offer(cost, lost(share) + _price(risen), share, values))
    run.note(clustered=rises)
    return offers, table


def _no_rise(share: float) -> float:
    """Of a tensor that loses nothing."""
    return 0.0


def _counts(most: int) -> list[int]:
    """Numbers of values to choose from: powers of two, and the most."""
    return sorted({most, *(2**bits for bits in range(2, 12) if 2**bits < most)})


def _bytes(elements: int, nonzeros: float, bits: float) -> float:
    """Of a tensor in the file: the entropy of the places of its nonzero elements, and `bits` for each of these."""
    density = nonzeros / max(1, elements)
    places = -sum(share * math.log2(share) for share in (density, 1 - density) if share > 0)
    return (elements * places + nonzeros * bits) / 8


def _price(rise: float) -> float:
    return max(rise, 0.0) if math.isfinite(rise) else 1e9
