"""Zeros in blocks of 16 rows reach the kernels: a frame reads far fewer bytes than where as many lie anywhere."""

from typing import Any

import pytest
import toy

import engine
from sottovoce.artefact.file import encode
from sottovoce.artefact.shrink import shrink
from sottovoce.packing import pack
from sottovoce.techniques.prune import Prune

MODELS: dict[str, dict[str, Any]] = {
    "lstm": {"hidden": 50, "layers": 2},             # gates and blocks begin at different rows
    "gcrn": {"channels": (8, 16, 24, 32, 32)},
    "tcnn": {"middle": 32, "blocks": 2},
    "conformer": {"symbols": 20, "layers": 2, "channels": 32, "heads": 2, "middle": 64, "images": 8},
}


def weight_bytes(library: engine.Engine, name: str, stages: tuple[Prune, ...]) -> int:
    """Of weights in a frame, in 8 bits."""
    model = toy.built(name, MODELS[name])
    for stage in stages:
        stage.apply(model, None)                     # type: ignore[arg-type]
    file = encode(shrink(pack(model, {"sample_rate": 16_000})))
    return int(library.open(file, engine.INT8).info.weight_bytes)


@pytest.mark.parametrize("name", MODELS)
def test_blocks_are_read_as_blocks(library: engine.Engine, name: str) -> None:
    anywhere, blocks = (weight_bytes(library, name, (Prune(ratio=0.9, groups=groups),))     # type: ignore[arg-type]
                        for groups in ("weights", "blocks"))
    print(name, weight_bytes(library, name, ()), anywhere, blocks)
    assert blocks < 0.6 * anywhere
