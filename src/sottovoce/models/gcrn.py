"""The gated convolutional recurrent network of Tan and Wang 2020: complex spectra in, complex spectra out."""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.models.frontend import BINS, ComplexProduct, InverseStft, PowerLaw, Stft, Window
from sottovoce.models.layers import BatchNorm, Concat, FrameConv, FrameConvTranspose, FrameNorm
from sottovoce.models.magnitude import check_level, running_level
from sottovoce.models.recurrent import Lstm
from sottovoce.units import Group, Place


@dataclass(frozen=True)
class GcrnConfig:
    """Sizes and front end; the defaults are the published model of 9,771,340 parameters."""

    channels: tuple[int, ...] = (16, 32, 64, 128, 256)   # of the encoder; (16, 32, 64, 64, 128) in the small model
    groups: int = 2                                      # parts that each LSTM layer is split into
    output: Literal["spectrum", "mask"] = "spectrum"     # the clean spectrum, or a complex factor for the noisy one
    power: float = 1.0                                   # of the magnitudes as the network sees and gives them
    window: Window = "hamming"
    level_seconds: float = 0.0                           # running level that the input is divided by; 0: expect RMS 1

    def __post_init__(self) -> None:
        if len(self.channels) != 5 or not all(1 <= channels <= 4096 for channels in self.channels):
            raise ValueError(f"channels: expected five numbers in 1..4096, got {self.channels}")
        if self.groups < 1 or 4 * self.channels[-1] % self.groups:
            raise ValueError(f"groups: expected a divisor of {4 * self.channels[-1]}, got {self.groups}")
        if not 0.1 <= self.power <= 1:
            raise ValueError(f"power must be 0.1..1, got {self.power}")
        if self.window == "rect":
            raise ValueError("window: expected hamming or hann_sqrt, got rect")
        check_level(self.level_seconds)


PARTS = ("value", "gate")        # of a gated convolution


