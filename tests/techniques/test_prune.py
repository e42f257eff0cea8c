"""Pruning clears the smallest weights or groups, as many as asked, and finds what each tensor can bear."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy

from sottovoce.data.batches import Batch
from sottovoce.errors import RecipeError
from sottovoce.run import Run, compress
from sottovoce.techniques.groups import SEGMENT, SLICE, kept, kept_together, kernel_dims
from sottovoce.techniques.prune import Mask, Prune
from sottovoce.techniques.weights import Rows, weights

ROWS = {"outputs first": Rows(), "transposed": Rows(axis=1), "two matrices": Rows(parts=2)}
SHAPES = {"matrix": (30, 300), "narrow": (7, 5), "kernels": (6, 40, 2, 3), "vectors": (8, 5, 9)}


def tensor(shape: tuple[int, ...], zeros: float = 0.0) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(shape) * (torch.rand(shape) >= zeros)


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("zeros", [0.0, 0.3])
def test_the_smallest_nonzero_values_go(ratio: float, zeros: float) -> None:
    value = tensor((30, 40), zeros)
    keep, nonzero = kept(value, ratio), value != 0
    assert int(keep.sum()) == int(nonzero.sum()) - int(ratio * int(nonzero.sum()))
    assert not keep[~nonzero].any()
    gone = value[nonzero & ~keep].abs()
    if len(gone) and keep.any():
        assert gone.max() <= value[keep].abs().min()


def test_equal_magnitudes_are_cut_to_the_count() -> None:
    assert int(kept(torch.ones(10, 10), 0.25).sum()) == 75


def test_of_equal_magnitudes_the_first_go() -> None:
    value = torch.tensor([[2.0, -1, 0, 2, -2, 3], [1, -3, -2, 2, 0, -2]])
    assert [kept(value, ratio).int().tolist() for ratio in (0.2, 0.5, 0.8)] == [
        [[1, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 1]],
        [[0, 0, 0, 0, 0, 1], [0, 1, 1, 1, 0, 1]],
        [[0, 0, 0, 0, 0, 1], [0, 1, 0, 0, 0, 0]],
    ]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8, 1.0])
def test_columns_and_kernels_go_whole_by_their_l1_norm(shape: tuple[int, ...], ratio: float) -> None:
    value = tensor(shape)
    value[:, 1] = 0                                      # groups that are gone already
    norms = value.abs().sum(kernel_dims(value))
    after = (value * kept(value, ratio, "kernels")).abs().sum(kernel_dims(value))
    alive, gone = norms > 0, (norms > 0) & (after == 0)
    assert int(gone.sum()) == int(ratio * int(alive.sum()))
    assert torch.equal(after[~gone], norms[~gone])
    if gone.any() and (after > 0).any():
        assert norms[gone].max() <= norms[after > 0].min()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("ratio", [0.3, 0.8, 0.97])
def test_tiles_are_equally_full_with_their_largest(shape: tuple[int, ...], ratio: float) -> None:
    value = tensor(shape)
    keep = kept(value, ratio, "tiles").flatten(1)
    for first in range(0, keep.shape[1], SEGMENT):
        tile, size = keep[:, first : first + SEGMENT], value.flatten(1)[:, first : first + SEGMENT].abs()
        counts = tile.sum(1)
        assert (counts == counts[0]).all()
        assert int(counts[0]) == 1 or abs(int(counts[0]) - (1 - ratio) * tile.shape[1]) < 0.51
        assert (size.masked_fill(~tile, torch.inf).amin(1) >= size.masked_fill(tile, 0).amax(1)).all()


def test_tiles_stay_equally_full_when_they_are_pruned_again() -> None:
    value = tensor((20, 256))
    for wanted in (64, 32, 16):
        value = value * kept(value, 0.5, "tiles")
        assert (value.view(20, -1, SEGMENT).count_nonzero(-1) == wanted).all()
    assert not kept(value, 1.0, "tiles").any()


def test_zeros_stay_where_tiles_are_not_equally_full() -> None:
    value = tensor((10, 200), zeros=0.9)
    assert not kept(value, 0.2, "tiles")[value == 0].any()


def blocks(value: torch.Tensor, rows: Rows) -> list[torch.Tensor]:
    """The blocks of a tensor, matrix after matrix and band after band."""
    bands = [band for matrix in rows.matrices(value) for band in matrix.split(SLICE)]
    return [band[:, column] for band in bands for column in range(band.shape[1])]


@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("shape", [(50, 30), (6, 40, 2, 3), (36, 20, 4)], ids=str)
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.8, 1.0])
def test_blocks_go_whole_by_their_mean_magnitude(shape: tuple[int, ...], ratio: float, rows: Rows) -> None:
    value = tensor(shape)
    before, after = blocks(value, rows), blocks(value * kept(value, ratio, "blocks", rows), rows)
    gone = [not block.any() for block in after]
    assert sum(gone) == int(ratio * len(before))
    assert all(torch.equal(a, b) for a, b, lost in zip(before, after, gone, strict=True) if not lost)
    means = torch.stack([block.abs().mean() for block in before])
    if 0 < sum(gone) < len(gone):
        assert means[torch.tensor(gone)].max() <= means[~torch.tensor(gone)].min()


def test_blocks_lie_along_the_outputs() -> None:
    layers = {
        "linear": (torch.nn.Linear(5, 48), Rows()), "convolution": (torch.nn.Conv2d(3, 48, (1, 3)), Rows()),
        "transposed": (torch.nn.ConvTranspose2d(3, 48, (1, 3)), Rows(axis=1)),
        "in two": (torch.nn.Conv1d(6, 48, 2, groups=2), Rows(parts=2)),
        "a filter each": (torch.nn.Conv1d(48, 48, 2, groups=48), Rows(parts=48)),
    }
    model = torch.nn.ModuleDict({name: layer for name, (layer, _) in layers.items()})
    for weight in weights(model):
        name = weight.name.partition(".")[0]
        assert weight.rows == layers[name][1]
        matrices = weight.rows.matrices(weight.value)
        assert matrices.shape[0] * matrices.shape[1] == 48
        assert torch.equal(weight.rows.tensor(matrices, weight.value.shape), weight.value)


def test_zeros_stay_in_blocks() -> None:
    value = tensor((40, 20), zeros=0.9)
    assert not kept(value, 0.2, "blocks")[value == 0].any()


def test_blocks_of_all_tensors_are_ranked_by_their_mean_whatever_their_size() -> None:
    large, small = tensor((20, 30)), 0.01 * tensor((18, 30))     # the last blocks have 4 rows and 2
    assert [part.float().mean() for part in kept_together([large, small], 0.5, "blocks", [Rows(), Rows()])] == [1, 0]


def test_one_threshold_for_all_tensors() -> None:
    large, small = tensor((20, 30)), 0.1 * tensor((30, 20))
    keep = kept_together([large, small], 0.5, "weights", [Rows(), Rows()])
    assert sum(int(part.sum()) for part in keep) == 600
    gone = torch.cat([large[~keep[0]], small[~keep[1]]]).abs().max()
    assert gone <= torch.cat([large[keep[0]], small[keep[1]]]).abs().min()
    assert keep[0].float().mean() > 0.85 > 0.15 > keep[1].float().mean()


def test_ratios_compound() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    for _ in range(2):
        Prune(ratio=0.5).apply(model, None)       # type: ignore[arg-type]
    for weight in weights(model):
        assert abs(int(weight.value.count_nonzero()) / weight.value.numel() - 0.25) < 0.01


def test_a_pattern_that_fits_nothing_is_named_with_what_there_is() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    with pytest.raises(RecipeError, match=r"'conv\*' matches no weight; there are: lstm.weight_hh_l0, lstm"):
        Prune(ratio=0.5, only="conv*").apply(model, None)      # type: ignore[arg-type]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "either ratio or tolerance"),
    ({"ratio": 0.5, "tolerance": 0.1}, "either ratio or tolerance"),
    ({"ratio": 1.0}, "between 0 and 1, got 1.0"),
    ({"tolerance": 0.1, "scope": "balanced"}, "'balanced' needs a ratio"),
    ({"ratio": 0.99, "scope": "balanced"}, "at most 0.95"),
    ({"ratio": 0.5, "scope": "global", "groups": "tiles"}, "cannot be with groups 'tiles'"),
    ({"tolerance": 0.1, "utterances": 0}, "utterances must be at least 1, got 0"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Prune(**settings)


class Judge:
    """A run to which the model is best as it is: the loss is the distance to its own output."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.noted: dict[str, Any] = {}
        self.task = SimpleNamespace(loss=lambda outputs, batch: (outputs - batch.targets[0]).square().mean())
        with torch.no_grad():
            noisy = tensor((2, 4000))
            self.batches = [Batch((noisy,), (model(noisy),))]

    def validation_batches(self, utterances: int) -> list[Batch]:
        return self.batches

    def note(self, **details: Any) -> None:
        self.noted |= details


