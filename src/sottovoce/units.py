"""What can be removed from a model piece by piece: groups of units, and where each lies in the model's tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


class Place(NamedTuple):
    """Where the units of a group lie in a tensor.

    Two groups may lie on the same axis: an index stays if all its units stay. A single unit with `each` as long as the
    axis takes the whole tensor with it.
    """

    tensor: str              # name of the learned tensor: "blocks.0.before.leave.weight"
    axis: int
    each: int = 1            # consecutive indices of that axis that belong to one unit
    scaled: bool = False     # whether a gate multiplies here; else the units are only counted here, and cut
    units: tuple[int, ...] = ()  # numbers of those that lie here, in the order of the axis, -1: none; empty: all

    def numbers(self, count: int) -> Tensor:
        """Which of so many units lies on each index of the axis; -1: none."""
        return torch.tensor(self.units or range(count)).repeat_interleave(self.each)

    def spread(self, values: Tensor) -> Tensor:
        """Values [count] of the units of a group for each index of the axis; 1 where none lies."""
        return torch.cat([values, values.new_ones(1)])[self.numbers(len(values)).to(values.device)]


@dataclass(frozen=True)
class Group:
    """Units of one kind in one part of a model."""

    name: str                # "blocks.0.before.middle", "hidden"
    kind: str                # what a recipe names: "middle", "heads", "convolution", "local", "hidden"
    count: int               # units
    places: tuple[Place, ...]
    extra: float = 0.0       # multiply-adds per second of audio and unit that are in no tensor, as scores of attention


class Narrow(Protocol):
    """A norm whose statistics can be held to some of its channels."""

    def narrow(self, kept: Tensor | None) -> None:
        """Take mean and variance over these channels alone, bool [channels]; over all of them with None."""
        ...


@runtime_checkable
class Divisible(Protocol):
    """A model that says what can be removed from it: where it is, removed units are zeros in its tensors."""

    def units(self) -> Sequence[Group]: ...


@runtime_checkable
class Cuttable(Divisible, Protocol):
    """A model that can become smaller itself."""

    def norms(self, group: str) -> Sequence[Narrow]:
        """Norms over the channels that are the units of the group of that name; none of most groups."""
        ...

    def without(self, kept: Mapping[str, Tensor]) -> nn.Module:
        """A smaller model that computes what this one does with the removed units multiplied by 0 at their places.

        `kept` is bool [count] by name of a group; of groups that are not in it everything stays. For "computes what
        this one does" the norms of a group are narrowed to its units that stay. The sizes of the new model are in its
        settings, `config`; it is built as any model is.
        """
        ...


def all_kept(groups: Sequence[Group], kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which units stay, bool [count], by name of every group; all of those that `kept` does not name.

    Raises ValueError for a group that is not there, or not of so many units.
    """
    counts = {group.name: group.count for group in groups}
    for name, keep in kept.items():
        if name not in counts:
            raise ValueError(f"kept: the model has no units {name!r}")
        if keep.dtype != torch.bool or keep.shape != (counts[name],):
            raise ValueError(f"kept: {name} should be bool [{counts[name]}], got {keep.dtype} {list(keep.shape)}")
    return {name: kept[name].cpu() if name in kept else torch.ones(count).bool() for name, count in counts.items()}


def places_kept(groups: Sequence[Group], kept: Mapping[str, Tensor]) -> dict[tuple[str, int], Tensor]:
    """Which indices stay, bool, of every (tensor, axis) on which a group lies; `kept` has every group."""
    found: dict[tuple[str, int], Tensor] = {}
    for group in groups:
        for place in group.places:
            keep = place.spread(kept[group.name])
            found[place.tensor, place.axis] = found.get((place.tensor, place.axis), keep) & keep
    return found
