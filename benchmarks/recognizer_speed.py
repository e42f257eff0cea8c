"""How long the pruned recognizers of work 4 take, to the dense one: python benchmarks/recognizer_speed.py

Writes benchmarks/results/recognizer_speed.json, of all runs of that model that are done here. Each is exported to ONNX,
as float32 and with matrices of 8 bits, and runs in onnxruntime on one thread over the filter banks of 10 s. A round
runs each once, one after the other, so that whatever else the machine does meets all of them; a ratio is that to the
dense float32 model of the same round, and what is told is the median of all rounds.
"""

import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from full.queue import Queue, read_runs
from full.recognition import TEACHER
from rich.progress import track

from sottovoce.artefact.file import load
from sottovoce.export.onnx import export_onnx
from sottovoce.files import write_text
from sottovoce.proof import environment

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
QUEUE = Queue(read_runs(HERE / "full" / "runs.toml"), ROOT / "recipes" / "full", ROOT / "runs" / "full",
              HERE / "results" / "full")
RESULT = HERE / "results" / "recognizer_speed.json"
FRAMES = 1000            # of 10 ms
ROUNDS = 30
KINDS = {"fp32": False, "int8": True}
DENSE = (TEACHER, "fp32")


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def measured(sessions: dict[tuple[str, str], onnxruntime.InferenceSession]) -> dict[str, dict[str, Any]]:
    """Milliseconds and ratio of every model and kind."""
    features = np.random.default_rng(0).normal(-7, 4, (1, FRAMES, 80)).astype(np.float32)
    given = {"x": features, "x_lens": np.array([FRAMES], np.int64)}
    for one in sessions.values():
        one.run(None, given)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in sessions}
    for _ in track(range(ROUNDS), "rounds"):
        for key, one in sessions.items():
            began = time.perf_counter()
            one.run(None, given)
            seconds[key].append(time.perf_counter() - began)
    found: dict[str, dict[str, Any]] = {}
    for (name, kind), times in seconds.items():
        ratios = [took / dense for took, dense in zip(times, seconds[DENSE], strict=True)]
        found.setdefault(name, {})[kind] = {"milliseconds": 1000 * statistics.median(times),
                                            "ratio": statistics.median(ratios)}
    return found


def main() -> None:
    done = [run for run in QUEUE.runs if run.model == "conformer" and QUEUE.state(run) == "done"]
    artefacts = {run.name: load(QUEUE.directory(run) / "model.sotto") for run in done}
    sessions = {(name, kind): session(export_onnx(artefact, int8))
                for name, artefact in artefacts.items() for kind, int8 in KINDS.items()}
    if DENSE not in sessions:
        raise SystemExit(f"recognizer_speed: expected a {TEACHER} that is done, to compare with; got none")
    write_text(RESULT, json.dumps({
        "command": "python benchmarks/recognizer_speed.py", "environment": environment(), "frames": FRAMES,
        "rounds": ROUNDS, "models": measured(sessions),
    }, indent=1) + "\n")


if __name__ == "__main__":
    main()
