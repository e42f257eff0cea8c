"""A story as a run would tell it, with sound that looks like speech in noise; made from a seed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray

from sottovoce.metrics.statistics import compare
from sottovoce.report import Example, Story

RATE = 16000
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Tensor:
    name: str
    shape: tuple[int, ...]
    form: str
    nonzeros: int
    elements: int
    bits_per_weight: float
    bytes: int
    note: str = ""
    full_shape: tuple[int, ...] = ()


@pytest.fixture(scope="session")
def story() -> Story:
    """Complete: nine stages, five metrics at three SNRs, every kind of tensor, two examples."""
    return full_story()


@pytest.fixture(scope="session")
def bare_story() -> Story:
    """The least there can be: a model packed without any stage."""
    return Story("packed as it is", "lstm", "enhance", parameters=1000, file_bytes=4200)


def full_story() -> Story:
    tensors = _tensors()
    return Story(
        title="LSTM 2 × 256, pruned, distilled and clustered",  # noqa: RUF001
        model="lstm",
        task="enhance",
        parameters=sum(tensor.elements for tensor in tensors),
        file_bytes=sum(tensor.bytes for tensor in tensors) + 3021,
        rows=_rows(),
        comparison=_comparison(),
        tensors=tensors,
        examples=_examples(),
        recipe=RECIPE,
        environment={"python": "3.11.2", "torch": "2.13.0", "machine": "x86-64, 2 cores", "seed": "20"},
    )


RECIPE = """\
model = "lstm"
task = "enhance"
seed = 20

[[stage]]                 # from dense to 60 % zeros in three steps
kind = "prune"
sparsity = 0.6

[[stage]]
kind = "distill"
steps = 400

