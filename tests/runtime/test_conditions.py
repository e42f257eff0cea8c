"""A model that is told something beforehand: bound once, streamed where it is causal, whole where it is not."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conftest import RATE

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.runtime.session import Session

FRAME, VOICE = {"n_fft": 16, "hop": 8, "window": "rect"}, {"n_fft": 24, "hop": 6, "window": "rect"}


def extractor(causal: bool) -> Artefact:
    """A model whose features are multiplied by what the last and the mean frame of a voice come to."""
    random = np.random.default_rng(0)
    shapes = {"in": (5, 16), "told": (5, 24), "filters": (5, 1, 3), "five": (5,), "out": (16, 5)}
    tensors = {name: Dense(random.standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()}
    norm = {"weight": "five", "bias": "five"}
    ahead = {} if causal else {"after": 2}
    nodes = (
        Node("frames", "frame", ("mixture",), attributes=FRAME),
        Node("frames", "voices", ("voice",), attributes=VOICE),
        Node("linear", "told", ("voices",), {"weight": "told"}),
        Node("linear", "features", ("frame",), {"weight": "in"}),
        Node("time_mean", "print", ("told",)),
        Node("mul", "turned", ("features", "print")),
        Node("conv1d", "along", ("turned",), {"weight": "filters", "bias": "five"},
             {"dilation": 2, "groups": 5, **ahead}),
        Node("layer_norm" if causal else "global_norm", "even", ("along",), norm, {"eps": 1e-5}),
        Node("tanh", "bent", ("print",)),
        Node("mul", "turned again", ("even", "bent")),
        Node("linear", "samples", ("turned again",), {"weight": "out"}),
        Node("overlap_add", "output", ("samples",), attributes=FRAME),
    )
    return Artefact(Graph(("mixture", "voice"), ("output",), nodes), tensors, {"sample_rate": RATE})


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


MIXTURE, ENROLMENT = noise(1003), noise(500, seed=1)


@pytest.mark.parametrize("causal", [True, False])
def test_bound_before_or_in_the_call_it_says_the_same(causal: bool) -> None:
    session = Session(extractor(causal))
    assert (session.inputs, session.causal, session.hop, session.delay) == (("mixture", "voice"), causal, 8, 8)
    bound = session.given(ENROLMENT)
    value = bound.run(MIXTURE)
    assert value.shape == MIXTURE.shape
    np.testing.assert_array_equal(session.run(MIXTURE, ENROLMENT), value)
    np.testing.assert_array_equal(session.given(ENROLMENT[None]).run(MIXTURE), value)
    np.testing.assert_allclose(bound.run(np.stack([-MIXTURE, MIXTURE]))[1], value, atol=1e-5)
    assert np.abs(session.given(ENROLMENT[::-1]).run(MIXTURE) - value).max() > 0.01
    np.testing.assert_array_equal(bound.run(MIXTURE), value)             # one binding leaves the other alone


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("sizes", [[1003], [500, 3, 0, 500], [1] * 1003])
def test_blocks_of_any_size_equal_offline(causal: bool, sizes: list[int]) -> None:
    session = Session(extractor(causal)).given(ENROLMENT)
    blocks = np.split(MIXTURE[None], np.cumsum(sizes)[:-1], axis=1)
    streamed = np.concatenate([*session.stream(blocks)], axis=1)[0]
    np.testing.assert_allclose(streamed, session.run(MIXTURE), atol=1e-5)
    assert [*session.stream([])] == []


def test_a_stream_keeps_its_own_state_for_each_voice() -> None:
    session = Session(extractor(causal=True))
    bound, other = session.given(ENROLMENT), session.given(ENROLMENT[::-1])
    offline, parts = bound.run(MIXTURE[:800]), []
    for start in range(0, 800, 40):
        parts.append(bound.step(MIXTURE[start : start + 40]))
        other.step(MIXTURE[start : start + 40])
    np.testing.assert_allclose(np.concatenate(parts)[8:], offline[:-8], atol=1e-5)


def test_what_is_known_beforehand_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(extractor(causal=True)).given(ENROLMENT)
    from sottovoce.runtime.session import OPS
    monkeypatch.delitem(OPS, "time_mean")
    assert session.step(MIXTURE[:16]).shape == (16,)


CALLS: dict[str, tuple[Callable[[Session], object], str]] = {
    "no voice": (lambda session: session.run(MIXTURE), "a session that was given its voice, got one without"),
    "a step without a voice": (lambda session: session.step(MIXTURE[:8]), "was given its voice"),
    "a stream without a voice": (lambda session: [*session.stream([MIXTURE[None]])], "was given its voice"),
    "too many": (lambda session: session.run(MIXTURE, ENROLMENT, ENROLMENT), "mixture, voice, got 3 waveforms"),
    "a second voice": (lambda session: session.given(ENROLMENT).run(MIXTURE, ENROLMENT), "mixture, got 2 waveforms"),
    "nothing given": (lambda session: session.given(), "given: expected voice, got 0 waveforms"),
    "two voices": (lambda session: session.given(noise(2, 50)), r"voice: expected \[samples\] or \[1, samples\]"),
    "whole numbers": (lambda session: session.given(np.zeros(9, np.int16)), "voice: expected floating point"),
}


@pytest.mark.parametrize("case", CALLS)
def test_a_wrong_call_is_named(case: str) -> None:
    call, message = CALLS[case]
    with pytest.raises(SottovoceError, match=message):
        call(Session(extractor(causal=True)))


def test_a_model_that_looks_ahead_does_not_step() -> None:
    session = Session(extractor(causal=False)).given(ENROLMENT)
    for name, call in {"step": lambda: session.step(MIXTURE[:8]), "advance": lambda: session.advance(MIXTURE[None], {})
                       }.items():
        with pytest.raises(SottovoceError, match=f"{name}: expected a causal model"):
            call()


def test_a_condition_that_is_not_framed_is_refused() -> None:
    artefact = extractor(causal=True)
    first, _, *rest = artefact.graph.nodes
    graph = replace(artefact.graph, nodes=(first, Node("tanh", "voices", ("voice",)), *rest))
    with pytest.raises(FormatError, match=r"one stft or one frames that reads voice, got \['tanh'\]"):
        Session(replace(artefact, graph=graph))
