"""What comes into layers is rounded alike in torch and in the file, from ranges that cover what was seen."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import Tensor, nn

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import decode, encode
from sottovoce.data.batches import Batch
from sottovoce.errors import SottovoceError
from sottovoce.packing import pack
from sottovoce.run import Run, compress, on_arrays
from sottovoce.runtime import Session
from sottovoce.runtime.reference import OPS
from sottovoce.techniques.activations import Activations, Dynamic, Static
from sottovoce.techniques.inputs import input_form, input_forms
from sottovoce.techniques.rerun import Rerun
from sottovoce.techniques.snapshot import restore, snapshot
from sottovoce.techniques.weights import plain

MODELS = {
    "lstm": {"hidden": 8, "layers": 2}, "gru": {"hidden": 8, "layers": 2},
    "tcnn": {"middle": 8, "blocks": 1}, "gcrn": {"channels": (2, 3, 3, 4, 4)},
}
RANGES = ("dynamic", "static")


def noise(samples: int, batch: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, (batch, samples)).astype(np.float32)


def noting(utterances: int = 2) -> tuple[Any, dict[str, Any]]:
    """A run with so many utterances of noise, and the notes that it takes."""
    noted: dict[str, Any] = {}
    batch = Batch((torch.from_numpy(noise(3200, utterances, seed=1)),), ())
    return SimpleNamespace(note=noted.update, validation_batches=lambda count: [batch]), noted


def rounding(name: str, **settings: Any) -> nn.Module:
    model = toy.built(name, MODELS[name])
    return Activations(**settings).apply(model, noting()[0])


def packed(model: nn.Module) -> Artefact:
    return decode(encode(pack(model, {"sample_rate": 16_000})))


@pytest.mark.parametrize("bits", [1, 4, 8, 16])
@pytest.mark.parametrize("ranges", RANGES)
def test_torch_and_the_runtime_round_to_the_same_bits(ranges: str, bits: int) -> None:
    x = np.random.default_rng(2).standard_normal((3, 20, 7)).astype(np.float32)
    if ranges == "static":
        form: nn.Module = Static(torch.tensor(bits), torch.tensor(-0.7), torch.tensor(1.3))
        attributes = {"bits": bits, "low": float(np.float32(-0.7)), "high": float(np.float32(1.3))}
        ours, _ = OPS["quantize"](attributes, {}, [x], {})
    else:
        form = Dynamic(torch.tensor(bits))
        ours, _ = OPS["quantize_dynamic"]({"bits": bits}, {}, [x], {})
    assert form(torch.from_numpy(x)).numpy().tobytes() == ours.tobytes()
    assert len(np.unique(ours[0])) <= 2**bits


def test_gradients_pass_through_the_rounding_and_reach_the_ends_of_a_dynamic_range() -> None:
    x = torch.tensor([[-1.0, 0.1, 0.3, 2.0]], requires_grad=True)
    gradient = torch.tensor([[1.0, 10.0, 100.0, 1000.0]])
    Static(torch.tensor(2), torch.tensor(-0.5), torch.tensor(1.0))(x).backward(gradient)
    assert x.grad is not None and x.grad.tolist() == [[0.0, 10.0, 100.0, 0.0]]
    x.grad = None
    Dynamic(torch.tensor(2))(x).backward(gradient)
    # a + round(p) (c - a) / 3 of p = 3 (x - a) / (c - a) changes by 1 with x, and by (round(p) - p) / 3 with c and -a.
    places = 3 * (x.detach() + 1) / 3
    by_high = float((gradient * (places.round() - places) / 3).sum())
    wanted = gradient + torch.tensor([[-by_high, 0.0, 0.0, by_high]])
    torch.testing.assert_close(x.grad, wanted)


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("name", MODELS)
def test_a_packed_model_rounds_where_the_model_does(name: str, ranges: str) -> None:
    model = rounding(name, ranges=ranges, bits=4)
    waveform = noise(3000)[0]
    artefact, plainly = packed(model), on_arrays(toy.built(name, MODELS[name]))(waveform)
    op = {"static": "quantize", "dynamic": "quantize_dynamic"}[ranges]
    assert sum(node.op == op for node in artefact.graph.nodes) == len(input_forms(model))
    expected = on_arrays(model)(waveform)
    ours = Session(artefact).run(waveform)
    # A value halfway between two steps may go the other way for a rounding error: all the same but for a few samples.
    assert (np.abs(ours - expected) > 1e-5).mean() < 0.05 < (np.abs(plainly - expected) > 1e-5).mean()


@pytest.mark.parametrize("name", MODELS)
def test_static_ranges_stream(name: str) -> None:
    session = Session(packed(rounding(name, ranges="static", bits=4)))
    waveform = noise(20 * session.hop)[0]
    steps = [session.step(part) for part in waveform.reshape(-1, session.hop)]
    streamed = np.concatenate([*steps, session.step(np.zeros(session.delay, np.float32))])[session.delay :]
    assert (np.abs(streamed - session.run(waveform)) > 1e-5).mean() < 0.05


def test_dynamic_ranges_need_the_whole_utterance() -> None:
    session = Session(packed(rounding("lstm", only="output.weight")))
    assert not session.causal
    with pytest.raises(SottovoceError, match="causal"):
        session.step(noise(session.hop)[0])


def test_an_utterance_is_rounded_alike_alone_and_among_others() -> None:
    model = rounding("lstm", bits=3)
    loud = torch.from_numpy(np.concatenate([noise(1600), 10 * noise(1600, seed=2)]))
    torch.testing.assert_close(model(loud)[:1], model(loud[:1]), rtol=0, atol=1e-6)


def test_a_static_range_covers_what_came_in() -> None:
    model = toy.built("lstm", MODELS["lstm"])
    seen: list[Tensor] = []
    model.output.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))    # type: ignore[union-attr]
    ranges = {}
    for cover in (1.0, 0.9):
        run, noted = noting()
        Activations(ranges="static", cover=cover, only="output.weight").apply(model, run)
        ranges[cover] = noted["rounded"]["output"]
    assert ranges[1.0] == (float(seen[0].min()), float(seen[0].max()))
    low, high = ranges[0.9]
    for utterance in seen[0]:
        assert ((utterance >= low) & (utterance <= high)).float().mean() >= 0.9
    assert ranges[1.0][0] < low < high < ranges[1.0][1]


@pytest.mark.parametrize("ranges", RANGES)
def test_forms_go_into_checkpoints_and_plain_copies_and_replace_each_other(ranges: str) -> None:
    model = rounding("lstm", ranges="static", bits=2)
    Activations(ranges=ranges, bits=5).apply(model, noting()[0])     # type: ignore[arg-type]
    again = restore(toy.built("lstm", MODELS["lstm"], seed=1), *snapshot(model))
    waveform = torch.from_numpy(noise(1600))
    for copy in (again.eval(), plain(model), plain(again)):
        assert {name: type(form) for name, form in input_forms(copy).items()} == {
            name: {"static": Static, "dynamic": Dynamic}[ranges] for name in ("lstm.input_form", "output.input_form")
        }
        assert all(int(form.bits) == 5 for form in input_forms(copy).values())       # type: ignore[arg-type]
        assert torch.equal(copy(waveform), model(waveform))


def test_a_rerun_of_the_model_rounds_too() -> None:
    model = rounding("lstm", bits=2)
    batch = Batch((torch.from_numpy(noise(1600)),), (torch.zeros(1, 1600),))

    def loss(outputs: Tensor, batch: Any) -> Tensor:
        return outputs.square().mean()

    rerun = Rerun(model, [batch], loss)
    with torch.no_grad():
        assert rerun.base == pytest.approx(float(loss(model(*batch.inputs), batch)), rel=1e-6)
    assert not rerun.whole
    for _, value, rise in rerun.weights(["lstm.weight_hh_l1", "output.weight"]):
        assert rise(value) == 0 != rise(2 * value)


class Looking(nn.Module):
    """A layer whose weights are looked up, one that is never run, one that is."""

    def __init__(self, config: None = None) -> None:
        super().__init__()
        self.config = config
        self.table, self.idle, self.linear = nn.Embedding(4, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + self.table.weight[0]     # type: ignore[no-any-return]


def test_what_is_left_as_it_is_has_a_remark() -> None:
    model, (run, noted) = Looking(), noting()
    Activations().apply(model, run)
    assert noted["rounded"] == ["idle", "linear"] and input_form(model.table) is None
    assert noted["remarks"] == "table: left as it is, Embedding is no layer that multiplies what comes in by weights"
    Activations().apply(toy.built("lstm", MODELS["lstm"]), run)
    assert noted["remarks"] == "lstm: what comes into the first of 2 layers"


@pytest.mark.parametrize(("batches", "message"), [
    ([Batch((torch.zeros(1, 2, 3),), ())], "idle: expected to see what comes into it"),
    ([Batch((torch.full((1, 2, 3), torch.nan),), ())], "linear: expected finite values to come into it"),
])
def test_a_range_that_cannot_be_measured_is_refused(batches: Sequence[Any], message: str) -> None:
    run = SimpleNamespace(note=lambda **_: None, validation_batches=lambda count: batches)
    with pytest.raises(SottovoceError, match=message):
        Activations(ranges="static", only="linear.weight" if "linear" in message else "*").apply(Looking(), run)    # type: ignore[arg-type]


@pytest.mark.parametrize("settings", [{"bits": 0}, {"bits": 17}, {"utterances": 0}, {"cover": 0.0}, {"cover": 1.5}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Activations(**settings)


def test_in_a_run_the_ledger_has_the_ranges_and_training_keeps_them(tmp_path: Path) -> None:
    stages = "".join(f'[[stages]]\nkind = "{kind}"\n{settings}\n' for kind, settings in (
        ("activations", 'ranges = "static"\nutterances = 2'), ("train", "steps = 3")))
    run = Run(toy.recipe(stages, tmp_path), tmp_path / "run")
    model = compress(run)
    ranges = run.rows[1].details["rounded"]
    assert set(ranges) == {"lstm", "output"}
    for name, form in input_forms(model).items():
        assert isinstance(form, Static)
        assert (float(form.low), float(form.high)) == tuple(ranges[name.removesuffix(".input_form")])
