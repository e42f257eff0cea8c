"""Log-mel filter banks, as Kaldi and its users compute them."""

from collections.abc import Sequence
from functools import cache

import numpy as np

from sottovoce.runtime.operation import Array, Attributes, Outcome, State, Tensors

EMPHASIS = np.float32(0.97)              # share of the sample before that is taken away
LEAST = np.finfo(np.float32).eps         # of the power in a band


def fbank(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Log-mel filter banks [B, T, bins] of a waveform [B, N], mirrored at both edges: T = (N + hop / 2) div hop.

    Frame t is centred on sample (t + 1/2) hop.
    """
    (waveform,) = inputs
    n_fft, hop, rate, low, high = (attributes[name] for name in ("n_fft", "hop", "rate", "low", "high"))
    samples = waveform.shape[1]
    first = np.arange((samples + hop // 2) // hop) * hop + hop // 2 - n_fft // 2
    places = (first[:, None] + np.arange(n_fft)) % max(2 * samples, 1)           # there and back again
    frames = waveform[:, np.minimum(places, 2 * samples - 1 - places)]           # [B, T, n_fft]
    frames -= frames.mean(-1, keepdims=True)
    frames -= EMPHASIS * np.concatenate([frames[..., :1], frames[..., :-1]], -1)
    weights = mel_weights(attributes["bins"], n_fft, rate, low, high)
    spectrum = np.fft.rfft(frames * _povey(n_fft), 2 * len(weights))[..., :-1]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    bands: Array = np.log(np.maximum(power.astype(np.float32) @ weights, LEAST))
    return bands, {}


@cache
def mel_weights(bins: int, n_fft: int, rate: int, low: float, high: float) -> Array:
    """Triangles on the mel scale [points, bins] over the spectrum below half the rate.

    The DFT has 2 points values: the next power of two to n_fft.
    """
    points = (1 << (n_fft - 1).bit_length()) // 2
    hertz = np.array([low, high, *np.arange(points) * rate / (2 * points)])
    least, most, *places = 1127 * np.log1p(hertz / 700)
    distance = np.abs((np.array(places)[:, None] - least) / (most - least) * (bins + 1) - np.arange(1, bins + 1))
    weights: Array = np.maximum(1 - distance, 0).astype(np.float32)
    return weights


@cache
def _povey(n_fft: int) -> Array:
    window: Array = np.power(np.hanning(n_fft), 0.85).astype(np.float32)
    return window