[[stage]]
kind = "cluster"
values = 16
"""


def _row(
    index: int, kind: str, size: int, nonzeros: int, scores: tuple[float, ...], **settings: Any
) -> dict[str, Any]:
    names = ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "dnsmos")
    trained = kind == "distill"
    return {
        "stage": f"{index:02d}-{kind}",
        "kind": kind,
        "settings": settings,
        "bytes": size,
        "paper_bytes": int(0.8 * size),
        "parameters": 996001,
        "nonzeros": nonzeros,
        "multiply_adds": 100 * nonzeros,
        "metrics": dict(zip(names, scores, strict=True)),
        "details": {},
        "steps": 400 * trained,
        "seconds": 96.2 if trained else 0.7,
        "data_wait": 0.043 * trained,
    }


def _search() -> dict[str, Any]:
    """What halving found for five tensors; one of them bears nothing, one has a rise that is no number."""
    ratios = {f"lstm.weight_{number}": ratio for number, ratio in enumerate((0.9, 0.6, 0.35, 0.15, 0.0))}
    asked = ((10, 15, 18, 19), (10, 15, 12, 13), (10, 5, 7, 8), (10, 5, 2, 3), (10, 5, 2, 1))
    evaluated = [
        (name, step / 20, 0.01 * 10 ** ((step - 20 * ratio - 0.5) / 4))
        for (name, ratio), steps in zip(ratios.items(), asked, strict=True)
        for step in steps
    ]
    evaluated[8] = (*evaluated[8][:2], float("nan"))
    return {"loss": 0.3, "utterances": 32, "ratios": ratios, "evaluated": evaluated, "evaluations": len(evaluated)}


def _rows() -> list[dict[str, Any]]:
    return [
        _row(0, "start", 3_990_120, 996001, (1.53, 2.11, 82.9, 8.71, 2.61), checkpoint="teacher.safetensors"),
        _row(
            1, "prune", 1_995_300, 498000, (1.50, 2.08, 82.4, 8.52, 2.58), sparsity=0.5, criterion="magnitude"
        ),
        _row(2, "distill", 1_995_300, 498000, (1.53, 2.11, 82.9, 8.74, 2.61), steps=400, lr=0.0005),
        _row(
            3,
            "prune",
            1_100_800,
            249000,
            (1.46, 2.02, 81.6, 8.11, 2.52),
            sparsity=0.75,
            criterion="magnitude",
        ),
        _row(4, "distill", 1_100_800, 249000, (1.525, 2.10, 82.8, 8.69, 2.60), steps=400, lr=0.0005),
        _row(
            5, "prune", 661_000, 139440, (1.42, 1.97, 80.9, 7.77, 2.47), tolerance=0.01
        ) | {"details": {"sensitivity": _search()}},
        _row(6, "distill", 661_000, 139440, (1.52, 2.09, 82.7, 8.66, 2.60), steps=400, lr=0.0005),
        _row(7, "cluster", 129_400, 139440, (1.49, 2.06, 82.3, 8.49, 2.57), values=16),
        _row(
            8,
            "distill",
            129_300,
            139440,
            (1.515, 2.09, 82.6, 8.63, 2.59),
            steps=200,
            lr=0.0002,
            only="codebooks",
        ),
    ]


def _tensors() -> list[Tensor]:
    rows = []
    for layer, width in enumerate((161, 256)):
        for kind, columns in (("ih", width), ("hh", 256)):
            elements = 1024 * columns
            rows.append(
                Tensor(
                    f"lstm.weight_{kind}_l{layer}",
                    (1024, columns),
                    "codebook 16, sparse",
                    elements // 7,
                    elements,
                    1.03 - 0.06 * layer,
                    int(elements * (1.03 - 0.06 * layer) / 8),
                )
            )
        for kind in ("ih", "hh"):
            rows.append(
                Tensor(
                    f"lstm.bias_{kind}_l{layer}",
                    (1024,),
                    "float16",
                    1024,
                    1024,
                    16,
                    2048,
                    "bias: a thousandth of the weights, and the gates react to every bit of it",
                )
            )
    rows.append(Tensor("linear.weight", (161, 256), "codebook 16, sparse", 11200, 41216, 1.9, 9789))
    rows.append(
        Tensor(
            "linear.bias", (161,), "float32", 161, 161, 32, 644, "bias of the last layer, 161 values in all"
        )
    )
    rows.append(
        Tensor("frontend.window", (320,), "float32", 320, 320, 32, 1280, "analysis window, not trained")
    )
    return rows


MEANS = {
    "pesq_wb": (1.26, 1.512, 1.497),
    "pesq_nb": (1.70, 2.081, 2.066),
    "stoi": (80.2, 82.61, 82.34),
    "si_sdr": (5.01, 8.604, 8.533),
    "dnsmos": (1.84, 2.583, 2.571),
}


def _comparison() -> dict[str, Any]:
    """Twenty utterances at each SNR, whose means lie near MEANS."""
    rng = np.random.default_rng(3)
    sides: tuple[list[dict[str, float]], ...] = ([], [], [])
    for snr in (0, 5, 10):
        for _ in range(20):
            luck = 0.02 * rng.standard_normal() + 0.02 * (snr - 5)
            for side, scores in enumerate(sides):
                jitter = 0.004 * rng.standard_normal()
                scores.append({name: means[side] * (1 + luck + jitter) for name, means in MEANS.items()})
    groups = [f"{snr} dB" for snr in (0, 5, 10) for _ in range(20)]
    return compare(*sides, groups, resamples=1000).to_json()


def _examples() -> list[Example]:
    return [
        _example(1, "Kitchen, 5 dB", "Unseen speaker, recorded kitchen noise", 5),
        _example(2, "Rain <b>&</b> thunder, 0 dB", "A name with marks that must not become markup", 0),
    ]


def _example(seed: int, name: str, caption: str, snr_db: float, seconds: float = 2.0) -> Example:
    rng = np.random.default_rng(seed)
    clean = voice(rng, seconds)
    noise = scipy.signal.lfilter([1], [1, -0.85], rng.standard_normal(len(clean))).astype(np.float32)
    noise *= np.std(clean) / np.std(noise) * 10 ** (-snr_db / 20)
    return Example(
        name, caption, RATE, clean + noise, suppress(clean, noise, 0.08), suppress(clean, noise, 0.11), clean
    )


def voice(rng: np.random.Generator, seconds: float) -> Array:
    """Pulses of moving pitch through moving resonances, in syllables: striped and banded as speech is."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 125 + 30 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6)) - 12 * time
    source = np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0) + 0.03 * rng.standard_normal(len(time))
    syllables = np.clip(np.sin(2 * np.pi * 2.1 * time + rng.uniform(0, 6)) + 0.35, 0, 1) ** 1.5
    formants = ((300, 800, 1), (900, 2300, 0.6), (2400, 3300, 0.35), (3500, 4500, 0.2))      # Hz, Hz, gain
    wave = sum(gain * resonance(rng, source, low, high) for low, high, gain in formants) * syllables
    return (0.3 * wave / np.abs(wave).max()).astype(np.float32)


def resonance(rng: np.random.Generator, source: Array, low: float, high: float) -> Array:
    """The source through a resonance that wanders between two frequencies in Hz, 20 ms at a time."""
    wave, state, radius = np.zeros_like(source), np.zeros(2), 0.97
    anchors = rng.uniform(low, high, 1 + len(source) // (RATE // 4))
    for start in range(0, len(source), RATE // 50):
        centre = np.interp(start / (RATE // 4), np.arange(len(anchors)), anchors)
        poles = [1, -2 * radius * np.cos(2 * np.pi * centre / RATE), radius**2]
        part = slice(start, start + RATE // 50)
        wave[part], state = scipy.signal.lfilter([1 - radius], poles, source[part], zi=state)
    return wave


def suppress(clean: Array, noise: Array, floor: float) -> Array:
    """The mixture times the ratio mask that a good enhancer would find, never below `floor`."""
    _, _, speech = scipy.signal.stft(clean, nperseg=320)
    _, _, rest = scipy.signal.stft(noise, nperseg=320)
    mask = np.maximum(np.abs(speech) ** 2 / (np.abs(speech) ** 2 + np.abs(rest) ** 2 + 1e-12), floor)
    return scipy.signal.istft(mask * (speech + rest), nperseg=320)[1][: len(clean)].astype(np.float32)


@pytest.fixture(scope="session")
def without(story: Story) -> Callable[..., Story]:
    """The same story with some of its parts left out."""
    return lambda **parts: replace(story, **parts)
