"""Removing units of a Conformer: a smaller model of ordinary parts that says what the whole one says without them."""

import copy
import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import Tensor, nn

from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.shrink import shrink
from sottovoce.export.check import check
from sottovoce.export.onnx import export_onnx
from sottovoce.models import build
from sottovoce.packing import pack
from sottovoce.runtime import Session
from sottovoce.runtime.transcribe import BLANK
from sottovoce.units import Cuttable, Place

TINY = toy.RECOGNIZER_SETTINGS["conformer"][0]          # two blocks of 8 channels, 2 heads and 12 in the middle
ALL = range(12)
BLOCK = {"before.middle": ALL, "attention.heads": ALL, "convolution": ALL, "after.middle": ALL}
CUTS: dict[str, dict[str, Any]] = {                              # numbers of the units that go, by group
    "nothing": {},
    "a head": {"blocks.0.attention.heads": [0]},
    "all heads of a block": {"blocks.1.attention.heads": ALL},
    "some of a middle": {"blocks.1.before.middle": [0, 3, 11]},
    "all of a first middle": {"blocks.0.before.middle": ALL},
    "all of a last middle": {"blocks.1.after.middle": ALL},
    "a convolution": {"blocks.1.convolution": ALL},
    "channels of a block": {"blocks.1.local": [0, 3, 4]},
    "all channels of a block": {"blocks.0.local": ALL},
    "channels of the stream": {"hidden": [2, 7]},
    "everything in the first block": {f"blocks.0.{name}": units for name, units in BLOCK.items()},
    "everything in all blocks": {f"blocks.{layer}.{name}": units for layer in (0, 1) for name, units in BLOCK.items()},
    "some of all": {
        "hidden": [1, 6], "blocks.0.local": [1, 2, 5], "blocks.1.local": [7], "blocks.0.attention.heads": [1],
        "blocks.0.before.middle": ALL, "blocks.0.after.middle": [4, 5], "blocks.1.attention.heads": ALL,
        "blocks.1.convolution": ALL, "blocks.1.before.middle": [0],
    },
}  # fmt: skip


