"""How long a frame takes in everything that can run a model here: the compiled engine, numpy, onnxruntime.

All on one thread and in one process, in rounds: a round runs each once, one after the other, so that whatever else the
machine does meets all of them, and a ratio is that of times of one round. Times are those that the thread had a CPU: a
frame of a millisecond is interrupted more often than one of a tenth. A model that is causal is run frame by frame, its
state kept; any other over a waveform as a whole. onnxruntime has the model uncompressed and without its front end.

Where caches are to be cold, they are emptied before every frame, and a model of next to nothing is run: what comes back
into them is the code of Python and of the engine, which a device would not have, or not so much of.
"""

import os
import pickle
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import decode, encode, read_bytes
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense, Stored
from sottovoce.errors import SottovoceError
from sottovoce.runtime.engine import CompiledSession
from sottovoce.runtime.session import Session
from sottovoce.runtime.surface import AnySession

# An engine and a precision; of the compiled engine also its instructions, where they are not to be the best there are.
KINDS = ("compiled int8", "compiled int16", "compiled float32", "numpy", "onnxruntime float32", "onnxruntime int8")
REFERENCES = ("onnxruntime int8", "onnxruntime float32", "numpy")    # what ratios are to: the first of these that runs
FRAMES = 50                      # of a round, of a causal model
WALKED = 96 << 20                # bytes that are read between two frames where caches are to be cold
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
CLOCK = time.perf_counter if sys.platform == "win32" else time.thread_time       # there it counts in ticks of 16 ms
INT8 = ("MatMul", "Gemm", "LSTM")        # convolutions in 8 bits take onnxruntime longer than in floats

