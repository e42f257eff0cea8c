"""Log-mel filter banks, as Kaldi and its users compute them."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sottovoce.runtime.operation import Array, Attributes, Outcome, State, Tensors

EMPHASIS = np.float32(0.97)              # share of the sample before that is taken away
LEAST = np.finfo(np.float32).eps         # of the power in a band


def fbank(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Log-mel filter banks [B, T, bins] of a waveform [B, N], mirrored at both edges: T = (N + hop / 2) div hop.

    Frame t is centred on sample (t + 1/2) hop. With a state, which `past` begins, the samples follow on it, nothing is
    mirrored, and T = N div hop.
    """
    (waveform,) = inputs
    n_fft, hop, rate, low, high = (attributes[name] for name in ("n_fft", "hop", "rate", "low", "high"))
    if state:
        waveform, first = np.concatenate([state["past"], waveform], 1), 0
        count = (waveform.shape[1] - (n_fft - hop)) // hop
        kept = {"past": waveform[:, count * hop :].copy()}
    else:
        first, count, kept = hop // 2 - n_fft // 2, (waveform.shape[1] + hop // 2) // hop, {}
    frames = mirrored(waveform, first + np.arange(count)[:, None] * hop + np.arange(n_fft))      # [B, T, n_fft]
    frames -= frames.mean(-1, keepdims=True)
    frames -= EMPHASIS * np.concatenate([frames[..., :1], frames[..., :-1]], -1)
    weights = mel_weights(attributes["bins"], n_fft, rate, low, high)
    spectrum = np.fft.rfft(frames * _povey(n_fft), 2 * len(weights))[..., :-1]
    power = np.square(spectrum.real) + np.square(spectrum.imag)
    bands: Array = np.log(np.maximum(power.astype(np.float32) @ weights, LEAST))
    return bands, kept


def mirrored(waveform: Array, places: NDArray[np.int64]) -> Array:
    """The samples [B, ...] at these places [...] of a waveform [B, N] that goes there and back again, without end."""
    samples = waveform.shape[1]
    places = places % max(2 * samples, 1)
    taken: Array = waveform[:, np.minimum(places, 2 * samples - 1 - places)]
    return taken


def ahead(attributes: Attributes) -> int:
    """Samples that are needed after a frame's hop before the frame is known; as many are mirrored before the first."""
    return int(attributes["n_fft"] - attributes["hop"]) // 2


def past(attributes: Attributes, waveform: Array) -> Array:
    """The state [B, n_fft - hop] of a stream that has heard `ahead` samples of a waveform [B, N]."""
    return mirrored(waveform, np.arange(-ahead(attributes), ahead(attributes)))


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