def noise(*shape: int, seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def whole() -> Any:
    """A model whose norms have seen something, and whose biases are not zero."""
    model = toy.built("conformer", TINY).train()
    with torch.no_grad():
        for seed, parameter in enumerate(model.parameters()):
            parameter += 2 * noise(*parameter.shape, seed=seed)
        model(noise(2, 4000))
    return model.eval()


def kept(model: Cuttable, cut: str) -> dict[str, Tensor]:
    """What stays, of the groups of which something goes."""
    counts = {group.name: group.count for group in model.units()}
    return {name: torch.tensor([unit not in gone for unit in range(counts[name])]) for name, gone in CUTS[cut].items()}


def along(keep: Tensor, place: Place, dims: int) -> Tensor:
    return place.spread(keep).view([-1 if axis == place.axis else 1 for axis in range(dims)])


def without_by_zeros(model: Any, left: dict[str, Tensor]) -> nn.Module:
    """The whole model with zeros wherever a gate of a unit that goes would multiply."""
    model = copy.deepcopy(model)
    tensors = dict(model.named_parameters())
    for group in model.units():
        for place in group.places:
            if group.name in left and place.scaled:
                tensor = tensors[place.tensor].data
                tensor *= along(left[group.name], place, tensor.dim())
    for norm in model.norms("hidden"):
        norm.narrow(left.get("hidden"))
    return model


def counted(model: Any, left: dict[str, Tensor], name: str) -> int:
    """How many elements of a tensor stay, as the places of the units say."""
    axes = [torch.ones(size) for size in model.get_parameter(name).shape]
    for group in model.units():
        for place in group.places:
            if place.tensor == name and group.name in left:
                axes[place.axis] *= place.spread(left[group.name])
    return math.prod(int(axis.sum()) for axis in axes)


@pytest.mark.parametrize("cut", CUTS)
def test_it_says_what_the_whole_says_without_those_units(cut: str) -> None:
    model, waveforms = whole(), noise(2, 8000, seed=1)
    left = kept(model, cut)
    smaller = model.without(left)
    with torch.no_grad():
        torch.testing.assert_close(smaller(waveforms), without_by_zeros(model, left)(waveforms), atol=1e-5, rtol=0)
        assert cut == "nothing" or (smaller(waveforms) - model(waveforms)).abs().max() > 1e-3


@pytest.mark.parametrize("cut", CUTS)
def test_it_has_as_many_parameters_as_are_counted(cut: str) -> None:
    """But for norm and bias of a part that has nothing else: they go with it."""
    model = whole()
    left = kept(model, cut)
    there = {name: weight.numel() for name, weight in model.without(left).named_parameters()}
    counts = {name: counted(model, left, name) for name, _ in model.named_parameters()}
    gone = {".".join(name.split(".")[:3]) for name in counts.keys() - there.keys()}
    assert there == {name: count for name, count in counts.items() if ".".join(name.split(".")[:3]) not in gone}
    assert sum(there.values()) == sum(counts.values()) or cut.startswith(("all", "everything", "some of all"))


@pytest.mark.parametrize("then", CUTS)
@pytest.mark.parametrize("first", ["a head", "everything in the first block", "all channels of a block", "some of all"])
def test_it_can_be_cut_again(first: str, then: str) -> None:
    """What was the last of several units may be gone already, and numbers count what is left."""
    model, waveforms = whole().without(kept(whole(), first)), noise(2, 8000, seed=1)
    counts = {group.name: group.count for group in model.units()}
    left = {name: torch.tensor([unit not in gone for unit in range(counts[name])])
            for name, gone in CUTS[then].items() if name in counts}
    smaller = model.without(left)
    with torch.no_grad():
        torch.testing.assert_close(smaller(waveforms), without_by_zeros(model, left)(waveforms), atol=1e-5, rtol=0)
    there = {name: weight.numel() for name, weight in smaller.named_parameters()}
    assert there == {name: counted(model, left, name) for name in there}
    assert (smaller.config == model.config) == all(keep.all() for keep in left.values())


@pytest.mark.parametrize("cut", CUTS)
def test_it_is_an_ordinary_model(cut: str) -> None:
    model, waveform = whole(), noise(4000, seed=1)
    smaller = model.without(kept(model, cut))
    again = build("conformer", **json.loads(json.dumps(dataclasses.asdict(smaller.config)))).eval()
    assert again.config == smaller.config and (again.config == model.config) == (cut == "nothing")
    again.load_state_dict(smaller.state_dict())
    with torch.no_grad():
        wanted = smaller(waveform[None])[0]
        assert torch.equal(again(waveform[None])[0], wanted)
    artefact = pack(smaller, {"sample_rate": 16_000, "symbols": [BLANK, *"abcd"]})
    for ours in (artefact, shrink(artefact)):
        np.testing.assert_allclose(Session(decode(encode(ours))).run(waveform.numpy()), wanted.numpy(), atol=1e-4)
    check(export_onnx(artefact), artefact)


def test_it_can_learn_on() -> None:
    model = whole().without(kept(whole(), "some of all")).train()
    with torch.autocast("cpu", torch.bfloat16):
        model(noise(2, 4000))[..., 1].sum().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


@pytest.mark.parametrize(("choice", "message"), [
    ({"blocks.2.local": torch.ones(8).bool()}, r"no units 'blocks\.2\.local'"),
    ({"blocks.0.local": torch.ones(7).bool()}, r"blocks\.0\.local should be bool \[8\], got torch\.bool \[7\]"),
    ({"hidden": torch.ones(8)}, r"hidden should be bool \[8\], got torch\.float32 \[8\]"),
    ({"hidden": torch.zeros(8).bool()}, "one channel of hidden or more, got none"),
])
def test_what_is_no_choice_of_units_is_named(choice: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        whole().without(choice)
