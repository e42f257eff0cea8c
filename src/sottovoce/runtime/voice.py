"""Where in a recording somebody speaks, and what is left of it as a sample of the voice: in training as in use."""

import numpy as np
from numpy.typing import NDArray

from sottovoce.runtime.reference import Array

TOP_DB = 20.0                # what lies further below the loudest frame is silence
FRAME_SECONDS = 0.256        # 2048 samples at 8 kHz, and ...
HOP_SECONDS = 0.064          # ... 512 samples: the published code took librosa's defaults at that rate
LEAST_SECONDS = 1.0          # of voice, for a sample that tells who speaks


def spoken(wave: Array, rate: int) -> NDArray[np.bool_]:
    """Which samples [N] are speech: the power of the frame around them is within 20 dB of the loudest frame's.

    The rule of librosa.effects.split: a frame is centred on the first of the samples, one hop, that it decides on.
    """
    hop, half = round(HOP_SECONDS * rate), round(FRAME_SECONDS * rate) // 2
    sums = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    centres = np.arange(0, len(wave), hop)
    power = sums[np.minimum(centres + half, len(wave))] - sums[np.maximum(centres - half, 0)]
    loud = power > power.max(initial=0.0) * 10 ** (-TOP_DB / 10)
    return np.repeat(loud, hop)[: len(wave)]


def span(wave: Array, rate: int) -> tuple[int, int]:
    """The sample with which speech begins, and the one after its end; (0, 0) for silence."""
    places = np.flatnonzero(spoken(wave, rate))
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


def voice_sample(wave: Array, rate: int) -> Array:
    """The recording [N] without its silences [M <= N], mean 0 and peak 1: what a model is told a voice by."""
    centred = wave - wave.mean(dtype=np.float64).astype(np.float32)
    voice = centred[spoken(centred, rate)]
    loudest: Array = voice / np.abs(voice).max(initial=np.float32(1e-8))
    return loudest
