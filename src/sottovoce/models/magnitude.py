"""Enhancers that see magnitudes of single frames and keep the noisy phase; what lies between is theirs to say."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.models.frontend import Affine, InverseStft, Magnitude, RunningRms, Stft, Window


@dataclass(frozen=True)
class MagnitudeConfig:
    """What goes in and what comes out."""

    features: Literal["magnitude", "log1p"] = "magnitude"
    output: Literal["magnitude", "mask"] = "magnitude"   # the clean magnitude (ReLU), or a gain in 0..1 (sigmoid)
    window: Window = "hamming"
    least_gain: float = 0.0                              # of a mask: noise is left at 0.1, -20 dB, for instance
    level_seconds: float = 0.0                           # running level that the input is divided by; 0: expect RMS 1

    def __post_init__(self) -> None:
        if self.window == "rect":
            raise ValueError("window: expected hamming or hann_sqrt, got rect")
        if not 0 <= self.least_gain < 1:
            raise ValueError(f"least_gain must be at least 0 and below 1, got {self.least_gain}")
        check_level(self.level_seconds)


class MagnitudeEnhancer(nn.Module):
    """Enhanced waveform [batch, samples] of a noisy one of the same shape, 16 kHz, causal, 10 ms behind."""

    def __init__(self, config: MagnitudeConfig) -> None:
        super().__init__()
        self.config = config
        self.stft = Stft(config.window)
        self.magnitude = Magnitude()
        self.level = running_level(config.level_seconds, self.stft)
        self.gain = Affine(1 - config.least_gain, config.least_gain)
        self.istft = InverseStft(config.window)

    def estimate(self, features: Tensor) -> Tensor:
        """Output layer's values [batch, frames, bins] for features of that shape."""
        raise TypeError(f"{type(self).__name__} does not say what it makes of features")

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = self.stft(waveform)                                   # [batch, frames, bins, 2]
        magnitude = self.magnitude(spectrum)                             # [batch, frames, bins]
        level = self.level(spectrum) if self.level is not None else None
        features = magnitude if level is None else magnitude / level
        if self.config.features == "log1p":
            features = torch.log1p(features)
        estimate = self.estimate(features)
        if self.config.output == "mask":
            gain = self.gain(torch.sigmoid(estimate))
        else:
            target = torch.relu(estimate)
            gain = (target if level is None else target * level) / magnitude
        enhanced: Tensor = self.istft(spectrum * gain.unsqueeze(-1), waveform)
        return enhanced


def running_level(seconds: float, stft: Stft) -> RunningRms | None:
    """The running level of that transform's spectra, none for 0 seconds."""
    return RunningRms(seconds, float(stft.window.square().sum())) if seconds else None


def check_level(seconds: float) -> None:
    """Raises ValueError unless `seconds` can be a time constant, or 0."""
    if not 0 <= seconds < 1e6:
        raise ValueError(f"level_seconds must be 0..1e6, got {seconds}")
