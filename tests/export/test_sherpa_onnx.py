"""Unmodified sherpa-onnx, in a process of its own, gives the torch model's audio on real noisy speech."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from enhancers import enhancer
from numpy.typing import NDArray

from sottovoce.artefact import Artefact
from sottovoce.export.onnx import save_onnx
from sottovoce.models.lstm import LstmConfig, LstmEnhancer
from sottovoce.packing import trace

HERE = Path(__file__).parent
SAMPLE = HERE.parents[1] / "sample"

SILENCE = 3200           # 0.2 s: sherpa-onnx offline mirrors 10 ms at both ends where the model puts zeros
Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def noisy() -> Wave:
    """A speaker and a noise from the sample at 0 dB, whole hops, with silence around them."""
    speech, noise = (recording(SAMPLE / f"{kind}.jsonl") for kind in ("speech", "noise"))
    noise = np.resize(noise, speech.shape)
    mixture = speech + noise * (speech.std() / noise.std())
    mixture = mixture[: len(mixture) // 160 * 160]
    return np.pad(mixture, SILENCE).astype(np.float32)


def recording(manifest: Path) -> Wave:
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    row = next(row for row in rows if row["split"] == "test" and row["duration"] > 3)
    return soundfile.read(SAMPLE / row["path"], dtype="float32")[0]


def by_sherpa_onnx(model: Path, wave: Wave) -> tuple[Wave, Wave]:
    files = [model.with_name(f"{name}.npy") for name in ("noisy", "offline", "online")]
    np.save(files[0], wave)
    command = [sys.executable, str(HERE / "sherpa_child.py"), str(model), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return np.load(files[1]), np.load(files[2])


def snr(wanted: Wave, got: Wave) -> float:
    """Signal-to-error ratio in dB over the whole recording; the lengths must agree."""
    return 10 * np.log10(np.square(wanted, dtype=float).sum() / np.square(wanted - got, dtype=float).sum())


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("window", ["hann_sqrt", "hamming"])
def test_sherpa_onnx_agrees_with_torch(window: str, mask: bool, noisy: Wave, tmp_path: Path) -> None:
    variant = dict(features="log1p", output="mask", level_seconds=2.0) if mask else {}
    model = LstmEnhancer(LstmConfig(hidden=64, layers=2, window=window, **variant))
    tensors = enhancer(hidden=64, layers=2, zeros=0.5).tensors
    model.load_state_dict({name: torch.from_numpy(stored.to_array()) for name, stored in tensors.items()})
    with torch.no_grad():
        wanted = model(torch.from_numpy(noisy)[None])[0].numpy()
    save_onnx(Artefact(trace(model), tensors, {"sample_rate": 16_000}), tmp_path / "model.onnx")
    offline, online = by_sherpa_onnx(tmp_path / "model.onnx", noisy)

    assert snr(noisy, wanted) < 20   # the model does change the recording
    assert snr(wanted, offline) > 60
    if window == "hann_sqrt":   # the online class does not divide by the squared windows
        assert snr(wanted, online) > 60
