"""From waveform to spectrum and back, and the level of a signal as it goes by: all causal, all exact when streamed."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SAMPLE_RATE = 16_000       # Hz
N_FFT = 320                # samples: 20 ms, also the window
HOP = 160                  # samples: 10 ms
BINS = N_FFT // 2 + 1

Window = Literal["hamming", "hann_sqrt", "rect"]


def make_window(name: Window, n_fft: int = N_FFT) -> Tensor:
    """The symmetric Hamming window of the papers, the root of the periodic Hann window, or ones, [n_fft].

    The squares of the second sum to one at 50 % overlap, which tools that synthesise without dividing rely on.
    """
    if name == "hamming":
        return torch.hamming_window(n_fft, periodic=False)
    return torch.hann_window(n_fft, periodic=True).sqrt() if name == "hann_sqrt" else torch.ones(n_fft)


class Frames(nn.Module):
    """Windowed frames [batch, frames, n_fft] of a waveform [batch, samples].

    The waveform is preceded by n_fft - hop zeros and continued by zeros to whole hops and n_fft - hop more, so that
    every sample is seen by all its windows: frames = ceil(samples / hop) + n_fft / hop - 1.
    """

    window: Tensor

    def __init__(self, window: Window = "hamming", n_fft: int = N_FFT, hop: int = HOP) -> None:
        super().__init__()
        self.window_name, self.n_fft, self.hop = window, n_fft, hop
        self.register_buffer("window", make_window(window, n_fft), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        edge = self.n_fft - self.hop
        waveform = F.pad(waveform, (edge, edge + -waveform.shape[-1] % self.hop))
        return waveform.unfold(-1, self.n_fft, self.hop) * self.window


class OverlapAdd(nn.Module):
    """Waveform [batch, samples] of frames [batch, frames, n_fft]; the least-squares inverse of `Frames`.

    Each frame is windowed again, overlapped and added, and divided by the sum of the squared windows (Griffin and
    Lim 1984, eq. 6). `like` [batch, samples] is the waveform whose length the result takes.
    """

    window: Tensor
    norm: Tensor

    def __init__(self, window: Window = "hamming", n_fft: int = N_FFT, hop: int = HOP) -> None:
        super().__init__()
        self.window_name, self.n_fft, self.hop = window, n_fft, hop
        self.register_buffer("window", make_window(window, n_fft), persistent=False)
        self.register_buffer("norm", self.window.square().reshape(-1, hop).sum(0), persistent=False)

    def forward(self, frames: Tensor, like: Tensor) -> Tensor:
        parts = torch.split(frames * self.window, self.hop, dim=2)       # n_fft / hop x [batch, frames, hop]
        last = len(parts) - 1
        hops = sum(F.pad(part, (0, 0, shift, last - shift)) for shift, part in enumerate(parts))
        assert isinstance(hops, Tensor)
        waveform = (hops / self.norm).flatten(1)
        return waveform[:, self.n_fft - self.hop :][:, : like.shape[-1]]


class Stft(Frames):
    """Spectrum [batch, frames, bins, 2] (real, imaginary) of a waveform [batch, samples]: unscaled DFT of `Frames`."""

    def forward(self, waveform: Tensor) -> Tensor:
        return torch.view_as_real(torch.fft.rfft(super().forward(waveform)))


class InverseStft(OverlapAdd):
    """Waveform [batch, samples] of a spectrum [batch, frames, bins, 2]; the least-squares inverse of `Stft`."""

    def forward(self, spectrum: Tensor, like: Tensor) -> Tensor:
        frames = torch.fft.irfft(torch.view_as_complex(spectrum.float().contiguous()), n=self.n_fft)
        return super().forward(frames, like)


class Magnitude(nn.Module):
    """Magnitude [batch, frames, bins] of a spectrum [batch, frames, bins, 2]."""

    def forward(self, spectrum: Tensor) -> Tensor:
        # The tiny addend keeps the gradient of the square root finite at an exact zero.
        return (spectrum.square().sum(-1) + 1e-12).sqrt()


class Affine(nn.Module):
    """scale * x + shift, with fixed numbers."""

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


class PowerLaw(nn.Module):
    """A spectrum [..., 2] with its magnitudes to a power and its phases as they are."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = power

    def forward(self, spectrum: Tensor) -> Tensor:
        spectrum = spectrum.float()
        return spectrum * (spectrum.square().sum(-1, keepdim=True) + 1e-12).pow((self.power - 1) / 2)


class ComplexProduct(nn.Module):
    """The product of two tensors [..., 2] (real, imaginary) as complex numbers."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        (ar, ai), (br, bi) = a.unbind(-1), b.unbind(-1)
        return torch.stack([ar * br - ai * bi, ar * bi + ai * br], -1)


class RunningRms(nn.Module):
    """Level [batch, frames, 1] of a spectrum so far: the root of an exponentially weighted mean of its power.

    `seconds` is the time constant of the weights, `window_energy` the sum of the squared window, `floor` the lowest
    level given, on waveforms in -1..1. It makes a model deaf to the recording level, as scaling each recording to
    RMS 1 does, but frame by frame.
    """

    block = 256            # frames weighted by one triangular product

    def __init__(self, seconds: float, window_energy: float, floor: float = 1e-4) -> None:
        super().__init__()
        self.floor, self.window_energy = floor, window_energy
        self.decay = math.exp(-HOP / SAMPLE_RATE / seconds)

    def forward(self, spectrum: Tensor) -> Tensor:
        power = spectrum.square().sum(-1).mean(-1) / self.window_energy      # [batch, frames]
        with torch.autocast(power.device.type, enabled=False):               # sums over minutes need all their bits
            weighted = self.accumulate(power) / self.accumulate(torch.ones_like(power))
        return weighted.clamp_min(self.floor**2).sqrt().unsqueeze(-1)

    def accumulate(self, values: Tensor) -> Tensor:
        """y[t] = decay * y[t - 1] + values[t], as one small matrix product a block."""
        steps = torch.arange(self.block, device=values.device)
        ages = steps[:, None] - steps[None, :]
        weights = torch.where(ages >= 0, self.decay ** ages.clamp_min(0), 0.0).to(values)
        carried = values.new_zeros(values.shape[0], 1)
        sums = []
        for block in torch.split(values, self.block, dim=1):
            length = block.shape[1]
            total = block @ weights[:length, :length].T + carried * self.decay ** (steps[:length] + 1)
            carried = total[:, -1:]
            sums.append(total)
        return torch.cat(sums, dim=1)
