"""The Conformer (Gulati et al. 2020) in the size that Jiang et al. 2023 prune: speech to symbols, for CTC."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sottovoce.models.attention import Attention
from sottovoce.models.fbank import Fbank
from sottovoce.models.frontend import HOP, Affine
from sottovoce.models.layers import BatchNorm, ChannelNorm, DepthConv, Dropout, Fold, FrameConv, SpecAugment, Take
from sottovoce.models.removal import Left, local_kept, tensors_without, units_of
from sottovoce.units import Group, all_kept

BINS = 80                # of the filter banks
FOLDED = 2               # frames that become one, twice


def frames_of(samples: int) -> int:
    """How many frames of the output, one every 40 ms, belong to so many samples."""
    return (samples + HOP // 2) // HOP // FOLDED**2


@dataclass(frozen=True)
class BlockSizes:
    """What a block has; a part with nothing in it is not there."""

    heads: int                       # each as large as in a whole model
    before: int                      # channels within the first feed-forward part
    after: int                       # channels within the second
    convolution: bool                # whether it has one
    local: int                       # channels between the parts that its parts read and write


@dataclass(frozen=True)
class ConformerConfig:
    """Sizes; the defaults are the published encoder, 75.8 million parameters in its blocks.

    `stream` and `blocks` are those of a model of which something was removed.
    """

    symbols: int = 40                # of the output, the blank of CTC, number 0, among them
    layers: int = 18
    channels: int = 512              # between the parts of a block, and within attention and convolution
    heads: int = 8
    middle: int = 1024               # channels within a feed-forward part
    kernel: int = 3                  # frames that the convolution of a block sees
    images: int = 32                 # channels of the two convolutions before the blocks
    left: int = -1                   # frames before its own, or before its chunk, that attention sees; -1: all
    right: int = -1                  # frames after its own that attention sees; -1: all
    causal: bool = False             # the convolutions of the blocks see no later frames
    chunk: int = 0                   # frames that attention sees together, and nothing later; 0: all, no streaming
    dropout: float = 0.1             # of what each part adds, in training
    bands: int = 2                   # stripes of the filter banks that are hidden, in training (SpecAugment),
    band: int = 27                   # each of so many at most
    gaps: int = 10                   # stretches of frames that are hidden, in training,
    gap: float = 0.05                # each such a share of the utterance at most
    stream: int | None = None        # channels that are left between the parts; None: all
    blocks: tuple[BlockSizes, ...] = ()      # what each block has left; empty: everything

    def __post_init__(self) -> None:
        for name, least, most in (("symbols", 2, 65536), ("layers", 1, 64), ("channels", 2, 16384), ("heads", 1, 64),
                                  ("middle", 1, 16384), ("kernel", 1, 255), ("images", 1, 4096), ("left", -1, 65536),
                                  ("right", -1, 65536), ("chunk", 0, 4096), ("bands", 0, BINS), ("band", 0, BINS),
                                  ("gaps", 0, 1024)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be {least}..{most}, got {getattr(self, name)}")
        if self.channels % self.heads or self.channels % 2:
            raise ValueError(f"channels must be even and a multiple of {self.heads} heads, got {self.channels}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if self.chunk and (self.left < 0 or self.right >= 0):
            raise ValueError("left and right must be at least 0 and -1 where there is a chunk, "
                             f"got {self.left} and {self.right}")
        if not (0 <= self.dropout < 1 and 0 <= self.gap < 1):
            raise ValueError(f"dropout and gap must be at least 0 and below 1, got {self.dropout} and {self.gap}")
        if self.stream is not None and not 1 <= self.stream <= self.channels:
            raise ValueError(f"stream must be 1..{self.channels}, got {self.stream}")
        # Of a file they come as JSON values.
        blocks = tuple(block if isinstance(block, BlockSizes) else BlockSizes(**block) for block in self.blocks)
        object.__setattr__(self, "blocks", blocks)
        if len(blocks) not in (0, self.layers):
            raise ValueError(f"blocks must be one for each of {self.layers} layers, got {len(blocks)}")
        for number, block in enumerate(blocks):
            for name, most in (("heads", self.heads), ("before", self.middle), ("after", self.middle),
                               ("local", self.width)):
                if not 0 <= getattr(block, name) <= most:
                    raise ValueError(f"blocks[{number}]: {name} must be 0..{most}, got {getattr(block, name)}")

    @property
    def width(self) -> int:
        """Channels between the parts."""
        return self.stream or self.channels

    def sizes(self, layer: int) -> BlockSizes:
        """What the block of that number has."""
        whole = BlockSizes(self.heads, self.middle, self.middle, True, self.width)
        return self.blocks[layer] if self.blocks else whole


class Part(nn.Module):
    """What a block adds to the stream [B, T, C], of which it may see and change some channels only."""

    def __init__(self, config: ConformerConfig, local: int) -> None:
        super().__init__()
        whole = local == config.width
        self.norm = ChannelNorm(config.width)
        self.take = nn.Identity() if whole else Take(config.width, local)
        self.put = nn.Identity() if whole else Take(local, config.width)


class FeedForward(Part):
    """To the middle and back, half of which is added: [B, T, C] -> [B, T, C]."""

    def __init__(self, config: ConformerConfig, middle: int, local: int) -> None:
        super().__init__(config, local)
        self.enter = nn.Linear(local, middle)
        self.inner_dropout = Dropout(config.dropout)
        self.leave = nn.Linear(middle, local)
        self.dropout = Dropout(config.dropout)
        self.halve = Affine(0.5, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.inner_dropout(F.silu(self.enter(self.take(self.norm(x)))))
        added: Tensor = self.put(self.halve(self.dropout(self.leave(inside))))
        return added


class SelfAttention(Part):
    """What each frame takes from the frames around it: [B, T, C] -> [B, T, C]."""

    def __init__(self, config: ConformerConfig, heads: int, local: int) -> None:
        super().__init__(config, local)
        channels = config.channels // config.heads * heads
        self.query, self.key, self.value = (nn.Linear(local, channels) for _ in range(3))
        self.attention = Attention(channels, heads, config.left, config.right, config.channels,
                                   config.chunk)
        self.leave = nn.Linear(channels, local)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.take(self.norm(x))
        added: Tensor = self.put(self.dropout(self.leave(self.attention(self.query(x), self.key(x), self.value(x)))))
        return added


class Convolution(Part):
    """Gated channels, each filtered along time: [B, T, C] -> [B, T, C]."""

    def __init__(self, config: ConformerConfig, local: int) -> None:
        super().__init__(config, local)
        channels = config.channels
        self.enter, self.gate = nn.Linear(local, channels), nn.Linear(local, channels)
        self.along = DepthConv(channels, config.kernel, causal=config.causal or config.chunk > 0)
        self.batch_norm = BatchNorm(channels)
        self.leave = nn.Linear(channels, local)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.take(self.norm(x))
        x = self.along(self.enter(x) * torch.sigmoid(self.gate(x)))
        added: Tensor = self.put(self.dropout(self.leave(F.silu(self.batch_norm(x)))))
        return added


class Block(nn.Module):
    """Attention and convolution between two halves of a feed-forward part, as far as they are there: as the stream."""

    def __init__(self, config: ConformerConfig, sizes: BlockSizes) -> None:
        super().__init__()
        local = sizes.local
        self.before, self.after = (
            FeedForward(config, middle, local) if middle and local else None for middle in (sizes.before, sizes.after)
        )
        self.attention = SelfAttention(config, sizes.heads, local) if sizes.heads and local else None
        self.convolution = Convolution(config, local) if sizes.convolution and local else None
        self.norm = ChannelNorm(config.width)

    def forward(self, x: Tensor) -> Tensor:
        for part in (self.before, self.attention, self.convolution, self.after):
            x = x if part is None else x + part(x)
        normed: Tensor = self.norm(x)
        return normed


class Conformer(nn.Module):
    """Log probabilities [batch, `frames_of(samples)`, symbols] of a waveform [batch, samples] at 16 kHz.

    It takes 560 samples or more, for less than one frame is none. Zeros that fill up a batch are heard as silence.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.config = config
        self.fbank = Fbank(BINS)
        self.scale = Affine(0.25, 1.75)                  # speech has a mean of -7 and a deviation of 4
        self.augment = SpecAugment(config.bands, config.band, config.gaps, config.gap)
        self.fold_1, self.fold_2 = Fold(FOLDED), Fold(FOLDED)
        self.conv_1 = FrameConv(FOLDED, config.images, (2, 3), stride=2, pad=1)
        self.conv_2 = FrameConv(FOLDED * config.images, config.images, (2, 3), stride=2, pad=1)
        self.enter = nn.Linear(config.images * BINS // 4, config.width)
        self.dropout = Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config, config.sizes(layer)) for layer in range(config.layers))
        self.output = nn.Linear(config.width, config.symbols)

    def forward(self, waveform: Tensor) -> Tensor:
        image = self.augment(self.scale(self.fbank(waveform)).unsqueeze(-1))     # [batch, frames, bins, 1]
        image = torch.relu(self.conv_1(self.fold_1(image)))
        image = torch.relu(self.conv_2(self.fold_2(image)))                      # [batch, frames / 4, bins / 4, images]
        x = self.dropout(self.enter(image.flatten(-2)))
        for block in self.blocks:
            x = block(x)
        return torch.log_softmax(self.output(x).float(), -1)

    def units(self) -> list[Group]:
        """What can be removed: heads, middles, convolutions, what a block sees of the stream, the stream's channels.

        Of a model of which something was removed they are the units that it has left.
        """
        config = self.config
        return units_of(self._left(), config.width, config.channels, config.channels // config.heads)

    def _left(self) -> list[Left]:
        """What there is of each block."""
        found = []
        for layer, block in enumerate(self.blocks):
            sizes = self.config.sizes(layer)
            counts = {"before": sizes.before, "attention": sizes.heads, "convolution": 1, "after": sizes.after}
            parts = {name: part for name in counts if (part := getattr(block, name)) is not None}
            takes = [part.take.channels.tolist() for part in parts.values() if isinstance(part.take, Take)]
            found.append(Left({name: counts[name] for name in parts}, [*takes, range(self.config.width)][0]))
        return found

    def norms(self, group: str) -> list[ChannelNorm]:
        """All norms over the stream, for the group of its channels."""
        return [module for module in self.modules() if isinstance(module, ChannelNorm) and group == "hidden"]

    def without(self, kept: Mapping[str, Tensor]) -> "Conformer":
        """A smaller model, which computes what this one does with the other units multiplied by 0.

        A part of which only the bias of its last layer would be left goes as a whole, its bias into that of what
        wrote to the stream before it. Raises ValueError for what is no choice of its units.
        """
        groups, blocks = self.units(), self._left()
        kept = all_kept(groups, kept)
        if not kept["hidden"].any():
            raise ValueError("kept: expected one channel of hidden or more, got none")
        smaller = Conformer(_sizes_of(self.config, blocks, kept)).to(self.output.weight.device)
        tensors = tensors_without(self.state_dict(), groups, blocks, kept)
        smaller.load_state_dict({name: tensors[name] for name in smaller.state_dict()})
        return smaller.train(self.training)


def _sizes_of(config: ConformerConfig, blocks: Sequence[Left], kept: Mapping[str, Tensor]) -> ConformerConfig:
    """The settings of the model of these units, given what there was of each block."""
    count = {name: int(keep.sum()) for name, keep in kept.items()}
    sizes = []
    for layer, left in enumerate(blocks):
        block, old = f"blocks.{layer}", config.sizes(layer)
        sizes.append(BlockSizes(
            count.get(f"{block}.attention.heads", old.heads), count.get(f"{block}.before.middle", old.before),
            count.get(f"{block}.after.middle", old.after), bool(count.get(f"{block}.convolution", old.convolution)),
            min(old.local, int(local_kept(block, left, kept).sum())),
        ))
    whole = replace(config, stream=None if count["hidden"] == config.channels else count["hidden"], blocks=())
    even = all(block == whole.sizes(layer) for layer, block in enumerate(sizes))
    return whole if even else replace(whole, blocks=tuple(sizes))
