"""What can be removed from a Conformer: where its units lie in its tensors, and the tensors without some of them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from sottovoce.units import Group, Place, places_kept

FRAMES_PER_SECOND = 25   # of the blocks
USUAL_SECONDS = 10       # of an utterance, for what attention costs: it grows with the length
READERS = {"before": ("enter",), "attention": ("query", "key", "value"), "convolution": ("enter", "gate"),
           "after": ("enter",)}  # the parts of a block, in their order, and their layers that read the stream
SHARES = {"before": 0.5, "attention": 1.0, "convolution": 1.0, "after": 0.5}     # of what a part gives, that is added


def units_of(layers: int, channels: int, heads: int, middle: int) -> list[Group]:
    """The groups of each block, then the channels of the stream between them all, of a model of these sizes."""
    groups, stream = [], [*_gives("enter", scaled=True), _takes("output")]
    for block in (f"blocks.{layer}" for layer in range(layers)):
        groups += [
            _middle(f"{block}.before", middle), _middle(f"{block}.after", middle),
            _heads(f"{block}.attention", heads, channels // heads), _convolution(f"{block}.convolution", channels),
            _local(block, channels),
        ]
        for part, readers in READERS.items():
            stream += [*_gives(f"{block}.{part}.norm", scaled=True), *_gives(f"{block}.{part}.leave", scaled=True)]
            stream += [_takes(f"{block}.{part}.{layer}") for layer in readers]
        stream += _gives(f"{block}.norm", scaled=True)
    return [*groups, Group("hidden", "hidden", channels, tuple(stream))]


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


def _convolution(part: str, channels: int) -> Group:
    layers = ("norm", "enter", "gate", "along", "batch_norm")
    places = [place for layer in layers for place in _gives(f"{part}.{layer}", channels)]
    return Group(part, "convolution", 1, (*_gives(f"{part}.leave", channels, scaled=True), *places))


def _local(block: str, channels: int) -> Group:
    """The channels of the stream that the parts of a block read, after their norms, and write."""
    places = [place for part in READERS for place in _gives(f"{block}.{part}.leave", scaled=True)]
    places += [_takes(f"{block}.{part}.{layer}", scaled=True) for part, layers in READERS.items() for layer in layers]
    return Group(f"{block}.local", "local", channels, tuple(places))


def parts_left(block: str, kept: Mapping[str, Tensor]) -> dict[str, bool]:
    """Whether anything of each part of a block stays but its norm and last bias."""
    units = {"before": "before.middle", "attention": "attention.heads", "convolution": "convolution",
             "after": "after.middle"}
    local = bool((kept[f"{block}.local"] & kept["hidden"]).any())
    return {part: local and bool(kept[f"{block}.{group}"].any()) for part, group in units.items()}


def tensors_without(tensors: Mapping[str, Tensor], groups: Sequence[Group], kept: Mapping[str, Tensor],
                    ) -> dict[str, Tensor]:
    """The tensors of a whole model, cut to the units that stay, with the channels that its parts take and put back.

    A part that is left with its norm and last bias counts as gone: what was added before it has that bias as well.
    """
    blocks = [group.name.removesuffix(".local") for group in groups if group.kind == "local"]
    tensors = _with_biases_moved(tensors, blocks, kept)
    for (name, axis), keep in places_kept(groups, kept).items():
        tensors[name] = tensors[name].index_select(axis, keep.nonzero()[:, 0].to(tensors[name].device))
    for block in blocks:
        local = kept[f"{block}.local"][kept["hidden"]]
        for part in READERS:
            tensors[f"{block}.{part}.take.channels"] = local.nonzero()[:, 0]
            tensors[f"{block}.{part}.put.channels"] = torch.where(local, local.cumsum(0) - 1, -1)
    return tensors


def _with_biases_moved(tensors: Mapping[str, Tensor], blocks: Sequence[str], kept: Mapping[str, Tensor],
                       ) -> dict[str, Tensor]:
    moved, last, its_share = dict(tensors), "enter.bias", 1.0        # what was added to the stream before
    for block in blocks:
        local = kept[f"{block}.local"].to(tensors[last])
        for part, left in parts_left(block, kept).items():
            bias, share = f"{block}.{part}.leave.bias", SHARES[part]
            if left:
                last, its_share = bias, share
            elif part != "convolution":          # its bias goes with it
                moved[last] = moved[last] + local * tensors[bias] * (share / its_share)
        last, its_share = f"{block}.norm.bias", 1.0
    return moved
