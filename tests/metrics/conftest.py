"""Real speech of the sample, and noise at a known ratio to it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

Array = NDArray[np.float32]
SPEECH = Path(__file__).parents[2] / "sample" / "speech" / "test"
RATE = 16000


@pytest.fixture(scope="session")
def speech() -> Array:
    """Three seconds of one speaker, [samples]."""
    path = sorted(SPEECH.rglob("*.opus"))[0]
    signal, rate = soundfile.read(path, dtype="float32")
    assert rate == RATE
    return signal[RATE // 2 : RATE // 2 + 3 * RATE]


@pytest.fixture(scope="session")
def noisy(speech: Array) -> Callable[[float], Array]:
    """The speech with noise at a ratio in dB; the noise is orthogonal to it and has no mean."""
    clean = speech.astype(np.float64) - speech.mean()
    noise = np.random.default_rng(7).standard_normal(len(clean))
    noise -= noise.mean()
    noise -= clean * (noise @ clean) / (clean @ clean)
    noise *= np.linalg.norm(clean) / np.linalg.norm(noise)
    return lambda snr_db: (speech + noise * 10 ** (-snr_db / 20)).astype(np.float32)
