"""What can be removed from a Conformer: where its units lie in its tensors, and the tensors without some of them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sottovoce.units import Group, Place, places_kept

FRAMES_PER_SECOND = 25   # of the blocks
USUAL_SECONDS = 10       # of an utterance, for what attention costs: it grows with the length
READERS = {"before": ("enter",), "attention": ("query", "key", "value"), "convolution": ("enter", "gate"),
           "after": ("enter",)}  # the parts of a block, in their order, and their layers that read the stream
SHARES = {"before": 0.5, "attention": 1.0, "convolution": 1.0, "after": 0.5}     # of what a part gives, that is added


class Left(NamedTuple):
    """What there is of a block."""

    parts: Mapping[str, int]         # units of each part that is there: channels of its middle, heads, or 1
    seen: Sequence[int]              # channels of the stream that the parts read and write


def units_of(blocks: Sequence[Left], width: int, channels: int, head: int) -> list[Group]:
    """The groups of each block, then the channels of the stream between them all.

    `width` is of the stream, `channels` are those within a convolution and `head` those of a head.
    """
    groups, stream = [], [*_gives("enter", scaled=True), _takes("output")]
    for block, (parts, seen) in ((f"blocks.{layer}", left) for layer, left in enumerate(blocks)):
        groups += [_middle(f"{block}.{part}", parts[part]) for part in ("before", "after") if part in parts]
        if "attention" in parts:
            groups.append(_heads(f"{block}.attention", parts["attention"], head))
        if "convolution" in parts:
            groups.append(_convolution(f"{block}.convolution", len(seen), width, channels))
        if parts:
            groups.append(_local(block, parts, len(seen)))
        units = () if len(seen) == width else tuple(seen)
        for part in parts:
            local = [*_gives(f"{block}.{part}.leave", scaled=True)]
            local += [_takes(f"{block}.{part}.{layer}") for layer in READERS[part]]
            stream += [*_gives(f"{block}.{part}.norm", scaled=True), *(place._replace(units=units) for place in local)]
        stream += _gives(f"{block}.norm", scaled=True)
    return [*groups, Group("hidden", "hidden", width, tuple(stream))]


def _gives(layer: str, each: int = 1, scaled: bool = False) -> tuple[Place, ...]:
    """Units among what a layer, or a norm, gives."""
    return Place(f"{layer}.weight", 0, each, scaled), Place(f"{layer}.bias", 0, each, scaled)


def _takes(layer: str, each: int = 1, scaled: bool = False) -> Place:
    """Units among what a layer takes."""
    return Place(f"{layer}.weight", 1, each, scaled)


def _middle(part: str, count: int) -> Group:
    return Group(f"{part}.middle", "middle", count, (*_gives(f"{part}.enter"), _takes(f"{part}.leave", scaled=True)))


def _heads(part: str, count: int, size: int) -> Group:
    places = [_takes(f"{part}.leave", size, scaled=True)]
    places += [Place(f"{part}.attention.{name}", 0, size) for name in ("position", "content_bias", "position_bias")]
    places += [place for layer in READERS["attention"] for place in _gives(f"{part}.{layer}", size)]
    # For each frame that it hears a frame is scored by content once and by distance twice, and mixed once.
    scores = 4 * size * FRAMES_PER_SECOND**2 * USUAL_SECONDS
    return Group(f"{part}.heads", "heads", count, tuple(places), scores)


def _convolution(part: str, local: int, width: int, channels: int) -> Group:
    places = [*_gives(f"{part}.leave", local, scaled=True), *_gives(f"{part}.norm", width)]
    for layer in ("enter", "gate", "along", "batch_norm"):
        places += _gives(f"{part}.{layer}", channels)
    return Group(part, "convolution", 1, tuple(places))


def _local(block: str, parts: Iterable[str], count: int) -> Group:
    """The channels of the stream that the parts of a block read, after their norms, and write."""
    places = [place for part in parts for place in _gives(f"{block}.{part}.leave", scaled=True)]
    places += [_takes(f"{block}.{part}.{layer}", scaled=True) for part in parts for layer in READERS[part]]
    return Group(f"{block}.local", "local", count, tuple(places))


def parts_left(block: str, left: Left, kept: Mapping[str, Tensor]) -> dict[str, bool]:
    """Of each part of a block that is there, whether more of it stays than its norm and last bias."""
    units = {"before": "before.middle", "attention": "attention.heads", "convolution": "convolution",
             "after": "after.middle"}
    return {part: bool(local_kept(block, left, kept).any() and kept[f"{block}.{units[part]}"].any())
            for part in left.parts}


def local_kept(block: str, left: Left, kept: Mapping[str, Tensor]) -> Tensor:
    """Which of the channels that the parts of a block see stay, bool; of a block without parts those that would."""
    seen = kept["hidden"][list(left.seen)]
    return kept.get(f"{block}.local", seen) & seen


def tensors_without(tensors: Mapping[str, Tensor], groups: Sequence[Group], blocks: Sequence[Left],
                    kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a model, cut to the units that stay, with the channels that its parts take and put back.

    A part that is left with its norm and last bias counts as gone: what was added before it has that bias as well.
    """
    tensors = _with_biases_moved(tensors, blocks, kept)
    for (name, axis), keep in places_kept(groups, kept).items():
        tensors[name] = tensors[name].index_select(axis, keep.nonzero()[:, 0].to(tensors[name].device))
    place = kept["hidden"].cumsum(0) - 1                             # of each channel of the stream, in the new one
    for block, left in ((f"blocks.{layer}", left) for layer, left in enumerate(blocks)):
        take = place[torch.tensor(left.seen)[local_kept(block, left, kept)]]
        put = torch.full((int(kept["hidden"].sum()),), -1).index_copy(0, take, torch.arange(len(take)))
        for part in left.parts:
            tensors |= {f"{block}.{part}.take.channels": take, f"{block}.{part}.put.channels": put}
    return tensors


def _with_biases_moved(tensors: Mapping[str, Tensor], blocks: Sequence[Left], kept: Mapping[str, Tensor],
                       ) -> dict[str, Tensor]:
    moved, last, its_share = dict(tensors), "enter.bias", 1.0        # what was added to the stream before
    for block, left in ((f"blocks.{layer}", left) for layer, left in enumerate(blocks)):
        local = local_kept(block, left, kept).to(tensors[last])
        for part, stays in parts_left(block, left, kept).items():
            bias, share = f"{block}.{part}.leave.bias", SHARES[part]
            if stays:
                last, its_share = bias, share
            elif part != "convolution":          # its bias goes with it
                added = local * tensors[bias] * (share / its_share)
                if not last.startswith(f"{block}."):         # of all channels of the stream
                    seen = torch.tensor(left.seen, device=added.device)
                    added = torch.zeros_like(moved[last]).index_copy(0, seen, added)
                moved[last] = moved[last] + added
        last, its_share = f"{block}.norm.bias", 1.0
    return moved
