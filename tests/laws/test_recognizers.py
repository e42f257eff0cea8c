"""What must hold for every recognizer: torch and the file say the same, however it was compressed."""

from typing import Any

import numpy as np
import pytest
import torch
import toy

from sottovoce.artefact.cost import costs, multiply_adds
from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.shrink import shrink
from sottovoce.errors import SottovoceError
from sottovoce.packing import pack
from sottovoce.runtime import Session
from sottovoce.runtime.blocks import enhance_blocks
from sottovoce.techniques import Cluster, HalfPrecision, Prune

CASES = [(name, settings) for name, variants in toy.RECOGNIZER_SETTINGS.items() for settings in variants]


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def used(name: str, settings: dict[str, Any]) -> torch.nn.Module:
    """A model whose norms have seen something, and whose biases are not zero."""
    model = toy.built(name, settings).train()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        model(torch.from_numpy(noise(2, 4000, seed=1)))
    return model.eval()


def session(model: torch.nn.Module) -> Session:
    return Session(decode(encode(pack(model, {"sample_rate": 16_000}))))


class Alone:
    """A run for stages that ask it for nothing."""

    def note(self, **details: Any) -> None:
        pass


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_torch_and_the_file_agree(name: str, settings: dict[str, Any], compressed: bool) -> None:
    model = used(name, settings)
    for stage in (Prune(ratio=0.5), Cluster(values=8), HalfPrecision()) if compressed else ():
        model = stage.apply(model, Alone())
    ours = session(model)
    assert ours.features and not ours.causal
    for samples in (560, 1201, 8000):
        waveforms = noise(2, samples)
        with torch.no_grad():
            expected = model(torch.from_numpy(waveforms)).numpy()
        np.testing.assert_allclose(ours.run(waveforms), expected, atol=1e-4)
        np.testing.assert_allclose(ours.run(waveforms[0]), expected[0], atol=1e-4)


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_less_than_a_frame_gives_none(name: str, settings: dict[str, Any]) -> None:
    ours, hop, outputs = session(used(name, settings)), 160, settings.get("symbols", settings.get("states"))
    least = 3 * hop + hop // 2 if name == "conformer" else hop // 2          # it makes one of four frames
    assert [ours.run(noise(samples)).shape for samples in (least - 1, least)] == [(0, outputs), (1, outputs)]


@pytest.mark.parametrize(("name", "settings"), CASES)
def test_it_does_not_pretend_to_enhance(name: str, settings: dict[str, Any]) -> None:
    ours = session(used(name, settings))
    with pytest.raises(SottovoceError, match="step: expected a causal model"):
        ours.step(noise(160))
    with pytest.raises(SottovoceError, match="expected a model whose output is a waveform"):
        next(enhance_blocks(ours, [noise(160, 1)], 16_000, 1.0))


def test_a_head_that_nobody_reads_goes_as_a_whole() -> None:
    settings = toy.RECOGNIZER_SETTINGS["conformer"][1]               # three heads of four channels
    model = used("conformer", settings)
    part = model.blocks[0].attention
    with torch.no_grad():
        part.leave.weight[:, 4:8] = 0
    artefact = pack(model, {"sample_rate": 16_000})
    small, of = shrink(artefact), "blocks.0.attention"
    for name in ("query.weight", "key.weight", "value.weight", "attention.position"):
        assert small.tensors[f"{of}.{name}"].shape == (8, 12)
    assert small.tensors[f"{of}.leave.weight"].shape == (12, 8)
    (node,) = (node for node in small.graph.nodes if node.op == "attention")
    assert node.attributes["heads"] == 2
    waveform = noise(4000)
    np.testing.assert_allclose(Session(decode(encode(small))).run(waveform), Session(artefact).run(waveform), atol=1e-5)


def test_what_is_folded_costs_once_for_its_frames() -> None:
    settings = toy.RECOGNIZER_SETTINGS["conformer"][0]
    artefact = pack(toy.built("conformer", settings), {"sample_rate": 16_000})
    dense = {row.node: row.dense for row in costs(artefact)}
    middle, channels, images = settings["middle"], settings["channels"], settings["images"]
    assert dense["conv_1"] == 40 * images * 2 * 6 // 2
    assert dense["conv_2"] == 20 * images * 2 * images * 6 // 4
    assert dense["blocks_0_before_enter"] == middle * channels // 4
    assert multiply_adds(artefact, 2.0)[0] == 200 * sum(dense.values())
