"""The LSTM enhancer of Tan and Wang 2021: magnitudes of single frames through stacked LSTMs, the noisy phase kept."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.models.frontend import BINS, Affine, InverseStft, Magnitude, RunningRms, Stft, Window


@dataclass(frozen=True)
class LstmConfig:
    """Sizes and front end; the defaults are the published model of 30,217,377 parameters."""

    hidden: int = 1024                                   # units of each LSTM layer
    layers: int = 4
    features: Literal["magnitude", "log1p"] = "magnitude"
    output: Literal["magnitude", "mask"] = "magnitude"   # the clean magnitude (ReLU), or a gain in 0..1 (sigmoid)
    window: Window = "hamming"
    least_gain: float = 0.0                              # of a mask: noise is left at 0.1, -20 dB, for instance
    level_seconds: float = 0.0                           # running level that the input is divided by; 0: expect RMS 1

    def __post_init__(self) -> None:
        if not 1 <= self.hidden <= 16384 or not 1 <= self.layers <= 64:
            raise ValueError(f"hidden must be 1..16384 and layers 1..64, got {self.hidden} and {self.layers}")
        if not 0 <= self.least_gain < 1:
            raise ValueError(f"least_gain must be at least 0 and below 1, got {self.least_gain}")
        if not 0 <= self.level_seconds < 1e6:
            raise ValueError(f"level_seconds must be 0..1e6, got {self.level_seconds}")


class LstmEnhancer(nn.Module):
    """Enhanced waveform [batch, samples] of a noisy one of the same shape, 16 kHz, causal, 10 ms behind."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__()
        self.config = config
        self.stft = Stft(config.window)
        self.magnitude = Magnitude()
        self.level = RunningRms(config.level_seconds, config.window) if config.level_seconds else None
        self.lstm = nn.LSTM(BINS, config.hidden, config.layers, batch_first=True)
        self.output = nn.Linear(config.hidden, BINS)
        self.gain = Affine(1 - config.least_gain, config.least_gain)
        self.istft = InverseStft(config.window)

    def forward(self, waveform: Tensor) -> Tensor:
        spectrum = self.stft(waveform)                                   # [batch, frames, bins, 2]
        magnitude = self.magnitude(spectrum)                             # [batch, frames, bins]
        level = self.level(spectrum) if self.level is not None else None
        features = magnitude if level is None else magnitude / level
        if self.config.features == "log1p":
            features = torch.log1p(features)
        estimate = self.output(self.lstm(features)[0])
        if self.config.output == "mask":
            gain = self.gain(torch.sigmoid(estimate))
        else:
            target = torch.relu(estimate)
            gain = (target if level is None else target * level) / magnitude
        enhanced: Tensor = self.istft(spectrum * gain.unsqueeze(-1), waveform)
        return enhanced
