"""Weights of few bits: on the grid, as the file holds them, with the published gradients, zeros kept."""

import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import Tensor, nn

from sottovoce.artefact.blobs import from_blob, to_blob
from sottovoce.artefact.describe import paper_bytes
from sottovoce.artefact.stored import Levels, top_level
from sottovoce.data.batches import Batch
from sottovoce.packing import pack
from sottovoce.run import Run, compress
from sottovoce.techniques.cluster import Cluster
from sottovoce.techniques.half import HalfPrecision
from sottovoce.techniques.levels import LevelForm
from sottovoce.techniques.lsq import Lsq
from sottovoce.techniques.prune import Mask, Prune
from sottovoce.techniques.quantize import Quantize
from sottovoce.techniques.snapshot import restore, snapshot
from sottovoce.techniques.staircase import Staircase, thresholds
from sottovoce.techniques.weights import Weight, plain, tie, weights
from sottovoce.training import Schedule, fit

METHODS, PER, BITS = ("staircase", "lsq"), ("tensor", "channel"), range(1, 9)


class Layers(nn.Module):
    """Every kind of weights: matrices, kernels, transposed ones, both directions of an LSTM."""

    def __init__(self, config: None = None) -> None:
        super().__init__()
        self.config = config
        self.lstm = nn.LSTM(6, 5, batch_first=True, bidirectional=True)
        self.conv, self.up = nn.Conv1d(10, 8, 3, padding=1), nn.ConvTranspose1d(8, 12, 4)
        self.linear = nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.conv(self.lstm(x)[0].transpose(1, 2)))
        return self.linear(x.transpose(1, 2))        # type: ignore[no-any-return]


def layers(pruned: float = 0.0) -> Layers:
    torch.manual_seed(0)
    model = Layers().eval()
    if pruned:
        Prune(pruned).apply(model, noting()[0])
    return model


def noting() -> tuple[Any, dict[str, Any]]:
    """A run that takes notes, and the notes."""
    noted: dict[str, Any] = {}
    return SimpleNamespace(note=noted.update), noted


def quantized(model: nn.Module, **settings: Any) -> dict[str, Weight]:
    """The weights of a model after the stage, by name."""
    Quantize(**settings).apply(model, noting()[0])
    return {weight.name: weight for weight in weights(model)}


def through_the_file(weight: Weight) -> Levels:
    entry, blob = to_blob(weight.name, weight.stored())
    stored = from_blob(weight.name, {**entry, "bytes": len(blob), "crc32": zlib.crc32(blob)}, blob)
    assert isinstance(stored, Levels)
    return stored


