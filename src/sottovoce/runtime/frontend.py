"""From waveform to frames or spectra and back, and what is done to spectra."""

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from sottovoce.runtime.operation import Array, Attributes, Outcome, State, Tensors, expect, zeros

WINDOWS: dict[str, Callable[[int], NDArray[np.float64]]] = {
    "hamming": np.hamming,                                     # symmetric: first and last value are equal
    "hann_sqrt": lambda n: np.sqrt(np.hanning(n + 1)[:-1]),    # root of the periodic Hann
    "rect": np.ones,
}


def stft(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Spectrum [B, T, F, 2] of T hops [B, T * hop]: unscaled DFT of the windows that end with each."""
    windows, kept = frames(attributes, tensors, inputs, state)
    spectrum = np.fft.rfft(windows).astype(np.complex64)
    return np.stack([spectrum.real, spectrum.imag], axis=-1), kept


def istft(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """T hops [B, T * hop] of a spectrum [B, T, F, 2], n_fft - hop samples late: inverse DFT, `overlap_add`."""
    (spectrum,) = inputs
    windows = np.fft.irfft(spectrum[..., 0] + 1j * spectrum[..., 1], attributes["n_fft"]).astype(np.float32)
    return overlap_add(attributes, tensors, [windows], state)


def frames(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Windowed samples [B, T, n_fft] of T hops [B, T * hop]: those that end with each."""
    (waveform,) = inputs
    n_fft, hop = attributes["n_fft"], attributes["hop"]
    past = state.get("samples", zeros(waveform, n_fft - hop))                  # [B, n_fft - hop]
    samples = np.concatenate([past, waveform], axis=1)
    hops = samples.reshape(len(samples), -1, hop)
    count = hops.shape[1] - n_fft // hop + 1
    windows = np.concatenate([hops[:, i : i + count] for i in range(n_fft // hop)], axis=2)
    windows *= _window(attributes["window"], n_fft)
    return windows, {"samples": samples[:, samples.shape[1] - past.shape[1] :]}


def overlap_add(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """T hops [B, T * hop] of frames [B, T, n_fft], n_fft - hop samples late: weighted overlap-add.

    Each frame is windowed again, added, and divided by the sum of squared windows (Griffin and Lim 1984,
    eq. 6).
    """
    (windows,) = inputs
    n_fft, hop = attributes["n_fft"], attributes["hop"]
    expect(windows.shape[2:] == (n_fft,), f"overlap_add of frames of {n_fft} samples over values {windows.shape}")
    batch, count = windows.shape[:2]
    window, overlaps = _window(attributes["window"], n_fft), n_fft // hop
    parts = (windows * window).reshape(batch, count, overlaps, hop)
    sums = np.zeros((batch, count + overlaps - 1, hop), np.float32)
    sums[:, : overlaps - 1] = state.get("overlap", 0.0)
    for i in range(overlaps):
        sums[:, i : i + count] += parts[:, :, i]
    norm = np.square(window).reshape(overlaps, hop).sum(axis=0)
    return (sums[:, :count] / norm).reshape(batch, count * hop), {"overlap": sums[:, count:].copy()}


def magnitude(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Magnitude [B, T, F] of a spectrum [B, T, F, 2], never quite zero, so that one may divide by it."""
    return np.sqrt(_power(inputs[0]) + np.float32(1e-12)), {}


def power_law(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Spectrum [B, T, F, 2] whose magnitudes are to the power `power`, phases kept."""
    (spectrum,) = inputs
    exponent = np.float32((attributes["power"] - 1) / 2)
    return spectrum * np.power(_power(spectrum) + np.float32(1e-12), exponent)[..., None], {}


def running_rms(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Level [B, T, 1] so far of a spectrum [B, T, F, 2]: root of its exponentially weighted mean power."""
    (spectrum,) = inputs
    decay = np.float32(attributes["decay"])
    power = _power(spectrum).mean(axis=-1) / np.float32(attributes["window_energy"])
    total, weight = state.get("power", zeros(power)), state.get("weight", zeros(power))        # [B]
    mean = np.empty_like(power)
    for t in range(power.shape[1]):
        total = decay * total + power[:, t]
        weight = decay * weight + np.float32(1)
        mean[:, t] = total / weight
    level = np.maximum(np.sqrt(mean), np.float32(attributes["floor"]))
    return level[:, :, None], {"power": total, "weight": weight}


def complex_mul(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Product of [..., 2] and [..., 2] as complex numbers, broadcast."""
    a, b = inputs
    expect(a.shape[-1] == b.shape[-1] == 2, f"complex_mul of {a.shape} and {b.shape}")
    real = a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1]
    imaginary = a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]
    return np.stack([real, imaginary], axis=-1), {}


def _power(spectrum: Array) -> Array:
    """Squared magnitude [B, T, F] of a spectrum [B, T, F, 2]."""
    expect(spectrum.ndim == 4 and spectrum.shape[3] == 2, f"a spectrum of {spectrum.shape}")
    return np.square(spectrum[..., 0]) + np.square(spectrum[..., 1])


@cache
def _window(name: str, n_fft: int) -> Array:
    return WINDOWS[name](n_fft).astype(np.float32)
