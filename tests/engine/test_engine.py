"""The engine runs what the numpy runtime runs and says the same: every model, streamed and at once."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import toy
from building import ENGINE, SANITIZED, SOURCES, compiled, harmless

import engine
from engine import Array, agree, refuses
from sottovoce.artefact import Artefact
from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.packing import pack
from sottovoce.runtime import Session
from sottovoce.zoo import find, shipped

RECOGNIZERS = [(name, settings) for name, variants in toy.RECOGNIZER_SETTINGS.items() for settings in variants]


def noise(samples: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def conditions(name: str) -> list[Array]:
    return [noise(2500, seed=7)] if name == "wase" else []


def packed(name: str, settings: dict[str, Any]) -> bytes:
    return encode(pack(toy.built(name, settings), {"sample_rate": 16_000}))


def snr_db(ours: Array, expected: Array) -> float:
    return float(10 * np.log10(np.square(expected).sum() / np.square(ours - expected).sum()))


@pytest.mark.parametrize(("name", "settings"), toy.MODEL_CASES + RECOGNIZERS)
@pytest.mark.parametrize(("precision", "within"), [(engine.FLOAT32, 1e-4), (engine.INT16, 1e-3), (engine.INT8, 0.1)])
def test_every_model_is_run_as_numpy_runs_it(
    library: engine.Engine, name: str, settings: dict[str, Any], precision: int, within: float
) -> None:
    file = packed(name, settings)
    expected, model = Session(decode(file)).given(*conditions(name)), library.open(file, precision)
    assert (model.info.sample_rate, model.info.hop, model.info.delay) == (16_000, expected.hop, expected.delay)
    assert bool(model.info.causal) == expected.causal and bool(model.info.features) == expected.features
    ours = model.start(*conditions(name))
    for samples in (1, 560, expected.hop * 25 + 3):
        agree(ours.run(noise(samples)), expected.run(noise(samples)), within)


@pytest.mark.parametrize(("name", "settings"), toy.CAUSAL_CASES)
@pytest.mark.parametrize("hops", [(1,), (3,), (40,), (2, 17, 1, 5)])
def test_streamed_in_any_blocks_is_the_same(
    library: engine.Engine, name: str, settings: dict[str, Any], hops: Sequence[int]
) -> None:
    file = packed(name, settings)
    expected, ours = Session(decode(file)).given(*conditions(name)), library.open(file).start(*conditions(name))
    waveform = noise(40 * expected.hop)
    for _ in range(2):
        agree(ours.steps(waveform, hops), expected.step(waveform))
        ours.reset()
        expected.reset()


@pytest.fixture(scope="module")
def speech() -> Array:
    path = min((toy.ROOT / "sample" / "speech").rglob("*.opus"))
    waveform, rate = soundfile.read(path, dtype="float32")
    assert rate == 16_000
    return (waveform[: 2 * rate] + noise(2 * rate)[: len(waveform)] * 0.1).astype(np.float32)


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_model_loses_little_to_whole_numbers(library: engine.Engine, speech: Array, name: str) -> None:
    file = find(name).read_bytes()
    exact = library.open(file, engine.FLOAT32).start().run(speech)
    agree(exact, Session(decode(file)).run(speech))
    for precision, least in ((engine.INT16, 60), (engine.INT8, 40)):
        assert snr_db(library.open(file, precision).start().run(speech), exact) >= least


def test_two_sessions_of_a_model_do_not_hear_each_other(library: engine.Engine) -> None:
    model = library.open(packed("gcrn", toy.MODEL_SETTINGS["gcrn"][0]))
    waveforms = [noise(1600, seed) for seed in range(2)]
    alone = [model.start().step(waveform) for waveform in waveforms]
    sessions = [model.start(), model.start()]
    parts = [[session.step(waveform[i : i + 160]) for session, waveform in zip(sessions, waveforms, strict=True)]
             for i in range(0, 1600, 160)]
    for ours, expected in zip(zip(*parts, strict=True), alone, strict=True):
        assert np.array_equal(np.concatenate(ours), expected)


@pytest.mark.parametrize(("name", "settings"), toy.CAUSAL_CASES)
@pytest.mark.parametrize("precision", [engine.FLOAT32, engine.INT8])
def test_it_recovers_from_anything(library: engine.Engine, name: str, settings: dict[str, Any], precision: int) -> None:
    session = library.open(packed(name, settings), precision).start(*conditions(name))
    hop = session.model.info.hop
    for bad in (np.nan, np.inf, -np.inf, 3e38):
        waveform = noise(hop * 4)
        waveform[::3] = bad
        assert np.isfinite(session.step(waveform)).all() and np.isfinite(session.run(waveform)).all()
    session.reset()
    silent = noise(hop * 4)
    silent[5] = 0
    expected = session.step(silent)
    session.reset()
    silent[5] = np.nan
    assert np.array_equal(session.step(silent), expected)


def chain(*nodes: Node, **tensors: Array) -> bytes:
    """A file of a graph between frames and overlap_add of 8 samples."""
    framing = {"n_fft": 8, "hop": 4, "window": "hann_sqrt"}
    graph = Graph(("in",), ("out",), (
        Node("frames", "x", ("in",), {}, framing), *nodes, Node("overlap_add", "out", ("y",), {}, framing),
    ))
    return encode(Artefact(graph, {name: Dense(array) for name, array in tensors.items()}, {"sample_rate": 8000}))


def weights(*shape: int) -> Array:
    return np.random.default_rng(len(shape)).normal(0, 0.5, shape).astype(np.float32)


def test_a_state_that_overflows_is_forgotten(library: engine.Engine) -> None:
    grow = Node("affine", "z", ("x",), {}, {"scale": 1e30, "shift": 0.0})
    session = library.open(chain(grow, Node("mul", "y", ("z", "z")))).start()
    assert not session.step(np.ones(16, np.float32)).any()
    assert not session.step(np.zeros(16, np.float32)).any()


CONV = {"stride": 2, "pad": 1}
IMAGE = Node("unflatten", "i", ("x",), {}, {"size": 2})
BACK = Node("flatten", "y", ("c",))
ODD = {
    "a convolution over frames and padded bins": chain(
        IMAGE, Node("conv2d", "c", ("i",), {"weight": "w", "bias": "b"}, {"stride": 1, "pad": 1}), BACK,
        w=weights(2, 2, 3, 3), b=weights(2)),
    "strides, then a transposed convolution over frames": chain(
        IMAGE, Node("conv2d", "d", ("i",), {"weight": "w", "bias": "b"}, CONV),
        Node("conv_transpose2d", "c", ("d",), {"weight": "v", "bias": "b"}, {"stride": 2, "pad": 1, "extra": 1}), BACK,
        w=weights(2, 2, 2, 3), v=weights(2, 2, 3, 3), b=weights(2)),
    "bins that no weight reaches": chain(
        IMAGE, Node("conv2d", "d", ("i",), {"weight": "w", "bias": "b"}, {"stride": 4, "pad": 0}),
        Node("conv_transpose2d", "c", ("d",), {"weight": "v", "bias": "b"}, {"stride": 4, "pad": 0, "extra": 2}), BACK,
        w=weights(2, 2, 1, 3), v=weights(2, 2, 1, 2), b=weights(2)),
    "groups of channels, apart in time": chain(
        Node("conv1d", "y", ("x",), {"weight": "w", "bias": "b"}, {"dilation": 3, "groups": 2}),
        w=weights(8, 4, 3), b=weights(8)),
    "a sigmoid that two read": chain(
        Node("sigmoid", "s", ("x",)), Node("mul", "m", ("s", "x")), Node("sub", "y", ("m", "s"))),
    "values that repeat": chain(
        Node("affine", "a", ("x",), {}, {"scale": 1.0, "shift": 3.0}), replace(IMAGE, inputs=("a",)),
        Node("slice", "s", ("i",), {}, {"start": 1, "stop": 2}), Node("div", "q", ("s", "i")),
        Node("slice", "r", ("q",), {}, {"start": 0, "stop": 1}), Node("sub", "c", ("i", "r")), BACK),
    "turned about and back": chain(
        IMAGE, Node("transpose", "t", ("i",)), Node("take", "k", ("t",), {}, {"channels": [3, -1, 0, 1]}),
        Node("transpose", "c", ("k",)), BACK),
}


@pytest.mark.parametrize("what", ODD)
def test_what_no_model_has_is_run_all_the_same(library: engine.Engine, what: str) -> None:
    expected, session = Session(decode(ODD[what])), library.open(ODD[what]).start()
    waveform = noise(4 * 37)
    agree(session.steps(waveform, (1, 2, 20)), expected.step(waveform))
    agree(session.run(waveform[:-3]), expected.run(waveform[:-3]))


@pytest.mark.parametrize(("nodes", "says"), [
    ([Node("unflatten", "y", ("x",), {}, {"size": 3})], r"node y \(unflatten\): expected a multiple of 3 channels"),
    ([Node("slice", "y", ("x",), {}, {"start": 0, "stop": 9})], r"node y \(slice\): expected a slice of 8 channels"),
    ([Node("slice", "y", ("x",), {}, {"start": 0, "stop": 7})], r"node out \(overlap_add\): expected frames of"),
    ([Node("magnitude", "y", ("x",))], r"node y \(magnitude\): expected a spectrum"),
    ([Node("time_mean", "m", ("x",)), Node("concat", "y", ("m", "x"))], r"node y \(concat\): expected values that fit"),
])
def test_a_graph_that_does_not_fit_is_refused_by_its_node(
    library: engine.Engine, nodes: Sequence[Node], says: str
) -> None:
    refuses(lambda: library.open(chain(*nodes)), engine.BAD_FILE, says)


def test_values_beyond_all_bounds_are_refused(library: engine.Engine) -> None:
    wide = [Node("stack", f"s{i}", ("x" if not i else f"s{i - 1}",) * 1000) for i in range(4)]
    file = chain(*wide, replace(wide[0], name="y"))
    refuses(lambda: library.open(file), engine.BAD_FILE, "expected a frame of at most")


def calls(library: engine.Engine) -> dict[str, tuple[Callable[[], object], int, str]]:
    causal = library.open(packed("gcrn", toy.MODEL_SETTINGS["gcrn"][0]))
    features = library.open(packed("conformer", toy.RECOGNIZER_SETTINGS["conformer"][0]))
    told = library.open(packed("wase", toy.MODEL_SETTINGS["wase"][1]))
    small = features.start(max_samples=1000)
    return {
        "half a hop": (lambda: causal.start().step(noise(80)), engine.BAD_ARGUMENT, "multiple of 160 samples, got 80"),
        "no condition": (lambda: told.start().step(noise(16)), engine.BAD_ARGUMENT, "condition 0 to be given first"),
        "a wrong condition": (lambda: causal.start(noise(10)), engine.BAD_ARGUMENT, "a condition below 0, got 0"),
        "an empty condition": (lambda: told.start(noise(0)), engine.BAD_ARGUMENT, "samples, got 0"),
        "a step of what waits": (lambda: small.step(noise(160)), engine.UNSUPPORTED, "expected a causal model"),
        "too long": (lambda: small.run(noise(1001)), engine.BAD_ARGUMENT, "at most 1000 samples, .* got 1001"),
        "no model": (lambda: library.open(b"no"), engine.BAD_FILE, "expected"),
        "no such precision": (lambda: library.open(find("gcrn").read_bytes(), 7), engine.BAD_ARGUMENT, "options"),
    }


@pytest.mark.parametrize("what", ["half a hop", "no condition", "a wrong condition", "an empty condition",
                                  "a step of what waits", "too long", "no model", "no such precision"])
def test_wrong_calls_are_told_what_was_wanted(library: engine.Engine, what: str) -> None:
    refuses(*calls(library)[what])


def test_it_touches_no_memory_but_its_own(tmp_path: Path) -> None:
    program = compiled(["tests/run_once.c", *SOURCES], *SANITIZED)
    models = [packed(name, settings) for name, settings in toy.MODEL_CASES + RECOGNIZERS]
    files = [tmp_path / f"{number}.sotto" for number in range(len(models) + len(ODD))]
    for path, file in zip(files, [*models, *ODD.values()], strict=True):
        path.write_bytes(file)
    harmless(program, files)


def test_what_fuzzing_of_models_begins_with_does_no_harm() -> None:
    sources = [f"fuzz/{name}.c" for name in ("input", "fuzz_model", "replay")]
    program = compiled([*sources, *SOURCES], *SANITIZED, "-DSV_FUZZING")
    models = sorted((ENGINE / "fuzz" / "models").iterdir())
    assert models
    harmless(program, models)
