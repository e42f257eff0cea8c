"""The compiled engine gives what numpy does, through the same calls; where it is not, numpy takes its place."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tools
import toy

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import encode
from sottovoce.errors import EngineError, FormatError, SottovoceError
from sottovoce.packing import pack
from sottovoce.runtime import AnySession, CompiledSession, Session, open_session

CASES = [*toy.CAUSAL_CASES[::2], ("wase", toy.MODEL_SETTINGS["wase"][0]),
         *(("conformer", settings) for settings in [*toy.RECOGNIZER_SETTINGS["conformer"], toy.STREAMING_SETTINGS[3]])]
RATE = 16_000
VOICE = 0.3 * np.sin(np.arange(9000) / 9).astype(np.float32)


def packed(name: str, settings: dict[str, Any]) -> Artefact:
    return pack(toy.built(name, settings), {"sample_rate": settings.get("rate", RATE)})


def both(case: tuple[str, dict[str, Any]]) -> tuple[AnySession, AnySession]:
    """Sessions of one model, by the engine and by numpy, with their conditions."""
    tools.engine()
    artefact = packed(*case)
    pair = CompiledSession(encode(artefact)), Session(artefact)
    voices = [VOICE] * (len(artefact.graph.inputs) - 1)
    return pair[0].given(*voices), pair[1].given(*voices)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def near(ours: np.ndarray, wanted: np.ndarray) -> None:
    assert ours.shape == wanted.shape and ours.dtype == wanted.dtype
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=2e-4 * max(1.0, float(np.abs(wanted).max(initial=0))))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_it_is_the_same_model(case: tuple[str, dict[str, Any]]) -> None:
    ours, wanted = both(case)
    for name in ("meta", "inputs", "sample_rate", "hop", "delay", "causal", "features"):
        assert getattr(ours, name) == getattr(wanted, name), name
    near(ours.run(noise(6001)), wanted.run(noise(6001)))
    near(ours.run(noise(2, 4000)), wanted.run(noise(2, 4000)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
@pytest.mark.parametrize("sizes", [[6001], [3000, 1, 0, 3000], [1, 6000]], ids=str)
def test_blocks_of_any_size_equal_numpy(case: tuple[str, dict[str, Any]], sizes: list[int]) -> None:
    ours, wanted = both(case)
    blocks = np.split(noise(2, 6001), np.cumsum(sizes)[:-1], axis=1)
    near(*(np.concatenate([*session.stream(blocks)], axis=1) for session in (ours, wanted)))
    assert [*ours.stream([])] == []


@pytest.mark.parametrize("case", toy.CAUSAL_CASES[::4], ids=lambda case: case[0])
def test_a_step_keeps_its_state_and_two_streams_do_not_meet(case: tuple[str, dict[str, Any]]) -> None:
    ours, wanted = both(case)
    heard = noise(2, 24 * ours.hop)
    flow = ours.stream(np.split(heard, 4, axis=1))
    parts = []
    for block in np.split(heard, 8, axis=1):
        parts.append(ours.step(block))
        next(flow, None)
        near(parts[-1], wanted.step(block))
    ours.reset()
    np.testing.assert_array_equal(ours.step(heard[:, : 3 * ours.hop]), parts[0])


def test_steps_of_a_recognizer_begin_with_what_its_frames_wait_for() -> None:
    ours, wanted = both(("conformer", toy.STREAMING_SETTINGS[3]))
    heard = noise(2, ours.delay + 6 * ours.hop)
    for start, end in ((0, ours.delay + ours.hop), (ours.delay + ours.hop, ours.delay + 6 * ours.hop)):
        near(ours.step(heard[:, start:end]), wanted.step(heard[:, start:end]))


CALLS: dict[str, tuple[Callable[[AnySession], object], str]] = {
    "part of a hop": (lambda session: session.step(noise(100)), "step: expected a multiple of 160 samples, got 100"),
    "whole numbers": (lambda session: session.run(np.zeros(160, np.int16)), "expected floating point"),
    "not a number": (lambda session: session.run(np.full(160, np.nan)), "expected finite samples"),
    "no waveform": (lambda session: session.run(np.zeros((0, 160))), "expected one waveform or more"),
    "a condition": (lambda session: session.given(noise(160)), "given: expected nothing, got 1 waveforms"),
    "another batch": (lambda session: (session.step(noise(2, 160)), session.step(noise(160))), "a batch of 2 as bef"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_is_named_as_by_numpy(call: str) -> None:
    work, message = CALLS[call]
    for session in both(toy.MODEL_CASES[0]):
        with pytest.raises(SottovoceError, match=message):
            work(session)


def test_what_is_no_model_is_said() -> None:
    tools.engine()
    data = encode(packed(*toy.MODEL_CASES[0]))
    for broken in (b"", b"SOTT", data[:-1], data[:60] + b"?" + data[61:]):
        with pytest.raises(FormatError):
            CompiledSession(broken)
        with pytest.raises(FormatError):
            open_session(broken)


def test_what_is_closed_says_so() -> None:
    engine = tools.engine()
    model = engine.Engine(encode(packed(*toy.MODEL_CASES[0])), "float32")
    session = model.start()
    model.close()
    assert session.step(noise(160)).shape == (160,)          # it goes on without the model's handle
    session.close()
    calls = (model.query, model.start, session.reset, lambda: session.step(noise(160)),
             lambda: session.run(noise(160)), lambda: session.give(0, noise(160)))
    for call in calls:
        with pytest.raises(SottovoceError, match="got one that was closed"):
            call()
    with pytest.raises(SottovoceError, match="precision: expected one of int8, int16, float32, got int4"):
        engine.Engine(b"", "int4")


def test_where_the_engine_is_missing_numpy_runs_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sottovoce._engine", None)
    data, said = encode(packed(*toy.MODEL_CASES[0])), []
    session = open_session(data, tell=said.append)
    assert isinstance(session, Session)
    assert len(said) == 1 and "not installed" in said[0] and "numpy" in said[0]
    with pytest.raises(EngineError, match="not installed"):
        open_session(data, "compiled")


@pytest.mark.parametrize("precision", ["int8", "int16"])
def test_numpy_has_one_precision(precision: Any) -> None:
    with pytest.raises(SottovoceError, match=f"precision: expected float32 of numpy, got {precision}"):
        open_session(encode(packed(*toy.MODEL_CASES[0])), "numpy", precision)
