"""What must hold for every model: torch, the file and the stream of frames say the same."""

from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import nn

from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.stored import Dense
from sottovoce.models import MODELS, build
from sottovoce.models.frontend import Frames, OverlapAdd
from sottovoce.models.recurrent import Gru, Lstm
from sottovoce.packing import pack
from sottovoce.run import on_arrays
from sottovoce.runtime import Session
from sottovoce.techniques import Cluster, HalfPrecision, Prune
from sottovoce.techniques.weights import learned, plain


def test_every_model_is_under_the_laws() -> None:
    assert toy.MODEL_SETTINGS.keys() | toy.RECOGNIZER_SETTINGS.keys() == MODELS.keys()


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def conditions(name: str) -> list[np.ndarray]:
    """What a model is told beside the waveform."""
    return [noise(2500, seed=7)] if name == "wase" else []


@pytest.mark.parametrize(("name", "settings"), toy.MODEL_CASES)
@pytest.mark.parametrize("samples", [1, 160, 161, 4000])
def test_torch_and_the_file_agree(name: str, settings: dict[str, Any], samples: int) -> None:
    model, waveform = toy.built(name, settings), noise(samples)
    session = Session(decode(encode(pack(model, {"sample_rate": 16000}))))
    expected = on_arrays(model)(waveform, *conditions(name))
    assert expected.shape == waveform.shape
    assert np.abs(session.run(waveform, *conditions(name)) - expected).max() < 1e-5


@pytest.mark.parametrize(("name", "settings"), [case for case in toy.MODEL_CASES if not conditions(case[0])])
def test_several_at_once_are_heard_as_each_alone(name: str, settings: dict[str, Any]) -> None:
    model, waveforms = toy.built(name, settings), np.stack([noise(2000, seed) for seed in range(6)])
    session = Session(pack(model, {"sample_rate": 16000}))
    for heard in (on_arrays(model), session.run):
        together = heard(waveforms)
        assert together.shape == waveforms.shape
        assert np.abs(together - np.stack([heard(waveform) for waveform in waveforms])).max() < 1e-5


@pytest.mark.parametrize(("name", "settings"), toy.CAUSAL_CASES)
@pytest.mark.parametrize("hops", [1, 3])
def test_streamed_equals_offline(name: str, settings: dict[str, Any], hops: int) -> None:
    session = Session(pack(toy.built(name, settings), {"sample_rate": 16000})).given(*conditions(name))
    waveform = noise(session.hop * 12)
    padded = np.concatenate([waveform, np.zeros(3 * session.hop, np.float32)])
    block = hops * session.hop
    streamed = np.concatenate([session.step(padded[i : i + block]) for i in range(0, len(padded), block)])
    expected = session.run(waveform)
    assert np.abs(streamed[session.delay :][: len(waveform)] - expected).max() < 1e-5


@pytest.mark.parametrize(("name", "settings"), toy.CAUSAL_CASES)
def test_output_before_now_does_not_depend_on_what_comes(name: str, settings: dict[str, Any]) -> None:
    model, waveform = toy.built(name, settings), noise(3200)
    changed = waveform.copy()
    changed[1600:] = noise(1600, seed=1)
    one, two = (on_arrays(model)(wave, *conditions(name)) for wave in (waveform, changed))
    assert np.array_equal(one[:1440], two[:1440]) and not np.allclose(one[1600:], two[1600:])


@pytest.mark.parametrize(("name", "settings"), toy.MODEL_CASES)
def test_a_plain_copy_computes_the_same_and_shares_nothing(name: str, settings: dict[str, Any]) -> None:
    model = toy.built(name, settings)
    copy = plain(model)
    inputs = [torch.from_numpy(wave)[None] for wave in (noise(1600), *conditions(name))]
    assert torch.equal(copy(*inputs)[0], model(*inputs)[0].detach())
    with torch.no_grad():
        next(learned(model)).value.add_(1.0)
    assert not torch.equal(next(learned(copy)).value, next(learned(model)).value)


