"""Highway acoustic models: their sizes, their formula, gates that are one in all layers, and how they begin."""

from typing import Any

import pytest
import torch
import toy

from sottovoce.models import build
from sottovoce.packing import pack
from sottovoce.techniques.weights import learned


@pytest.mark.parametrize(("name", "hidden", "layers", "context", "millions"), [
    # As published, to its digits, for inputs of 11 frames; the text says 15.
    ("dnn", 2048, 6, 11, 30), ("dnn", 512, 10, 11, 4.6), ("dnn", 256, 10, 11, 1.7), ("dnn", 128, 10, 11, 0.71),
    ("hdnn", 512, 10, 11, 5.1), ("hdnn", 128, 10, 11, 0.74), ("hdnn", 512, 15, 11, 6.4),
    ("hdnn", 256, 10, 11, 1.85), ("hdnn", 256, 15, 11, 2.17),            # published as 1.8 and 2.1
    ("dnn", 2048, 6, 15, 30.26), ("hdnn", 512, 10, 15, 5.21), ("hdnn", 128, 10, 15, 0.765),
])
def test_models_have_their_published_sizes(name: str, hidden: int, layers: int, context: int, millions: float) -> None:
    with torch.device("meta"):
        model = build(name, hidden=hidden, layers=layers, context=context)
    counted = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    assert round(counted, len(str(millions).partition(".")[2])) == millions


@pytest.mark.parametrize("name", ["dnn", "hdnn"])
def test_a_layer_is_what_the_paper_says(name: str) -> None:
    model: Any = toy.built(name, {"states": 5, "hidden": 6, "layers": 3, "bins": 4, "context": 3})
    waveform, values = torch.randn(2, 1600), dict(model.named_parameters())
    x = torch.nn.functional.pad(model.norm(model.fbank(waveform)), (0, 0, 1, 1)).unfold(1, 3, 1).flatten(2)
    h = torch.sigmoid(x @ values["enter.weight"].flatten(1).T + values["enter.bias"])
    for layer in range(2):
        new = torch.sigmoid(h @ values[f"hidden.{layer}.weight"].T + values[f"hidden.{layer}.bias"])
        if name == "hdnn":
            let, carry = (torch.sigmoid(h @ values[f"{gate}_gate.weight"].T) for gate in ("transform", "carry"))
            new = new * let + h * carry
        h = new
    wanted = torch.log_softmax(h @ values["output.weight"].T + values["output.bias"], -1)
    assert torch.allclose(model(waveform), wanted, atol=1e-5)


def test_gates_lie_in_the_file_once_and_run_in_every_layer() -> None:
    artefact = pack(build("hdnn", states=5, hidden=6, layers=4))
    gates = [node.tensors["weight"] for node in artefact.graph.nodes if "gate" in str(node.tensors)]
    assert sorted(gates) == ["carry_gate.weight"] * 3 + ["transform_gate.weight"] * 3
    assert sum(stored.to_array().size for stored in artefact.tensors.values()) == artefact.meta["parameters"]


@pytest.mark.parametrize(("spread", "most"), [(0.5, 0.5), (None, 4 * (6 / 64) ** 0.5)])
def test_weights_begin_evenly_within_the_spread(spread: float | None, most: float) -> None:
    model = build("hdnn", states=32, hidden=32, layers=3, spread=spread)
    for weight in learned(model):
        if weight.value.dim() < 2:
            assert not weight.value.any(), weight.name
        elif spread or weight.name != "enter.weight":
            assert 0.9 * most < float(weight.value.detach().abs().max()) <= most, weight.name


@pytest.mark.parametrize("settings", [
    {"states": 1}, {"hidden": 0}, {"layers": 65}, {"context": 4}, {"bins": 0}, {"spread": 0.0},
    {"spread": float("nan")},
])
def test_settings_that_make_no_model_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(settings))} must be"):
        build("hdnn", **settings)