class Gated(nn.Module):
    """Two convolutions of equal shape, the second as a gate of the first; along the bins only."""

    def __init__(self, inputs: int, outputs: int, up: bool = False, extra: int = 0) -> None:
        super().__init__()
        self.value, self.gate = (
            FrameConvTranspose(inputs, outputs, (1, 3), 2, extra=extra) if up
            else FrameConv(inputs, outputs, (1, 3), 2)
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = self.value(x) * torch.sigmoid(self.gate(x))
        return gated


class GroupedLstm(nn.Module):
    """LSTM layers that each see an equal share of the values [batch, frames, size]; a list of their outputs."""

    def __init__(self, size: int, groups: int) -> None:
        super().__init__()
        self.share = size // groups
        self.parts = nn.ModuleList(Lstm(self.share, self.share) for _ in range(groups))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [part(x[..., i * self.share : (i + 1) * self.share]) for i, part in enumerate(self.parts)]


class Decoder(nn.Module):
    """From the bottleneck [batch, frames, 4, 2 * channels] up to one part of the spectrum [batch, frames, bins]."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        outputs = [*channels[-2::-1], 1]
        inputs = [2 * channels[-1], *(2 * width for width in outputs[:-1])]
        self.ups = nn.ModuleList(
            Gated(a, b, up=True, extra=int(place == 3))
            for place, (a, b) in enumerate(zip(inputs, outputs, strict=True))
        )
        self.norms = nn.ModuleList(BatchNorm(width) for width in outputs)
        self.concat = Concat()
        self.output = nn.Linear(BINS, BINS)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        for place, (up, norm) in enumerate(zip(self.ups, self.norms, strict=True)):
            x = norm(up(x))
            if place < 4:
                x = self.concat(x, skips[3 - place])
            x = nn.functional.elu(x)
        part: Tensor = self.output(x.flatten(-2))
        return part


class GcrnEnhancer(nn.Module):
    """Enhanced waveform [batch, samples] of a noisy one of the same shape, 16 kHz, causal, 10 ms behind."""

    def __init__(self, config: GcrnConfig) -> None:
        super().__init__()
        self.config = config
        widths = (2, *config.channels)
        size = 4 * config.channels[-1]
        self.stft = Stft(config.window)
        self.level = running_level(config.level_seconds, self.stft)
        self.compress = PowerLaw(config.power) if config.power < 1 else None
        self.encoder = nn.ModuleList(Gated(a, b) for a, b in itertools.pairwise(widths))
        self.norms = nn.ModuleList(BatchNorm(width) for width in config.channels)
        self.lstm_1, self.norm_1 = GroupedLstm(size, config.groups), FrameNorm(size)
        self.lstm_2, self.norm_2 = GroupedLstm(size, config.groups), FrameNorm(size)
        self.concat = Concat()
        self.real, self.imaginary = Decoder(config.channels), Decoder(config.channels)
        self.expand = PowerLaw(1 / config.power) if config.power < 1 else None
        self.product = ComplexProduct()
        self.istft = InverseStft(config.window)
        if config.output == "mask":
            nn.init.ones_(self.real.output.bias)         # begins near the noisy spectrum itself

    def units(self) -> list[Group]:
        """The channels of each gated convolution: what its norm gives can be scaled."""
        decoders = ("real", "imaginary")
        groups = []
        for place, count in enumerate(self.config.channels):
            # Of what a decoder takes from the other end, these channels are the second half.
            reads = [Place(f"{decoder}.ups.{4 - place}.{part}.weight", 0, units=(-1,) * count + tuple(range(count)))
                     for decoder in decoders for part in PARTS]
            if place < 4:
                reads += [Place(f"encoder.{place + 1}.{part}.weight", 1) for part in PARTS]
            else:
                share = self.lstm_1.share                            # a channel is four values one after the other
                reads += [Place(f"lstm_1.parts.{number}.weight_ih_l0", 1, units=tuple(
                    value // 4 for value in range(number * share, (number + 1) * share)))
                          for number in range(self.config.groups)]
            groups.append(Group(f"encoder.{place}", "channels", count,
                                (*_gives("encoder", "norms", place, 0), *reads)))
        for decoder in decoders:
            for place, count in enumerate(self.config.channels[-2::-1]):
                reads = [Place(f"{decoder}.ups.{place + 1}.{part}.weight", 0,
                               units=(*range(count), *(-1,) * count)) for part in PARTS]
                groups.append(Group(f"{decoder}.{place}", "channels", count,
                                    (*_gives(f"{decoder}.ups", f"{decoder}.norms", place, 1), *reads)))
        return groups

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = self.stft(waveform)                                           # [batch, frames, bins, 2]
        level = None if self.level is None else self.level(spectrum).unsqueeze(-1)
        x = spectrum if level is None else spectrum / level
        x = x if self.compress is None else self.compress(x)
        skips = []
        for gated, norm in zip(self.encoder, self.norms, strict=True):
            x = nn.functional.elu(norm(gated(x)))
            skips.append(x)
        x = x.transpose(-1, -2).flatten(-2)                                      # [batch, frames, channels * 4]
        x = self.norm_1(torch.stack(self.lstm_1(x), -1).flatten(-2))             # the groups' units take turns
        x = self.norm_2(torch.cat(self.lstm_2(x), -1))
        x = self.concat(x.unflatten(-1, (-1, 4)).transpose(-1, -2), skips[-1])
        estimate = torch.stack([self.real(x, skips), self.imaginary(x, skips)], -1)
        if self.config.output == "mask":
            estimate = self.product(spectrum, estimate)
        else:
            estimate = estimate if self.expand is None else self.expand(estimate)
            estimate = estimate if level is None else estimate * level
        enhanced: Tensor = self.istft(estimate, waveform)
        return enhanced


def _gives(layers: str, norms: str, place: int, axis: int) -> list[Place]:
    """Channels among what a gated convolution, whose kernels have them on that axis, and its norm give."""
    own = [Place(f"{layers}.{place}.{part}.{role}", at)
           for part in PARTS for role, at in (("weight", axis), ("bias", 0))]
    return [*own, *(Place(f"{norms}.{place}.{role}", 0, scaled=True) for role in ("weight", "bias"))]