@torch.no_grad()
def shaken(model: nn.Module) -> None:
    """Everything that learns somewhere else, as after training."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter *= 1 + 0.3 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("pruned", [0.0, 0.6])
@pytest.mark.parametrize("per", PER)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", BITS)
def test_weights_lie_on_their_levels_and_in_the_file_bit_for_bit(bits: int, method: str, per: str,
                                                                  pruned: float) -> None:
    model = layers(pruned)
    zeros = {weight.name: weight.value == 0 for weight in weights(model)}
    held = quantized(model, bits=bits, method=method, per=per)
    shaken(model)
    for name, weight in held.items():
        value, stored = weight.value.detach(), through_the_file(weight)
        assert stored.to_array().tobytes() == value.numpy().tobytes()
        assert stored.bits == bits and not value[zeros[name]].any()
        assert stored.largest <= top_level(bits)
        if bits == 1:
            assert (stored.levels[~zeros[name].numpy()] != 0).all()
        channels = weight.value.shape[1 if name == "up.weight" else 0]
        assert stored.scale.size == (channels if per == "channel" else 1)


@pytest.mark.parametrize("method", METHODS)
def test_a_model_comes_back_from_its_checkpoint_whatever_mode_it_was_built_in(method: str) -> None:
    model = layers(0.5)
    held = quantized(model, bits=2, method=method, per="channel")
    shaken(model)
    restored = restore(Layers().train(), *snapshot(model))
    again = {weight.name: weight for weight in weights(restored)}
    baked = dict(plain(restored).named_parameters())
    for name, weight in held.items():
        assert torch.equal(weight.value, again[name].value) and torch.equal(weight.value, baked[name]), name


@pytest.mark.parametrize("method", METHODS)
def test_paper_bytes_are_the_bits_and_the_scales(method: str) -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    before = paper_bytes(pack(model))
    held = quantized(model, bits=3, method=method)
    elements = sum(weight.value.numel() for weight in held.values())
    assert before - paper_bytes(pack(model)) == 4 * elements - -(-3 * elements // 8) - 4 * len(held)


@pytest.mark.parametrize(("shared", "tensors", "mebibytes"), [(False, 103, 2.147), (True, 39, 0.810)])
def test_the_published_size_of_tinywase_comes_out(shared: bool, tensors: int, mebibytes: float) -> None:
    model = toy.built("wase", {})
    if shared:
        tie(model, {"stacks.1": "stacks.0", "stacks.2": "stacks.0"})
    held = [weight for weight in quantized(model, bits=3, method="lsq", only="[bmps]*").values() if weight.form]
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.ones_(parameter)             # zeros are free, and a trained norm has none
    artefact = pack(model)
    counted = {name: stored for name, stored in artefact.tensors.items() if not name.startswith("voice")}
    size = paper_bytes(replace(artefact, tensors=counted)) / 2**20
    assert len(held) == tensors and size == pytest.approx(mebibytes, abs=1e-3)


# ---- what learns ---------------------------------------------------------------------------------------------------


def staircase(bits: int, axis: int | None, temperature: float, value: Tensor) -> Staircase:
    form = Staircase.of(value, bits, axis, 500.0).double().train()
    form.temperature.fill_(temperature)
    return form


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("bits", [1, 2, 3, 4])
def test_the_gradients_of_the_staircase_are_those_of_its_soft_form(bits: int, axis: int | None) -> None:
    value = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    form = staircase(bits, axis, 3.0, value)

    def soft(weight: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
        top, height = top_level(bits), 2 if bits == 1 else 1
        steps = torch.sigmoid(3.0 * ((beta * weight)[..., None] - form.thresholds))
        return alpha * (height * steps.sum(-1) - top)

    given = [tensor.detach().clone().requires_grad_() for tensor in (value, form.alpha, form.beta)]
    gradient = torch.randn(5, 6, dtype=torch.float64)
    wanted = torch.autograd.grad(soft(*given), given, gradient)
    weight = value.clone().requires_grad_()
    out = form(weight)
    torch.testing.assert_close(out, soft(*given))
    found = torch.autograd.grad(out, (weight, form.alpha, form.beta), gradient)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other)
    assert torch.autograd.gradcheck(form, (weight,))


@pytest.mark.parametrize("bits", [1, 3])
def test_the_soft_staircase_becomes_the_hard_one_as_it_sharpens(bits: int) -> None:
    value = torch.randn(40, 50, generator=torch.Generator().manual_seed(3))
    hard = staircase(bits, None, 0.0, value).eval()(value)
    errors = [(staircase(bits, None, t, value)(value) - hard).abs().mean().item() for t in (10, 40, 160, 640, 2000)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01 * errors[0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_thresholds_part_the_weights_into_one_cluster_a_level(bits: int) -> None:
    weight = np.random.default_rng(4).standard_normal(5000).astype(np.float32)
    found = thresholds(weight, bits)
    levels = np.searchsorted(found, weight)
    assert len(found) == 2**bits - 2 + (bits == 1) and (np.diff(found) > 0).all()
    assert len(np.unique(levels)) == len(found) + 1
    means = np.array([weight[levels == level].mean() for level in range(len(found) + 1)])
    nearest = np.abs(weight[:, None] - means).argmin(1)
    assert (nearest == levels).mean() > 0.99


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_the_gradients_of_a_learned_step_are_those_of_the_paper(bits: int, axis: int | None) -> None:
    value = torch.randn(3, 40, generator=torch.Generator().manual_seed(5))
    form = Lsq.of(value, bits, axis).train()
    weight, gradient = (2 * value).requires_grad_(), torch.randn(3, 40)
    form(weight).backward(gradient)
    top, step = top_level(bits), form.scale.detach().expand(3, 40)
    ratio = weight.detach() / step
    rounded = ratio.round() if bits > 1 else torch.where(ratio > 0, 1.0, -1.0)
    inside = ratio.abs() <= top
    assert weight.grad is not None and form.log_step.grad is not None and (~inside).any()
    torch.testing.assert_close(weight.grad, gradient * inside)
    by_step = torch.where(inside, rounded - ratio, ratio.sign() * top) * gradient
    summed = by_step.sum(1, keepdim=True) if axis == 0 else by_step.sum().view(1, 1)
    damped = summed / np.sqrt(by_step.numel() / summed.numel() * top)
    torch.testing.assert_close(form.log_step.grad, damped * form.scale.detach())       # d step / d log step


def test_a_learned_step_begins_as_published() -> None:
    value = torch.randn(8, 9)
    for bits in (2, 3, 8):
        step = 2 * value.abs().mean() / np.sqrt(top_level(bits))
        torch.testing.assert_close(Lsq.of(value, bits, None).scale.detach().view(()), step)


def batches(start: int, stride: int) -> Iterator[Batch]:
    step = start
    while True:
        generator = torch.Generator().manual_seed(step)
        yield Batch((torch.randn(2, 7, 6, generator=generator),), (torch.randn(2, 10, 4, generator=generator),))
        step += stride


def loss(outputs: Tensor, batch: Any) -> Tensor:
    return (outputs - batch.targets[0]).square().mean()


def form_of(weight: Weight) -> LevelForm:
    assert isinstance(weight.form, LevelForm)
    return weight.form


@pytest.mark.parametrize("pruned", [0.0, 0.5])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bits", [1, 3])
def test_training_moves_weights_from_level_to_level_and_zeros_stay(bits: int, method: str, pruned: float) -> None:
    model = layers(pruned)
    zeros = {weight.name: weight.value == 0 for weight in weights(model)}
    held = quantized(model, bits=bits, method=method)
    before = {name: weight.stored() for name, weight in held.items()}
    fit(model, batches, loss, Schedule(30, lr=0.02))
    moved = 0
    for name, weight in held.items():
        after, old = weight.stored(), before[name]
        assert isinstance(after, Levels) and isinstance(old, Levels)
        assert after.scale != old.scale
        moved += np.count_nonzero(after.levels != old.levels)
        assert not weight.value[zeros[name]].any() and len(weight.value.unique()) <= 2**bits + (bits == 1)
        assert after.to_array().tobytes() == weight.value.detach().numpy().tobytes()
    assert moved


def test_the_temperature_rises_to_its_end_and_never_falls() -> None:
    model = layers()
    held = quantized(model, bits=2, temperature=110.0)
    seen = []

    def watched(outputs: Tensor, batch: Any) -> Tensor:
        seen.append({float(form_of(weight).temperature) for weight in held.values()})
        return loss(outputs, batch)

    for _ in range(2):
        fit(model, batches, watched, Schedule(10))
    assert seen == [{10.0 + 10 * step} for step in range(10)] + [{100.0}] * 10


# ---- beside other stages -------------------------------------------------------------------------------------------


def test_half_precision_leaves_them_alone_clusters_and_masks_take_the_present_values() -> None:
    model = layers()
    held = quantized(model, bits=3)
    values = {name: weight.value.detach().clone() for name, weight in held.items()}
    HalfPrecision().apply(model, noting()[0])
    assert all(isinstance(weight.form, Staircase) for weight in held.values())
    Prune(0.3, only="linear.weight").apply(model, noting()[0])
    Cluster(values=16, only="conv.weight").apply(model, noting()[0])
    assert isinstance(held["linear.weight"].form, Mask)
    left = held["linear.weight"].value
    assert torch.equal(left[left != 0], values["linear.weight"][left != 0])
    assert torch.equal(held["conv.weight"].value, values["conv.weight"])


@pytest.mark.parametrize("method", METHODS)
def test_a_tensor_with_little_in_it_is_remarked_on(method: str) -> None:
    model = layers(0.5)
    small = {weight.name: weight for weight in weights(model)}
    with torch.no_grad():
        small["conv.weight"].original.zero_()
        small["linear.weight"].original.sign_()
    run, noted = noting()
    Quantize(bits=1, method=method, only="[cl]*[rv].weight").apply(model, run)     # type: ignore[arg-type]
    Quantize(bits=3, method=method, only="linear.weight").apply(model, run)        # type: ignore[arg-type]
    assert noted["remarks"] == "linear.weight: 2 distinct nonzero values, fewer than 6"
    Quantize(bits=1, method=method).apply(model, run)                              # type: ignore[arg-type]
    assert "conv.weight: all zero" in noted["remarks"]
    assert "linear.weight: 24 weights stay zero beside the two levels" in noted["remarks"]
    assert noted["tensors"]["conv.weight"] == {"levels": 1, "entropy": 0}
    assert noted["tensors"]["linear.weight"]["levels"] == 3


@pytest.mark.parametrize(("settings", "message"), [
    ({"bits": 0}, "bits must be 1..8, got 0"), ({"bits": 9}, "bits must be 1..8"),
    ({"temperature": 5.0}, "temperature must be 10..2000"), ({"temperature": 3000.0}, "temperature must be 10..2000"),
])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Quantize(**settings)


def test_in_a_run_pruned_weights_of_two_bits_train_and_are_shipped(tmp_path: Path) -> None:
    stages = "".join(f'[[stages]]\nkind = "{kind}"\n{settings}\n' for kind, settings in (
        ("prune", "ratio = 0.5"), ("quantize", "bits = 2"), ("distill", "steps = 4"), ("half", "")))
    run = Run(toy.recipe(stages, tmp_path), tmp_path / "run")
    model = compress(run)
    for weight in weights(model):
        assert isinstance(weight.form, Staircase)
        assert len(weight.value.unique()) <= 3 and (weight.value == 0).float().mean() >= 0.5
    assert run.rows[-1].bytes < run.rows[1].bytes / 2
