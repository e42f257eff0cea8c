"""How fast the engine runs compressed models, beside onnxruntime: python benchmarks/engine_speed.py [NAME=FILE ...]

Writes benchmarks/results/engine/CPU.json: of compressed models of the full-size runs, of the shipped ones and of those
named, the time of a frame on one thread, hot and with caches that were emptied before every frame; the memory of the C
program that `sottovoce export c` makes; how fast weights are read; what each kind of operation takes; and what
multiplying in 8 bits does to speech. Of recognizers, such as a Conformer of the usual small size with weights from a
seed, times alone.
RESULTS.md and the tables of the documents follow. A few minutes on a machine that does nothing else; what is in the
file, of the same model and engine, is not measured again, and stays where the model is not at hand.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from full import pages
from full.origin import commit

from sottovoce import zoo
from sottovoce.artefact import Artefact
from sottovoce.artefact.file import load, save
from sottovoce.artefact.stored import Codebook, Stored
from sottovoce.bench import FRAMES, WALKED, alone, bandwidth, cpu, memory, one_thread, resident, times
from sottovoce.export.c import save_c
from sottovoce.files import write_text
from sottovoce.metrics.speech import measure
from sottovoce.models import build
from sottovoce.packing import pack
from sottovoce.proof import environment
from sottovoce.recipe import read_recipe
from sottovoce.run import Run
from sottovoce.runtime import Session
from sottovoce.runtime.engine import CompiledSession
from sottovoce.runtime.transcribe import BLANK

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "engine"
ENGINE = ROOT / "engine"
CC = ("cc", "-std=c11", "-O3", f"-I{ENGINE}/include", f"-I{ENGINE}/src")
LISTED = ("gcrn-forty", "gcrn-c1", "lstm-sixty", "lstm-c1", "tcnn-c1", "fdnn-c1")          # of the full-size runs
STAND_IN = "conformer-s, weights from a seed"
COMPILED = ("compiled int8", "compiled int16", "compiled float32")
ONNX = ("onnxruntime int8", "onnxruntime float32")
INSTRUCTIONS = ("portable", "avx2", "avx512", "neon")
ROUNDS = 20
SECONDS = 4.0
MIXTURES = 20
METRICS = ("pesq_wb", "stoi")


def chosen(arguments: list[str], scratch: Path) -> dict[str, Path]:
    """Where the models are to be, by the names of their runs; those that are shipped are here without a run."""
    models = {name: ROOT / "runs" / "full" / name / "model.sotto" for name in LISTED}
    models |= {load(path).meta["name"]: path for path in zoo.shipped().values()}
    models[STAND_IN] = stand_in(scratch / "conformer.sotto")
    return models | {name: Path(path) for name, _, path in (argument.partition("=") for argument in arguments)}


def stand_in(path: Path) -> Path:
    """A Conformer of 16 blocks of 144 channels that streams frame by frame; a tenth of its weights, of 15 values."""
    torch.manual_seed(0)
    model = build("conformer", layers=16, channels=144, heads=4, middle=576, kernel=15, causal=True, chunk=1, left=64)
    artefact = pack(model, {"sample_rate": 16_000, "symbols": [BLANK, *map(str, range(1, 40))]})
    tensors: dict[str, Stored] = {}
    for name, stored in artefact.tensors.items():
        values = stored.to_array()
        if values.ndim < 2:
            tensors[name] = stored
            continue
        size = np.abs(values)
        kept = size >= np.quantile(size, 0.9)
        table = np.quantile(values[kept], np.linspace(0, 1, 15)).astype(np.float32)
        codes = np.where(kept, 1 + np.searchsorted((table[1:] + table[:-1]) / 2, values), 0).astype(np.uint8)
        tensors[name] = Codebook(codes, np.append(np.float32(0), table))
    save(Artefact(artefact.graph, tensors, artefact.meta), path)
    return path


def instructions_here(model: Path) -> list[str]:
    """Those of this CPU, without the best, which runs under no name."""
    data = model.read_bytes()
    found = [name for name in INSTRUCTIONS if CompiledSession(data, "int8", instructions=name).instructions == name]
    return [name for name in found if name != CompiledSession(data, "int8").instructions]


def speed(path: Path) -> dict[str, Any]:
    """Times of all kinds in turn, hot and cold, how fast as many bytes are read, and processes."""
    others = instructions_here(path)
    kinds = [*COMPILED, *(f"{kind} {name}" for name in others for kind in COMPILED), *ONNX]
    told = {"hot": alone(times, path, SECONDS, ROUNDS, kinds),
            "cold": alone(times, path, SECONDS, ROUNDS, [kind for kind in kinds if "int8" in kind], True)}
    weights = told["hot"]["kinds"]["compiled int8"]["weight_bytes"]
    taken = 1e-6 * told["hot"]["kinds"]["compiled int8"]["microseconds"]
    read = alone(bandwidth, weights, ROUNDS)
    return told | {
        "bytes": path.stat().st_size, "weight_bytes": weights, "bytes_a_second": weights / taken,
        "bandwidth": read, "share_of_bandwidth": weights / taken / read,
        "onnxruntime_process": memory(path, "onnxruntime int8", SECONDS),
    }


def compiled_objects(folder: Path, *more: str) -> list[str]:
    """The engine, compiled once for all models."""
    folder.mkdir()
    sources = [*ENGINE.glob("src/*.c"), *ENGINE.glob("src/kernels/*.c")]
    subprocess.run([*CC, "-c", *more, *map(str, sources)], cwd=folder, check=True)
    return [str(path) for path in sorted(folder.glob("*.o"))]


def profiler(folder: Path) -> Path:
    """A program that steps a model and prints what each kind of operation takes."""
    objects, program = compiled_objects(folder / "profiled", "-DSV_PROFILE"), folder / "profile"
    subprocess.run([*CC, str(ENGINE / "tests" / "bench_step.c"), *objects, "-lm", "-o", str(program)], check=True)
    return program


def profile(program: Path, model: Path) -> dict[str, float]:
    """Microseconds of a frame that each kind of operation takes where nothing comes between."""
    told = subprocess.run([program, model], capture_output=True, text=True, check=True).stdout
    return {op: float(taken) for op, taken in re.findall(r"^ *(\w+) +([\d.]+) us$", told, re.MULTILINE)}


def process_of_c(path: Path, objects: list[str], folder: Path) -> dict[str, int]:
    """Memory of the exported program, at its most and at the end, while it waits for its output to be read."""
    import soundfile

    session = CompiledSession(path.read_bytes())
    save_c(path.read_bytes(), folder / "c")
    built, noisy, out = folder / "filter", folder / "noisy.wav", folder / "out"
    subprocess.run([*CC, f"-I{folder}/c", f"{folder}/c/filter.c", f"{folder}/c/model.c", *objects, "-lm", "-o",
                    str(built)], check=True)
    samples = 0.1 * np.random.default_rng(0).standard_normal(4 * session.sample_rate)
    soundfile.write(noisy, samples.astype(np.float32), session.sample_rate, subtype="FLOAT")
    os.mkfifo(out)
    with subprocess.Popen([built, noisy, out]) as running, out.open("rb", buffering=0) as read:
        read.read(1)
        told = resident(running.pid)
        while read.read(1 << 16):
            pass
    return told


def quality(path: Path) -> dict[str, Any]:
    """Means of the reference and of the engine in 8 bits on mixtures of the sample, and their difference."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(read_recipe(ROOT / "recipes" / "quickstart.toml"), Path(folder))
        waveforms = run.task.evaluation("test").waveforms
    heard = [waveforms[i] for i in np.linspace(0, len(waveforms) - 1, MIXTURES).astype(int)]
    sessions = {"reference": Session(load(path)), "int8": CompiledSession(path.read_bytes(), "int8")}
    told: dict[str, Any] = {"mixtures": MIXTURES}
    for name, session in sessions.items():
        scores = [measure(METRICS, session.run(arrays[0]), arrays[-1]) for arrays in heard]
        told[name] = {metric: float(np.mean([score[metric] for score in scores])) for metric in METRICS}
    told["change"] = {metric: told["int8"][metric] - told["reference"][metric] for metric in METRICS}
    return told


