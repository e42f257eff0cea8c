"""Log-mel filter banks as Kaldi and its users compute them, so that a model is at home where those are given."""

import torch
from torch import Tensor, nn

from sottovoce.models.frontend import HOP, SAMPLE_RATE


class Fbank(nn.Module):
    """Log-mel filter banks [batch, frames, bins] of a waveform [batch, samples] in -1..1.

    Equal to kaldi-native-fbank without dither and without snip_edges: frame t is centred on sample (t + 1/2) hop, the
    waveform is mirrored at both edges, and frames = (samples + hop / 2) div hop. `low` and `high` are Hz.
    """

    window: Tensor
    mel: Tensor

    def __init__(self, bins: int = 80, n_fft: int = 400, hop: int = HOP, rate: int = SAMPLE_RATE, low: float = 20.0,
                 high: float = 7600.0) -> None:
        super().__init__()
        self.bins, self.n_fft, self.hop, self.rate, self.low, self.high = bins, n_fft, hop, rate, low, high
        self.register_buffer("window", torch.hann_window(n_fft, periodic=False).pow(0.85), persistent=False)
        self.register_buffer("mel", mel_weights(bins, n_fft, rate, low, high), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        with torch.autocast(waveform.device.type, enabled=False):
            frames = self.framed(waveform.float())
            frames = frames - frames.mean(-1, keepdim=True)
            before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
            spectrum = torch.view_as_real(torch.fft.rfft((frames - 0.97 * before) * self.window, 2 * len(self.mel)))
            power = spectrum[..., :-1, :].square().sum(-1)
            bands: Tensor = (power @ self.mel).clamp_min(torch.finfo(torch.float32).eps).log()
            return bands

    def framed(self, waveform: Tensor) -> Tensor:
        """Windows [batch, frames, n_fft] of a waveform that is mirrored at its edges."""
        samples = waveform.shape[-1]
        frames = (samples + self.hop // 2) // self.hop
        first = self.hop // 2 - self.n_fft // 2
        places = torch.arange(first, first + frames * self.hop + self.n_fft, device=waveform.device)
        places = places.remainder(2 * samples)                       # there and back again
        return waveform[:, torch.minimum(places, 2 * samples - 1 - places)].unfold(-1, self.n_fft, self.hop)[:, :frames]


def mel_weights(bins: int, n_fft: int, rate: int, low: float, high: float) -> Tensor:
    """Triangles on the mel scale [points, bins] over the spectrum below half the rate.

    The DFT has 2 points values: the next power of two to n_fft.
    """
    points = (1 << (n_fft - 1).bit_length()) // 2

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    least, most = mel(torch.tensor([low, high], dtype=torch.float64))
    places = (mel(torch.arange(points, dtype=torch.float64) * rate / (2 * points)) - least) / (most - least)
    distance: Tensor = (places[:, None] * (bins + 1) - torch.arange(1, bins + 1)).abs()
    return (1 - distance).clamp_min(0).float()
