"""On other CPUs, emulated, the engine computes what it does here: plain C, and whole models as they are exported."""

import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import toy
from kernels import ARM32, ARM64, FLOAT32, INT8, INT16, NAMES, PORTABLE_ARM32, PORTABLE_ARM64, Target, compute
from test_matrix import check, drawn
from test_vector import close, sigmoid

from sottovoce.artefact.file import decode, encode
from sottovoce.export.c import save_c
from sottovoce.packing import pack
from sottovoce.runtime import Session

PORTABLE = pytest.mark.parametrize("instructions", (PORTABLE_ARM64, PORTABLE_ARM32), ids=NAMES.get)


@PORTABLE
@pytest.mark.parametrize("precision", (INT8, INT16, FLOAT32), ids=("int8", "int16", "float32"))
def test_products_in_plain_c(precision: int, instructions: int) -> None:
    for kind in ("floats", "table16", "table300", "levels"):
        for density in (0.05, 1):
            check(drawn(kind, 70, 257, density), precision, instructions, 2, 64, "bias")


@PORTABLE
def test_functions_in_plain_c(instructions: int) -> None:
    x = np.linspace(-90, 80, 5001).astype(np.float32)
    wide = x.astype(np.float64)
    for name, exact in {"exp": np.exp(wide), "tanh": np.tanh(wide), "sigmoid": sigmoid(wide)}.items():
        close(compute(name, instructions, x), exact)


@pytest.mark.parametrize("target", (ARM64, ARM32), ids=("arm64", "arm32"))
def test_an_exported_model_runs(target: Target, tmp_path: Path) -> None:
    emulated, folder, noisy, out = target.emulated(), tmp_path / "c", tmp_path / "in.wav", tmp_path / "out.wav"
    file = encode(pack(toy.built("gcrn", toy.MODEL_SETTINGS["gcrn"][1]), {"sample_rate": 16_000}))
    save_c(file, folder)
    sources = [str(path) for path in (folder / "filter.c", folder / "model.c", *(folder / "engine").rglob("*.c"))]
    subprocess.run([target.compiler, "-std=c11", "-O1", "-static", f"-I{folder}", f"-I{folder}/engine/include",
                    f"-I{folder}/engine/src", *sources, "-lm", "-o", str(tmp_path / "filter")], check=True)
    samples = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    soundfile.write(noisy, samples, 16_000, subtype="FLOAT")
    subprocess.run([*emulated, str(tmp_path / "filter"), str(noisy), str(out)], check=True)
    ours, expected = soundfile.read(out, dtype="float32")[0], Session(decode(file)).run(samples)
    assert np.abs(ours - expected).max() <= 0.1 * np.abs(expected).max()         # 8 bits, as everywhere