@pytest.mark.parametrize(("name", "settings"), toy.MODEL_CASES)
def test_a_compressed_model_and_its_file_agree(name: str, settings: dict[str, Any]) -> None:
    model, waveform = toy.built(name, settings), noise(4000)
    model.train()
    model(*(torch.from_numpy(wave)[None] for wave in (noise(1600, seed=1), *conditions(name))))      # for batch norms
    model.eval()
    for stage in (Prune(ratio=0.5), Cluster(values=8), HalfPrecision()):
        model = stage.apply(model, Alone())
    expected = on_arrays(model)(waveform, *conditions(name))
    artefact = decode(encode(pack(model, {"sample_rate": 16000})))
    ours = Session(artefact).run(waveform, *conditions(name))
    assert np.abs(ours - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())
    kinds = {tensor.values.dtype for tensor in artefact.tensors.values() if isinstance(tensor, Dense)}
    assert kinds == {np.dtype(np.float16)}


class Alone:
    """A run for stages that ask it for nothing."""

    def note(self, **details: Any) -> None:
        pass


@pytest.mark.parametrize(("name", "settings", "parameters"), [
    ("lstm", {}, 30_217_377), ("fdnn", {}, 9_054_369), ("tcnn", {}, 5_053_685), ("gcrn", {}, 9_771_340),
    ("wase", {}, 7_516_594),
    ("gcrn", {"groups": 1}, 18_159_948), ("gcrn", {"groups": 4}, 5_577_036),
    # The small models of the comparison, published to two digits.
    ("lstm", {"hidden": 320}, 3_140_000), ("tcnn", {"middle": 256, "blocks": 2}, 1_850_000),
    ("gcrn", {"channels": (16, 32, 64, 64, 128)}, 2_610_000), ("fdnn", {"units": 200}, 145_161),
])
def test_models_have_their_published_sizes(name: str, settings: dict[str, Any], parameters: int) -> None:
    with torch.device("meta"):
        model = build(name, **settings)
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert counted == parameters or round(counted, -4) == parameters


@pytest.mark.parametrize(("hidden", "both_ways"), [(8, False), (24, False), (12, True), (1024, False)])
@pytest.mark.parametrize("kind", [Lstm, Gru])
def test_a_recurrent_layer_learns_the_same_in_mixed_precision(kind: type[Lstm | Gru], hidden: int,
                                                             both_ways: bool) -> None:
    torch.manual_seed(0)
    layer, x = kind(12, hidden, 2, both_ways), torch.randn(3, 40, 12)
    wanted = torch.randn(3, 40, hidden * (1 + both_ways))
    gradients = []
    for mixed in (False, True):
        layer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            outputs = layer(x)
        (outputs.float() * wanted).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in layer.parameters()])
    for exact, rounded in zip(*gradients, strict=True):
        assert torch.norm(exact - rounded) < 0.02 * torch.norm(exact)


class BothWays(nn.Module):
    """Samples of frames through recurrent layers that run both ways."""

    def __init__(self, config: type[Lstm | Gru]) -> None:
        super().__init__()
        self.config = config
        self.frames, self.overlap_add = Frames("hann_sqrt", 16, 8), OverlapAdd("hann_sqrt", 16, 8)
        self.layers = config(16, 5, 2, both_ways=True)
        self.output = nn.Linear(10, 16)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        return self.overlap_add(self.output(self.layers(self.frames(waveform))), waveform)


@pytest.mark.parametrize("kind", [Lstm, Gru])
def test_recurrent_layers_that_run_both_ways_are_in_the_file(kind: type[Lstm | Gru]) -> None:
    torch.manual_seed(0)
    model, waveform = BothWays(kind).eval(), noise(500)
    session = Session(decode(encode(pack(model, {"sample_rate": 16000}))))
    assert not session.causal
    assert np.abs(session.run(waveform) - on_arrays(model)(waveform)).max() < 1e-5


def test_the_level_of_the_recording_does_not_matter_with_a_running_level() -> None:
    model = toy.built("lstm", toy.MODEL_SETTINGS["lstm"][1])
    waveform = torch.from_numpy(noise(4000))[None]
    with torch.no_grad():
        assert torch.allclose(model(waveform * 4), model(waveform) * 4, atol=1e-5)
