"""Noise made from a seed: coloured, modulated, hum and clicks. Recorded noise is scarce; these widen it."""

from collections.abc import Callable

import numpy as np
import scipy.fft
from numpy.typing import NDArray

Array = NDArray[np.float32]
Rng = np.random.Generator


def coloured(rng: Rng, samples: int, rate: int) -> Array:
    """Gaussian noise whose power falls with frequency at a random slope, coloured by a random equaliser."""
    spectrum = scipy.fft.rfft(rng.standard_normal(samples, dtype=np.float32))
    frequency = np.maximum(np.linspace(0, 1, len(spectrum), dtype=np.float32), 20 / rate)
    return equalise(rng, scipy.fft.irfft(spectrum * frequency ** -rng.uniform(0, 1.2), n=samples))


def modulated(rng: Rng, samples: int, rate: int) -> Array:
    """Coloured noise whose level moves slowly, by up to 20 dB, a few times a second."""
    points = max(2, int(samples / rate * rng.uniform(0.5, 8)) + 1)
    level_db = np.interp(np.linspace(0, points - 1, samples), np.arange(points), rng.uniform(-20, 0, points))
    return (coloured(rng, samples, rate) * 10 ** (level_db / 20)).astype(np.float32)


def hum(rng: Rng, samples: int, rate: int) -> Array:
    """Harmonics of a mains or motor tone whose pitch drifts, above a little coloured noise."""
    fundamental = rng.choice([50.0, 60.0, rng.uniform(60, 400)])
    drift = np.interp(np.linspace(0, 1, samples), np.linspace(0, 1, 5), rng.uniform(0.97, 1.03, 5))
    phase = 2 * np.pi * np.cumsum(fundamental * drift) / rate
    orders = np.arange(1, min(30, int(rate / 2 / fundamental / 1.03)) + 1)
    tone = sum(rng.uniform(0, 1) / order * np.sin(order * phase + rng.uniform(0, 6)) for order in orders)
    return (tone + 0.3 * unit(coloured(rng, samples, rate))).astype(np.float32)


def clicks(rng: Rng, samples: int, rate: int) -> Array:
    """Decaying resonant clicks at random times, as of keys, dishes or steps."""
    wave = np.zeros(samples, np.float32)
    time = np.arange(int(0.2 * rate)) / rate
    for start in rng.integers(0, samples, size=max(1, rng.poisson(samples / rate * rng.uniform(1, 8)))):
        decay, frequency = rng.uniform(0.003, 0.06), rng.uniform(200, 6000)
        carrier = np.sin(2 * np.pi * frequency * time) + rng.standard_normal(len(time)) * 0.5
        click = rng.uniform(0.2, 1) * np.exp(-time / decay) * carrier
        wave[start : start + len(click)] += click[: samples - start]
    return wave


SYNTHETIC: dict[str, Callable[[Rng, int, int], Array]] = {
    "coloured": coloured, "modulated": modulated, "hum": hum, "clicks": clicks,
}


def equalise(rng: Rng, wave: Array, depth_db: float = 8.0) -> Array:
    """The wave through a smooth random filter of at most +-depth_db, zero phase."""
    spectrum = scipy.fft.rfft(wave)
    gains_db = rng.uniform(-depth_db, depth_db, 8)
    curve = np.interp(np.linspace(0, 7, len(spectrum)), np.arange(8), gains_db)
    filtered: Array = scipy.fft.irfft(spectrum * (10 ** (curve / 20)).astype(np.float32), n=len(wave))
    return filtered


def unit(wave: Array) -> Array:
    """The wave at RMS 1; a silent wave stays silent."""
    rms = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    return wave if rms < 1e-8 else (wave / np.float32(rms)).astype(np.float32)