def same_engine(made: str) -> bool:
    """Whether the engine's sources here are those of that commit."""
    asked = ["git", "diff", "--quiet", made, "--", "engine/src"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def main(arguments: list[str]) -> None:
    here, sources = cpu(), commit()
    path = RESULTS / f"{re.sub('[^a-z0-9]+', '-', here.lower())}.json"
    stored = json.loads(path.read_text())["models"] if path.is_file() else {}
    with tempfile.TemporaryDirectory() as scratch, one_thread():
        objects, profiled = compiled_objects(Path(scratch) / "objects"), profiler(Path(scratch))
        models = chosen(arguments, Path(scratch))
        heard = {name for name, file in models.items() if file.is_file() and not Session(load(file)).features}
        engine = b"".join(source.read_bytes() for source in sorted((ENGINE / "src").rglob("*.[ch]")))
        digests = {name: sha256(engine + file.read_bytes()).hexdigest() for name, file in models.items()
                   if file.is_file()}
        found = {name: of for name, of in stored.items()
                 if (of["sha256"] == digests[name] if name in digests else same_engine(of["commit"]))}
        result = {
            "command": "python benchmarks/engine_speed.py", "cpu": here, "environment": environment(), "rounds": ROUNDS,
            "frames": FRAMES, "walked_bytes": WALKED, "cores": os.cpu_count(),
            "missing": [name for name in models if name not in digests and name not in found],
        }

        def keep() -> None:
            ordered = {name: found[name] for name in (*models, *found) if name in found}
            write_text(path, json.dumps({**result, "models": ordered}, indent=1) + "\n")

        keep()
        for name in [name for name in digests if name not in found]:
            with tempfile.TemporaryDirectory() as folder:
                memory = process_of_c(models[name], objects, Path(folder)) if name in heard else {}
            found[name] = {"sha256": digests[name], "commit": sources, **speed(models[name]),
                           "c_process": memory, "profile": profile(profiled, models[name]),
                           "load": os.getloadavg()[0]}
            keep()
        for name in found:
            if "quality" not in found[name] and name in heard:
                found[name]["quality"] = quality(models[name])
                keep()
    pages.write()


if __name__ == "__main__":
    main(sys.argv[1:])
