"""Zeros in blocks of 16 rows reach the kernels: a frame reads far fewer bytes than where as many lie anywhere."""

from typing import Any

import pytest
import torch
import toy

import engine
from sottovoce.artefact.file import encode
from sottovoce.artefact.shrink import shrink
from sottovoce.packing import pack
from sottovoce.techniques.groups import Groups
from sottovoce.techniques.prune import Mask, Prune
from sottovoce.techniques.weights import weights

MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": 50, "layers": 2},             # gates and blocks begin at different rows
    "gcrn": {"channels": (8, 16, 24, 32, 32)},
    "tcnn": {"middle": 32, "blocks": 2},
    "conformer": {"symbols": 20, "layers": 2, "channels": 32, "heads": 2, "middle": 64, "images": 8},
}


def weight_bytes(library: engine.Engine, name: str, ratio: float, groups: Groups) -> int:
    """Of the weights of a frame that are not zero, in 8 bits."""
    model = toy.built(name, MODELS[name])
    Prune(ratio=ratio, groups=groups).apply(model, None)             # type: ignore[arg-type]
    pruned = pack(model, {"sample_rate": 16_000})
    for weight in weights(model):
        weight.hold(Mask(torch.zeros_like(weight.value, dtype=torch.bool)))
    nothing = pack(model, {"sample_rate": 16_000})
    whole, rest = (library.open(encode(of), engine.INT8).info.weight_bytes for of in (shrink(pruned), nothing))
    return int(whole - rest)


@pytest.mark.parametrize("ratio", [0.8, 0.95])
@pytest.mark.parametrize("name", MODELS)
def test_blocks_are_read_as_blocks(library: engine.Engine, name: str, ratio: float) -> None:
    assert weight_bytes(library, name, ratio, "blocks") < 0.6 * weight_bytes(library, name, ratio, "weights")