Pruned = Callable[[str], tuple[torch.nn.Module, Run]]


@pytest.fixture
def pruned(tmp_path: Path) -> Pruned:
    """A toy model in a run of one prune stage with these settings."""

    def prune(settings: str) -> tuple[torch.nn.Module, Run]:
        run = Run(toy.recipe(f'[[stages]]\nkind = "prune"\n{settings}\n', tmp_path), tmp_path / "run")
        return compress(run), run

    return prune


@pytest.mark.parametrize("groups", ["weights", "kernels", "tiles", "blocks"])
def test_the_search_leaves_its_ratios_and_its_table_in_the_ledger(groups: str, pruned: Pruned) -> None:
    model, run = pruned(f'tolerance = 0.001\nutterances = 2\ngroups = "{groups}"')
    found = run.rows[-1].details["sensitivity"]
    ratios = found["ratios"]
    assert ratios.keys() == {weight.name for weight in weights(model)}
    assert any(0 < ratio < 1 for ratio in ratios.values())
    assert found["evaluations"] == len(found["evaluated"]) <= 5 * len(ratios)
    measured = {(name, ratio): rise for name, ratio, rise in found["evaluated"]}
    for weight in weights(model):
        name, ratio = weight.name, ratios[weight.name]
        assert ratio == 0 or measured[name, ratio] <= 0.001
        assert ratio == 1 or measured[name, round(ratio + 0.05, 2)] > 0.001
        if groups == "weights":
            lost = 1 - int(weight.value.count_nonzero()) / weight.value.numel()
            assert lost == pytest.approx(ratio, abs=0.01)


