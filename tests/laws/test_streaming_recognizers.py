"""What must hold for a recognizer that runs chunk by chunk: streamed it says what torch says of the whole."""

from typing import Any

import numpy as np
import pytest
import torch
import toy

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.errors import SottovoceError
from sottovoce.packing import pack
from sottovoce.runtime import Session
from sottovoce.runtime.reference import OPS
from sottovoce.runtime.session import BLOCK_FRAMES

HOP, FOLDED, AHEAD = 160, 4, 120                 # samples, frames that are one, samples that a frame is late


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def model_of(settings: dict[str, Any]) -> torch.nn.Module:
    model = toy.built("conformer", settings).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=generator)
    return model


def session_of(model: torch.nn.Module) -> Session:
    return Session(decode(encode(pack(model, {"sample_rate": 16_000}))))


def streamed(session: Session, waveforms: np.ndarray, seed: int) -> np.ndarray:
    """In blocks of any size, some of them empty."""
    cuts = np.sort(np.random.default_rng(seed).integers(0, waveforms.shape[1] + 1, 12))
    return np.concatenate([*session.stream(np.split(waveforms, [0, *cuts], axis=1))], axis=1)


@pytest.mark.parametrize("settings", toy.STREAMING_SETTINGS)
def test_streamed_in_any_blocks_it_says_what_torch_says_of_the_whole(settings: dict[str, Any]) -> None:
    model = model_of(settings)
    ours = session_of(model)
    assert ours.causal and ours.features
    assert (ours.hop, ours.delay) == (HOP * FOLDED * settings["chunk"], AHEAD)
    for samples in (560, 640, 759, 760, 5001, HOP * (BLOCK_FRAMES + 30) + 77):
        waveforms = noise(2, samples)
        with torch.no_grad():
            expected = model(torch.from_numpy(waveforms)).numpy()
        np.testing.assert_allclose(ours.run(waveforms), expected, atol=1e-4)
        for seed in range(3):
            np.testing.assert_allclose(streamed(ours, waveforms, seed), expected, atol=1e-4)


@pytest.mark.parametrize("samples", [0, 1, 200, 559])
def test_less_than_a_frame_gives_none(samples: int) -> None:
    ours = session_of(model_of(toy.STREAMING_SETTINGS[0]))
    assert ours.run(noise(2, samples)).shape == streamed(ours, noise(2, samples), 0).shape == (2, 0, 5)


@pytest.mark.parametrize("settings", toy.STREAMING_SETTINGS)
def test_a_step_gives_the_frames_of_its_chunks_and_a_state_goes_on_elsewhere(settings: dict[str, Any]) -> None:
    model = model_of(settings)
    ours, other, chunk = session_of(model), session_of(model), settings["chunk"]
    waveform = noise(ours.delay + 6 * ours.hop)
    expected = ours.run(waveform)
    first, second = ours.delay + ours.hop, ours.delay + 3 * ours.hop
    parts = [ours.step(waveform[:first]), ours.step(waveform[first:second])]
    other.state = ours.state
    parts.append(other.step(waveform[second:]))
    assert [len(part) for part in parts] == [chunk, 2 * chunk, 3 * chunk]
    np.testing.assert_allclose(np.concatenate(parts), expected[: 6 * chunk], atol=1e-5)
    ours.reset()
    np.testing.assert_array_equal(ours.step(waveform[:first]), parts[0])


def test_a_wrong_step_is_named() -> None:
    ours = session_of(model_of(toy.STREAMING_SETTINGS[0]))
    with pytest.raises(SottovoceError, match="expected a multiple of 640 samples and 120 more, got 640"):
        ours.step(noise(640))
    ours.step(noise(760))
    with pytest.raises(SottovoceError, match="expected a multiple of 640 samples, got 760"):
        ours.step(noise(760))


def folding(n_fft: int, hop: int, sizes: tuple[int, ...], chunk: int, **limits: int) -> Artefact:
    """Filter banks, folded again and again, under attention, and a convolution that sees frames before."""
    bins = 6
    channels = bins * int(np.prod(sizes))
    of = {"n_fft": n_fft, "hop": hop, "bins": bins, "rate": 16_000, "low": 20.0, "high": 7600.0}
    tensors = {"position": Dense(noise(channels, 8)), "u": Dense(noise(channels, seed=1)),
               "v": Dense(noise(channels, seed=2)), "taps": Dense(noise(channels, 1, 3, seed=3))}
    names = ["banks", *(f"fold {number}" for number in range(len(sizes)))]
    folds = [Node("fold", name, (before,), {}, {"size": size})
             for before, name, size in zip(names[:-1], names[1:], sizes, strict=True)]
    nodes = (
        Node("fbank", "banks", ("heard",), {}, of), *folds,
        Node("attention", "seen", (names[-1],) * 3, {"position": "position", "content_bias": "u", "position_bias": "v"},
             {"heads": 2, "chunk": chunk} | limits),
        Node("conv1d", "out", ("seen",), {"weight": "taps", "bias": "u"}, {"dilation": 2, "groups": channels}),
    )
    return Artefact(Graph(("heard",), ("out",), nodes), tensors, {"sample_rate": 16_000})


def whole(artefact: Artefact, waveforms: np.ndarray) -> np.ndarray:
    values = {"heard": waveforms}
    for node in artefact.graph.nodes:
        tensors = {role: artefact.tensors[name].to_array() for role, name in node.tensors.items()}
        values[node.name], _ = OPS[node.op](node.attributes, tensors, [values[name] for name in node.inputs], {})
    return values["out"]


@pytest.mark.parametrize("sizes", [(), (1,), (3,), (2, 5)])
@pytest.mark.parametrize(("n_fft", "hop"), [(40, 16), (16, 16), (30, 14), (18, 16), (64, 6)])
def test_any_window_and_any_folds_stream(n_fft: int, hop: int, sizes: tuple[int, ...]) -> None:
    artefact = decode(encode(folding(n_fft, hop, sizes, 3, before=4)))
    ours = Session(artefact)
    assert ours.causal and ours.hop == hop * 3 * int(np.prod(sizes))
    for samples in (ours.hop - 1, *range(4 * ours.hop, 4 * ours.hop + hop + 2)):
        waveforms = noise(2, samples)
        expected = whole(artefact, waveforms)
        np.testing.assert_allclose(ours.run(waveforms), expected, atol=1e-4)
        np.testing.assert_allclose(streamed(ours, waveforms, samples), expected, atol=1e-4)


@pytest.mark.parametrize("of", [{"n_fft": 41}, {"hop": 15}, {"hop": 50}, {"sizes": (300, 300)}])
def test_what_cannot_stream_has_to_hear_all_first(of: dict[str, Any]) -> None:
    ours = Session(folding(**{"n_fft": 40, "hop": 16, "sizes": (2,), "chunk": 3, "before": 4, **of}))
    assert not ours.causal
    with pytest.raises(SottovoceError, match="expected a causal model"):
        ours.step(noise(ours.hop))
    waveform = noise(1, 900)
    np.testing.assert_array_equal(streamed(ours, waveform, 0), ours.run(waveform))
