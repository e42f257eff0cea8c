"""The Conformer (Gulati et al. 2020) in the size that Jiang et al. 2023 prune: speech to symbols, for CTC."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sottovoce.models.attention import Attention
from sottovoce.models.fbank import Fbank
from sottovoce.models.frontend import HOP, Affine
from sottovoce.models.layers import BatchNorm, DepthConv, Fold, FrameConv

BINS = 80                # of the filter banks
FOLDED = 2               # frames that become one, twice


def frames_of(samples: int) -> int:
    """How many frames of the output, one every 40 ms, belong to so many samples."""
    return (samples + HOP // 2) // HOP // FOLDED**2


@dataclass(frozen=True)
class ConformerConfig:
    """Sizes; the defaults are the published encoder, 75.8 million parameters in its blocks."""

    symbols: int = 40                # of the output, the blank of CTC, number 0, among them
    layers: int = 18
    channels: int = 512              # between the parts of a block
    heads: int = 8
    middle: int = 1024               # channels within a feed-forward part
    kernel: int = 3                  # frames that the convolution of a block sees
    images: int = 32                 # channels of the two convolutions before the blocks
    left: int = -1                   # frames before its own that attention sees; -1: all
    right: int = -1                  # frames after its own that attention sees; -1: all
    causal: bool = False             # the convolutions of the blocks see no later frames
    dropout: float = 0.1             # of what each part adds, in training

    def __post_init__(self) -> None:
        for name, least, most in (("symbols", 2, 65536), ("layers", 1, 64), ("channels", 2, 16384), ("heads", 1, 64),
                                  ("middle", 1, 16384), ("kernel", 1, 255), ("images", 1, 4096), ("left", -1, 65536),
                                  ("right", -1, 65536)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be {least}..{most}, got {getattr(self, name)}")
        if self.channels % self.heads or self.channels % 2:
            raise ValueError(f"channels must be even and a multiple of {self.heads} heads, got {self.channels}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, got {self.kernel}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class FeedForward(nn.Module):
    """To the middle and back, half of which is added: [B, T, C] -> [B, T, C]."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.channels)
        self.enter = nn.Linear(config.channels, config.middle)
        self.inner_dropout = nn.Dropout(config.dropout)
        self.leave = nn.Linear(config.middle, config.channels)
        self.dropout = nn.Dropout(config.dropout)
        self.halve = Affine(0.5, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.inner_dropout(F.silu(self.enter(self.norm(x))))
        added: Tensor = self.halve(self.dropout(self.leave(inside)))
        return added


class SelfAttention(nn.Module):
    """What each frame takes from the frames around it: [B, T, C] -> [B, T, C]."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        channels = config.channels
        self.norm = nn.LayerNorm(channels)
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))
        self.attention = Attention(channels, config.heads, config.left, config.right)
        self.leave = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        added: Tensor = self.dropout(self.leave(self.attention(self.query(x), self.key(x), self.value(x))))
        return added


class Convolution(nn.Module):
    """Gated channels, each filtered along time: [B, T, C] -> [B, T, C]."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        channels = config.channels
        self.norm = nn.LayerNorm(channels)
        self.enter, self.gate = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.along = DepthConv(channels, config.kernel, causal=config.causal)
        self.batch_norm = BatchNorm(channels)
        self.leave = nn.Linear(channels, channels)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        x = self.along(self.enter(x) * torch.sigmoid(self.gate(x)))
        added: Tensor = self.dropout(self.leave(F.silu(self.batch_norm(x))))
        return added


class Block(nn.Module):
    """Attention and convolution between two halves of a feed-forward part: [B, T, C] -> [B, T, C]."""

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.before, self.after = FeedForward(config), FeedForward(config)
        self.attention, self.convolution = SelfAttention(config), Convolution(config)
        self.norm = nn.LayerNorm(config.channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.before(x)
        x = x + self.attention(x)
        x = x + self.convolution(x)
        normed: Tensor = self.norm(x + self.after(x))
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
        self.fold_1, self.fold_2 = Fold(FOLDED), Fold(FOLDED)
        self.conv_1 = FrameConv(FOLDED, config.images, (2, 3), stride=2, pad=1)
        self.conv_2 = FrameConv(FOLDED * config.images, config.images, (2, 3), stride=2, pad=1)
        self.enter = nn.Linear(config.images * BINS // 4, config.channels)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.output = nn.Linear(config.channels, config.symbols)

    def forward(self, waveform: Tensor) -> Tensor:
        image = self.scale(self.fbank(waveform)).unsqueeze(-1)                   # [batch, frames, bins, 1]
        image = torch.relu(self.conv_1(self.fold_1(image)))
        image = torch.relu(self.conv_2(self.fold_2(image)))                      # [batch, frames / 4, bins / 4, images]
        x = self.dropout(self.enter(image.flatten(-2)))
        for block in self.blocks:
            x = block(x)
        return torch.log_softmax(self.output(x).float(), -1)