def test_a_tolerance_that_nothing_meets_is_said_and_changes_nothing() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    run = Judge(model)
    Prune(tolerance=1e-30).apply(model, run)                   # type: ignore[arg-type]
    assert run.noted["pruned"] == "nothing: no tensor can lose 5 % within a tolerance of 1e-30"
    assert set(run.noted["sensitivity"]["ratios"].values()) == {0.0}
    assert not any(isinstance(weight.form, Mask) for weight in weights(model))


def test_of_weights_that_are_all_zero_nothing_is_pruned_and_that_is_said() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    for weight in weights(model):
        weight.hold(Mask(torch.zeros_like(weight.value, dtype=torch.bool)))
    run = Judge(model)
    Prune(ratio=0.5).apply(model, run)                         # type: ignore[arg-type]
    assert run.noted["pruned"] == "nothing: all these weights are zero already"


@pytest.mark.parametrize("scope", ["global", "balanced"])
@pytest.mark.parametrize("groups", ["weights", "kernels", "blocks"])
def test_a_ratio_of_all_together(scope: str, groups: str, pruned: Pruned) -> None:
    model, run = pruned(f'ratio = 0.6\nscope = "{scope}"\ngroups = "{groups}"\nutterances = 2')
    lost = {weight.name: 1 - float((weight.value != 0).float().mean()) for weight in weights(model)}
    sizes = {weight.name: weight.value.numel() for weight in weights(model)}
    total = sum(lost[name] * sizes[name] for name in sizes) / sum(sizes.values())
    assert total == pytest.approx(0.6, abs=0.02 if groups == "weights" else 0.1)
    assert max(lost.values()) - min(lost.values()) > 0.05
    if scope == "balanced":
        ratios = run.rows[-1].details["sensitivity"]["ratios"]
        assert ratios == pytest.approx(lost, abs=0.01 if groups == "weights" else 0.2)
