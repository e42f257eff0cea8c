"""The temporal convolutional network of Pandey and Wang 2019: frames of samples in, frames of samples out."""

import itertools
from dataclasses import dataclass

from torch import Tensor, nn

from sottovoce.models.frontend import Frames, OverlapAdd, RunningRms
from sottovoce.models.layers import BatchNorm, Concat, Dropout, FrameConv, FrameConvTranspose, Prelu, TimeConv
from sottovoce.models.magnitude import check_level

_CHANNELS = (1, 16, 16, 16, 32, 32, 64, 64)
_STRIDES, _PADS = (1, 2, 2, 2, 2, 2, 2), (2, 2, 1, 1, 1, 1, 1)
_EXTRA = (0, 0, 0, 0, 1, 1, 0)       # of the decoder, so that it gives the encoder's sizes back


@dataclass(frozen=True)
class TcnnConfig:
    """Sizes; the defaults are the published model of 5,053,685 parameters."""

    middle: int = 512                # channels within a residual block; 256 in the small model
    blocks: int = 3                  # of six residual blocks each; 2 in the small model
    dropout: float = 0.3             # of what the encoder hands to the decoder, in training
    residual: bool = False           # give what is to be taken away from the noisy frame, not the clean frame
    level_seconds: float = 0.0       # running level that the input is divided by; 0: expect RMS 1

    def __post_init__(self) -> None:
        if not 1 <= self.middle <= 16384 or not 1 <= self.blocks <= 64:
            raise ValueError(f"middle must be 1..16384 and blocks 1..64, got {self.middle} and {self.blocks}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")
        check_level(self.level_seconds)


class Block(nn.Module):
    """Residual block: 256 values to the middle, a dilated depthwise convolution along time, and back."""

    def __init__(self, middle: int, dilation: int) -> None:
        super().__init__()
        self.enter = nn.Linear(256, middle)
        self.prelu_1, self.norm_1 = Prelu(), BatchNorm(middle)
        self.along = TimeConv(middle, middle, 3, dilation, groups=middle)
        self.prelu_2, self.norm_2 = Prelu(), BatchNorm(middle)
        self.leave = nn.Linear(middle, 256)

    def forward(self, x: Tensor) -> Tensor:
        inside = self.norm_1(self.prelu_1(self.enter(x)))
        inside = self.norm_2(self.prelu_2(self.along(inside)))
        after: Tensor = x + self.leave(inside)
        return after


class TcnnEnhancer(nn.Module):
    """Enhanced waveform [batch, samples] of a noisy one of the same shape, 16 kHz, causal, 10 ms behind."""

    def __init__(self, config: TcnnConfig) -> None:
        super().__init__()
        self.config = config
        self.frames = Frames("rect")
        # Of samples in pairs, [160, 2], it is the mean square of a frame.
        self.level = RunningRms(config.level_seconds, window_energy=2.0) if config.level_seconds else None
        pairs = list(itertools.pairwise(_CHANNELS))
        self.encoder = nn.ModuleList(
            FrameConv(a, b, (2, 5), stride, pad) for (a, b), stride, pad in zip(pairs, _STRIDES, _PADS, strict=True)
        )
        self.encoder_norms = nn.ModuleList(BatchNorm(b) for _, b in pairs)
        self.encoder_prelus = nn.ModuleList(Prelu() for _ in pairs)
        self.middle = nn.Sequential(*(Block(config.middle, 2**n) for _ in range(config.blocks) for n in range(6)))
        self.dropout = Dropout(config.dropout)
        ups = zip(pairs[::-1], _STRIDES[::-1], _PADS[::-1], _EXTRA, strict=True)
        self.decoder = nn.ModuleList(
            FrameConvTranspose(2 * b, a, (2, 5), stride, pad, extra) for (a, b), stride, pad, extra in ups
        )
        self.decoder_norms = nn.ModuleList(BatchNorm(a) for a, _ in pairs[::-1])
        self.decoder_prelus = nn.ModuleList(Prelu() for _ in pairs)
        self.concat = Concat()
        self.overlap_add = OverlapAdd("rect")

    def forward(self, waveform: Tensor) -> Tensor:
        frames = self.frames(waveform)                                           # [batch, frames, 320]
        level = None if self.level is None else self.level(frames.unflatten(-1, (-1, 2)))
        x = (frames if level is None else frames / level).unsqueeze(-1)          # [batch, frames, 320, 1]
        skips = []
        for conv, norm, prelu in zip(self.encoder, self.encoder_norms, self.encoder_prelus, strict=True):
            x = prelu(norm(conv(x)))
            skips.append(x)
        x = self.middle(x.transpose(-1, -2).flatten(-2))                         # [batch, frames, 256]
        x = x.unflatten(-1, (-1, 4)).transpose(-1, -2)                           # [batch, frames, 4, 64]
        for up, norm, prelu in zip(self.decoder, self.decoder_norms, self.decoder_prelus, strict=True):
            x = prelu(norm(up(self.concat(x, self.dropout(skips.pop())))))
        x = x.flatten(-2)
        estimate = x if level is None else x * level
        enhanced: Tensor = self.overlap_add(frames - estimate if self.config.residual else estimate, waveform)
        return enhanced
