"""WASE of Hao, Xu, Zhang and Xu 2021, as TinyWASE has it: of two talkers the one who also speaks in an enrolment."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sottovoce.models.frontend import Frames, OverlapAdd
from sottovoce.models.layers import DepthConv, GlobalNorm, Prelu, TimeMean
from sottovoce.models.recurrent import Lstm

_RATES = (8000, 16000)


@dataclass(frozen=True)
class WaseConfig:
    """Sizes; the defaults are the published model of 7,516,594 parameters."""

    rate: int = 8000                 # Hz, 8000 or 16000
    window: int = 0                  # samples that the encoder sees, its hop is half of them; 0: 2 ms
    voice_window: int = 0            # samples that the enrolment's encoder sees, its hop is a quarter; 0: 32 ms
    causal: bool = False             # wait for nothing of the mixture: filters see the past, norms their own frame
    stacks: int = 3
    blocks: int = 8                  # of each stack, dilations 1, 2, 4 ...
    filters: int = 512               # of the encoder
    channels: int = 128              # between blocks, of the enrolment's encoder and of the voiceprint
    middle: int = 512                # channels within a block
    units: int = 256                 # of the LSTM over the enrolment, for each direction
    dropout: float = 0.5             # between the layers of that LSTM, in training

    def __post_init__(self) -> None:
        if self.rate not in _RATES:
            raise ValueError(f"rate must be {' or '.join(map(str, _RATES))}, got {self.rate}")
        # From here on as numbers of samples, so that whoever keeps the settings keeps what they were.
        object.__setattr__(self, "window", self.window or self.rate // 500)
        object.__setattr__(self, "voice_window", self.voice_window or self.rate * 4 // 125)
        for name, size, overlap in (("window", self.window, 2), ("voice_window", self.voice_window, 4)):
            if not overlap <= size <= 65536 or size % overlap:
                raise ValueError(f"{name} must be a multiple of {overlap} samples up to 65536, got {size}")
        if not 1 <= self.stacks <= 16 or not 1 <= self.blocks <= 12:
            raise ValueError(f"stacks must be 1..16 and blocks 1..12, got {self.stacks} and {self.blocks}")
        for name in ("filters", "channels", "middle", "units"):
            if not 1 <= getattr(self, name) <= 16384:
                raise ValueError(f"{name} must be 1..16384, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout}")


class Extracted(NamedTuple):
    """What the model makes of a mixture; the first is what is shipped."""

    voice: Tensor                    # waveform [B, N] of the talker of the enrolment
    other: Tensor                    # waveform [B, N] of the other talker
    presence: Tensor                 # probability [B, stacks + 1, T] that the talker speaks, by site and frame


class Block(nn.Module):
    """Residual block: to the middle, a dilated filter along time for each channel, and back, to the sum and as skip."""

    def __init__(self, config: WaseConfig, dilation: int) -> None:
        super().__init__()
        channels, middle = config.channels, config.middle
        self.enter = nn.Linear(channels, middle)
        self.prelu_1, self.norm_1 = Prelu(), _norm(middle, config.causal)
        self.along = DepthConv(middle, 3, dilation, config.causal)
        self.prelu_2, self.norm_2 = Prelu(), _norm(middle, config.causal)
        self.leave, self.skip = nn.Linear(middle, channels), nn.Linear(middle, channels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values [batch, frames, channels] for the next block, and those for the end."""
        inside = self.norm_1(self.prelu_1(self.enter(x)))
        inside = self.norm_2(self.prelu_2(self.along(inside)))
        return x + self.leave(inside), self.skip(inside)


class Wase(nn.Module):
    """The two voices of a mixture [batch, samples], told apart by an enrolment [batch, any samples] of the first.

    The enrolment is another recording of that talker alone. All of it is heard before the mixture begins, in the
    causal setting too; there the norms are over the channels of each frame. Both waveforms are framed as by `Frames`.
    """

    def __init__(self, config: WaseConfig) -> None:
        super().__init__()
        self.config = config
        channels, hop = config.channels, config.window // 2
        self.voice_frames = Frames("rect", config.voice_window, config.voice_window // 4)
        self.voice_encoder = nn.Linear(config.voice_window, channels, bias=False)
        self.voice_lstm = Lstm(channels, config.units, 2, both_ways=True, dropout=config.dropout)
        self.voice_mean = TimeMean()
        self.voiceprint = nn.Linear(2 * config.units, channels)
        self.encoder_frames = Frames("rect", config.window, hop)
        self.encoder = nn.Linear(config.window, config.filters, bias=False)
        self.norm = _norm(config.filters, config.causal)
        self.bottleneck = nn.Linear(config.filters, channels)
        self.stacks = nn.ModuleList(
            nn.ModuleList(Block(config, 2**n) for n in range(config.blocks)) for _ in range(config.stacks)
        )
        self.sites = nn.ModuleList(nn.Linear(channels, channels) for _ in range(config.stacks + 1))
        self.presence = nn.Linear(channels, 1)           # one for all sites
        self.prelu = Prelu()
        self.mask = nn.Linear(channels, config.filters)
        self.decoder = nn.Linear(config.filters, config.window, bias=False)
        self.overlap_add = OverlapAdd("rect", config.window, hop)
        self._begin()

    @torch.no_grad()
    def _begin(self) -> None:
        """Start where the enrolment is heard: left as they come, these weights make all voiceprints alike to 1 %."""
        self.voice_encoder.weight *= 16              # speech at RMS 0.1 gives the LSTM values of RMS 1
        self.voiceprint.weight *= 8
        for site in self.sites:
            assert isinstance(site, nn.Linear)
            nn.init.ones_(site.bias)                 # and lets the mixture through

    def forward(self, mixture: Tensor, enrolment: Tensor) -> Extracted:
        heard = self.voice_lstm(self.voice_encoder(self.voice_frames(enrolment)))
        voiceprint = self.voiceprint(self.voice_mean(heard))                     # [batch, 1, channels]
        encoded = self.encoder(self.encoder_frames(mixture))                     # [batch, frames, filters]
        x, present = self.bottleneck(self.norm(encoded)), []
        skips: Tensor | None = None
        for stack, site in zip(self.stacks, self.sites, strict=False):           # the last site is for the skips
            x, sure = self.turned(x, site(voiceprint))
            present.append(sure)
            assert isinstance(stack, nn.ModuleList)
            for block in stack:
                x, skip = block(x)
                skips = skip.float() if skips is None else skips + skip
        assert skips is not None
        x, sure = self.turned(skips, self.sites[-1](voiceprint))
        masked = encoded * torch.sigmoid(self.mask(self.prelu(x)))
        voice, other = (self.overlap_add(self.decoder(part), mixture) for part in (masked, encoded - masked))
        return Extracted(voice, other, torch.cat([*present, sure], -1).transpose(1, 2))

    def turned(self, x: Tensor, voice: Tensor) -> tuple[Tensor, Tensor]:
        """Values turned towards a voice [batch, 1, channels], and the probability [batch, frames, 1] that it is there.

        The probability is float32 in mixed precision too: half of its bits would be lost close to one.
        """
        x = x * voice
        present = torch.sigmoid(self.presence(x).float())
        return x * present, present


def _norm(channels: int, causal: bool) -> nn.Module:
    return nn.LayerNorm(channels, eps=1e-8) if causal else GlobalNorm(channels)
