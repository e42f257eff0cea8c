"""Waves as a page can hold them: compressed without loss, and drawn as spectrograms on one common scale."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import soundfile
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image

from sottovoce.report.story import Wave

RANGE_DB = 70                            # below the loudest point of the example everything is black
WIDTH = 640                              # pixels at most; the page scales them
SHADES = 64                              # finer steps are not visible and double the file
COLOURS = "magma"                        # even in lightness: reads the same without red or green


def flac(wave: Wave, sample_rate: int, gain: float = 1.0) -> str:
    """A data address with the wave as 16-bit FLAC."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(gain * wave, -1, 1), sample_rate, format="FLAC", subtype="PCM_16")
    return _address("audio/flac", file.getvalue())


def spectrograms(waves: Sequence[Wave], sample_rate: int) -> list[str]:
    """A data address with a PNG for each wave; all share the scale, so that darker is quieter."""
    levels = [_decibels(wave, sample_rate) for wave in waves]
    top = max(float(level.max()) for level in levels)
    return [_png(np.clip((level - top) / RANGE_DB + 1, 0, 1)) for level in levels]


def common_gain(waves: Sequence[Wave]) -> float:
    """The one factor that keeps all of them below full scale, 1 if they are already."""
    return min(1.0, 0.99 / max(1e-9, *(float(np.abs(wave).max(initial=0)) for wave in waves)))


def _decibels(wave: Wave, sample_rate: int) -> NDArray[np.float64]:
    """Power in dB [bins, at most WIDTH columns]; 32 ms Hann windows."""
    length = int(0.032 * sample_rate) // 2 * 2
    hop = max(1, length // 4)
    padded = np.pad(np.asarray(wave, np.float64), length // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(length))) ** 2
    columns = min(WIDTH, len(power))
    edges = np.linspace(0, len(power), columns + 1).astype(int)
    return 10 * np.log10(np.add.reduceat(power, edges[:-1]).T / np.diff(edges) + 1e-12)


def _png(shade: NDArray[np.float64]) -> str:
    """Values 0..1 [bins from low to high, columns] as a picture with low frequencies below."""
    codes = np.round(shade[::-1] * (SHADES - 1)).astype(np.uint8)
    image = Image.fromarray(codes, "P")
    palette = colormaps[COLOURS](np.linspace(0, 1, SHADES), bytes=True)[:, :3]
    image.putpalette(palette.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return _address("image/png", file.getvalue())


def _address(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