Array = NDArray[np.float32]
SMALL = Artefact(
    Graph(("waveform",), ("output",), (
        Node("frames", "frame", ("waveform",), attributes=(edge := {"n_fft": 8, "hop": 4, "window": "rect"})),
        Node("lstm", "hidden", ("frame",), {role: role for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")},
             {"hidden": 8}),
        Node("linear", "mixed", ("hidden",), {"weight": "weight", "bias": "bias"}),
        Node("overlap_add", "output", ("mixed",), attributes=edge),
    )),
    {name: Dense(np.full(shape, 0.1, np.float32)) for name, shape in {
        "weight_ih": (32, 8), "weight_hh": (32, 8), "bias_ih": (32,), "bias_hh": (32,), "weight": (8, 8), "bias": (8,),
    }.items()},
    {"sample_rate": 16_000},
)
Answer = TypeVar("Answer")
CHILD = """import pickle, sys
work, arguments = pickle.load(sys.stdin.buffer)
try:
    answer = work(*arguments), None
except Exception as error:
    answer = None, error
pickle.dump(answer, sys.stdout.buffer)
"""


@dataclass(frozen=True)
class Runner:
    """One way to run a model: calls that are timed one by one, each of so many frames."""

    calls: Sequence[Callable[[], object]]
    frames: int
    weight_bytes: int

    def round(self, before: Callable[[], object]) -> list[float]:
        """Seconds for a frame, of each call; `before` is called before each."""
        return [_seconds(call, before) / max(self.frames, 1) for call in self.calls]


def measure(
    path: Path, seconds: float, rounds: int, progress: Callable[[int, int], object] = lambda done, total: None
) -> dict[str, Any]:
    """Times, ratios and memory of each kind, or why it does not run. Raises FormatError for what is no model."""
    with one_thread():
        told = alone(times, path, seconds, rounds)
        for done, (kind, row) in enumerate(told["kinds"].items(), 1):
            progress(done, len(told["kinds"]) + 1)
            if "error" not in row:
                row["process_bytes"] = memory(path, kind, seconds)
    return told


def times(
    path: Path, seconds: float, rounds: int, kinds: Sequence[str] = KINDS, cold: bool = False
) -> dict[str, Any]:
    """Times and ratios of each kind, in this process; cold: what lies in caches is driven out before every frame."""
    data = read_bytes(path)
    model = Session(_artefact(data, str(path)))
    walked = np.ones(WALKED // 8 if cold else 0)                 # not zeros, which might all lie in one page
    errors: dict[str, dict[str, Any]] = {}
    runners: dict[str, Runner] = {}
    before: dict[str, Callable[[], object]] = {}
    for kind in kinds:
        try:
            runners[kind] = _runner(kind, data, str(path), seconds)
            before[kind] = _emptying(walked, _runner(kind, encode(SMALL), "small", seconds)) if cold else bool
            runners[kind].round(before[kind])                    # what is done once is not timed
        except (SottovoceError, ImportError) as error:
            runners.pop(kind, None)
            errors[kind] = {"error": " ".join(str(error).split())}
    reference = next(kind for kind in REFERENCES if kind in runners)
    rows = errors | _in_turn(runners, before, rounds, reference, model.hop / model.sample_rate)
    return {"causal": model.causal, "hop": model.hop, "sample_rate": model.sample_rate, "rounds": rounds,
            "reference": reference, "instructions": _instructions(data), "kinds": {kind: rows[kind] for kind in kinds}}


def side_by_side(paths: Mapping[str, Path], dense: Path, seconds: float, rounds: int) -> dict[str, Any]:
    """Times of several files in 8 bits, all in one set of rounds, in this process.

    Ratios are to onnxruntime in 8 bits with the `dense` one, which has a row of its own under "onnxruntime int8".
    """
    runners = {name: _runner("compiled int8", read_bytes(path), str(path), seconds) for name, path in paths.items()}
    runners[REFERENCES[0]] = _runner(REFERENCES[0], data := read_bytes(dense), str(dense), seconds)
    for runner in runners.values():
        runner.round(bool)
    model = Session(_artefact(data, str(dense)))
    rows = _in_turn(runners, dict.fromkeys(runners, bool), rounds, REFERENCES[0], model.hop / model.sample_rate)
    return {"rounds": rounds, "instructions": _instructions(data), "rows": rows}


def _in_turn(runners: Mapping[str, Runner], before: Mapping[str, Callable[[], object]], rounds: int, reference: str,
             seconds: float) -> dict[str, dict[str, Any]]:
    """A row for each runner; `seconds` is what a frame stands for."""
    frames: dict[str, list[float]] = {name: [] for name in runners}
    medians: dict[str, list[float]] = {name: [] for name in runners}
    for _ in range(rounds):
        for name, runner in runners.items():
            took = runner.round(before[name])
            frames[name] += took
            medians[name].append(statistics.median(took))
    rows = {}
    for name, runner in runners.items():
        ratios = [other / own for own, other in zip(medians[name], medians[reference], strict=True)]
        low, middle, high = np.quantile(frames[name], [0.1, 0.5, 0.9])
        least, speedup, most = np.quantile(ratios, [0.1, 0.5, 0.9])
        rows[name] = {
            "microseconds": 1e6 * middle, "microseconds_10": 1e6 * low, "microseconds_90": 1e6 * high,
            "real_time_factor": middle / seconds, "speedup": speedup, "speedup_10": least,
            "speedup_90": most, "weight_bytes": runner.weight_bytes,
        }
    return rows


def _runner(kind: str, data: bytes, name: str, seconds: float) -> Runner:
    """Raises SottovoceError where this kind cannot run the model, ImportError where it is not installed."""
    engine, precision, instructions = f"{kind}  ".split(" ")[:3]
    session: AnySession
    if engine == "compiled":
        session = CompiledSession(data, precision, name, instructions or "best")  # type: ignore[arg-type]
        return Runner(*_calls(session, seconds), session.weight_bytes)
    session = Session(artefact := _artefact(data, name))
    if engine == "numpy":
        return Runner(*_calls(session, seconds), sum(array.nbytes for array in session.tensors.values()))
    data = _onnx(artefact, precision == "int8")
    return _of_onnx(data, len(data), _whole(session, seconds))


def _calls(session: AnySession, seconds: float) -> tuple[list[Callable[[], object]], int]:
    samples = _noise(int(seconds * session.sample_rate))
    if len(session.inputs) > 1:
        session = session.given(*[_noise(2 * session.sample_rate)] * (len(session.inputs) - 1))
    if not session.causal:
        return [lambda: session.run(samples)], len(samples) // session.hop
    if session.features:
        session.step(_noise(session.delay + session.hop))        # the first takes so many samples more
    hops = _noise(FRAMES * session.hop).reshape(FRAMES, session.hop)
    return [partial(session.step, hop) for hop in hops], 1


def _whole(session: AnySession, seconds: float) -> int:
    """Frames of a waveform that a model hears as a whole; 0 of one that runs frame by frame."""
    return 0 if session.causal else int(seconds * session.sample_rate) // session.hop


def _onnx(artefact: Artefact, int8: bool) -> bytes:
    """The model as it was before it was compressed: dense floats, or from these to 8 bits."""
    from sottovoce.export.int8 import in_int8
    from sottovoce.export.onnx import export_onnx

    tensors: dict[str, Stored] = {name: Dense(stored.to_array()) for name, stored in artefact.tensors.items()}
    data = export_onnx(Artefact(artefact.graph, tensors, artefact.meta))
    return in_int8(data, INT8, signed=True) if int8 else data


def _of_onnx(exported: bytes | str, size: int, frames: int) -> Runner:
    """Of an exported model or its path, by onnxruntime; so many frames at once, or 0: one after the other."""
    from sottovoce.export.opened import opened

    model = opened(exported)
    first, *others = model.get_inputs()
    outputs = [output.name for output in model.get_outputs()]
    if frames:                                       # a recognizer of whole utterances
        banks = (4 * _noise(frames * first.shape[2]) - 7).reshape(1, frames, -1)
        given = {first.name: banks, others[0].name: np.array([frames], np.int64)}
        return Runner([lambda: model.run(None, given)], frames, size)
    state = {of.name: np.zeros(of.shape, np.float32) for of in others}
    frame = _noise(int(np.prod(first.shape))).reshape(first.shape)

    def step() -> None:
        _, *after = model.run(outputs, {first.name: frame, **state})
        state.update(zip(state, after, strict=True))

    return Runner([step] * FRAMES, 1, size)


def memory(path: Path, kind: str, seconds: float) -> int | None:
    """The most memory of a process that only opens and runs the model, its Python included; None where the system does
    not say.

    Raises SottovoceError where this kind cannot run the model, ImportError where it is not installed.
    """
    if not kind.startswith("onnxruntime"):
        return alone(_most, path, kind, seconds)
    artefact = _artefact(read_bytes(path), str(path))
    with tempfile.TemporaryDirectory() as folder:    # what exports and rounds it would take more than what runs it
        exported = Path(folder) / "model.onnx"
        exported.write_bytes(_onnx(artefact, kind.endswith("int8")))
        return alone(_most_of_onnx, exported, _whole(Session(artefact), seconds))


def _most(path: Path, kind: str, seconds: float) -> int | None:
    _runner(kind, read_bytes(path), str(path), seconds).round(bool)
    return resident("self").get("VmHWM")


def _most_of_onnx(exported: Path, frames: int) -> int | None:
    _of_onnx(str(exported), exported.stat().st_size, frames).round(bool)
    return resident("self").get("VmHWM")


def cpu() -> str:
    """What times depend on most: the processor's name and its caches, as far as the system tells them."""
    told, near = Path("/proc/cpuinfo"), Path("/sys/devices/system/cpu/cpu0/cache")
    name = re.search(r"^model name\s*: (.*)", told.read_text() if told.is_file() else "", re.MULTILINE)
    caches = {f"L{level}": near / f"index{level}" / "size" for level in (2, 3)}
    sizes = [f"{level} {path.read_text().strip()}" for level, path in caches.items() if path.is_file()]
    return ", ".join([name[1] if name else platform.machine(), *sizes])


def bandwidth(size: int, rounds: int) -> float:
    """Bytes a second at which one thread reads a buffer of that size, again and again."""
    buffer = np.ones(max(size // 4, 1), np.float32)
    took = [_seconds(lambda: np.dot(buffer, buffer), bool) for _ in range(rounds * FRAMES)]
    return float(buffer.nbytes / np.median(took))


def resident(process: int | str) -> dict[str, int]:
    """Bytes of a process's memory as the system tells them: VmRSS, now, and VmHWM, at most; none where it does not."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.is_file() else []
    return {line.split(":")[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("VmRSS:", "VmHWM:"))}


@cache
def _artefact(data: bytes, name: str) -> Artefact:
    return decode(data, name)


def _instructions(data: bytes) -> str | None:
    try:
        return CompiledSession(data).instructions
    except SottovoceError:
        return None


def _emptying(walked: NDArray[np.float64], small: Runner) -> Callable[[], object]:
    return lambda: (walked.sum(), small.calls[0]())


def _seconds(work: Callable[[], object], before: Callable[[], object]) -> float:
    before()
    began = CLOCK()
    work()
    return CLOCK() - began


def _noise(samples: int) -> Array:
    return (0.1 * np.random.default_rng(0).standard_normal(samples)).astype(np.float32)


@contextmanager
def one_thread() -> Iterator[None]:
    """Processes that are started here compute in one thread."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def alone(work: Callable[..., Answer], *arguments: Any) -> Answer:
    """What a function gives in a process of its own, which imports nothing but what that needs; raises what it does."""
    asked = subprocess.run([sys.executable, "-c", CHILD], input=pickle.dumps((work, arguments)), stdout=subprocess.PIPE,
                           check=True)
    answer, error = pickle.loads(asked.stdout)
    if error is not None:
        raise error
    return answer                                    # type: ignore[no-any-return]
