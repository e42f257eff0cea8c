"""A budget is kept to the byte where it can be, and said to be too small where it cannot."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy

from sottovoce.errors import RecipeError
from sottovoce.run import Run, compress
from sottovoce.tasks.enhance import Enhance
from sottovoce.techniques.budget import Budget
from sottovoce.techniques.cluster import Codebook
from sottovoce.techniques.groups import SEGMENT, SLICE, Groups
from sottovoce.techniques.weights import weights

TRAINED = 'stages = [{ kind = "distill", steps = 2, teacher = "previous" }]'
UNTRAINED = 'stages = [{ kind = "half" }]'
Budgeted = Callable[..., tuple[torch.nn.Module, Run]]


@pytest.fixture
def budgeted(tmp_path: Path) -> Budgeted:
    """A toy model of 30 kB in a run of one budget stage with these settings."""

    def compressed(settings: str, stages: str = TRAINED) -> tuple[torch.nn.Module, Run]:
        table = f'[[stages]]\nkind = "budget"\nutterances = 2\n{settings}\n{stages}\n'
        run = Run(toy.recipe(table, tmp_path), tmp_path / "run")
        return compress(run), run

    return compressed


@pytest.fixture
def faithful(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Scores models by how near they stay to the first one scored, in dB."""
    noise, first = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32), []

    def scores(task: Enhance, model: Callable[..., Any], split: str) -> list[dict[str, float]]:
        output = model(noise)
        first.append(output)
        return [{"si_sdr": -10 * float(np.log10(1 + np.square(output - first[0]).sum() / np.square(first[0]).sum()))}]

    monkeypatch.setattr(Enhance, "scores", scores)
    yield


def kinds(run: Run) -> list[str]:
    return [row.kind for row in run.rows if "/" in row.stage]


@pytest.mark.parametrize(("settings", "size"), [('size = "4 kB"', 4000), ("ratio = 8", 29988 // 8)])
def test_the_file_is_as_small_as_asked_and_hardly_smaller(settings: str, size: int, budgeted: Budgeted) -> None:
    model, run = budgeted(f"{settings}\nrounds = 2\nvalues = 8")
    written = (run.directory / "model.sotto").stat().st_size
    assert 0.75 * size < written <= size
    assert run.rows[-1].details["stopped"] == f"reached {size} bytes"
    assert kinds(run)[:5] == ["prune", "distill", "prune", "distill", "cluster"] and kinds(run)[-1] == "distill"
    for weight in weights(model):
        assert isinstance(weight.form, Codebook) and 0 < len(weight.form.centroids) < 8


def test_pruning_goes_down_by_an_even_factor(budgeted: Budgeted) -> None:
    _, run = budgeted('size = "4 kB"\nrounds = 3')
    wanted = [row.settings["bytes"] for row in run.rows if row.kind == "prune"][:3]
    assert wanted[1] / wanted[0] == pytest.approx(wanted[2] / wanted[1], rel=0.01)
    assert wanted[2] < 4000


def test_each_tensor_gets_its_own_share_and_its_own_values(budgeted: Budgeted) -> None:
    model, run = budgeted('size = "4 kB"\nrounds = 1')
    row = next(row for row in run.rows if row.kind == "prune")
    names = {weight.name for weight in weights(model)}
    found = row.details["sensitivity"]
    assert found["ratios"].keys() == row.details["values"].keys() == names
    assert len(set(found["ratios"].values())) > 1
    assert {name for name, _, _ in found["evaluated"]} == {name for name, _, _ in row.details["clustered"]} == names


@pytest.mark.parametrize("groups", ["tiles", "blocks"])
def test_zeros_lie_as_asked(groups: Groups, budgeted: Budgeted) -> None:
    model, run = budgeted(f'size = "4 kB"\nrounds = 1\ngroups = "{groups}"')
    assert run.rows[-1].details["stopped"] == "reached 4000 bytes"
    for weight in weights(model):
        matrix = (weight.value != 0).flatten(1)
        if groups == "tiles":
            assert all(tile.sum(1).unique().numel() <= 1 for tile in matrix.split(SEGMENT, 1)), weight.name
        else:
            assert all((band.all(0) | ~band.any(0)).all() for band in matrix.split(SLICE)), weight.name


def test_nothing_is_pruned_where_clustering_is_enough(budgeted: Budgeted) -> None:
    _, run = budgeted('size = "9 kB"')
    assert kinds(run) == ["prune", "distill", "cluster", "distill"]
    assert run.rows[-1].nonzeros == run.rows[0].nonzeros


def test_what_no_pruning_can_reach_is_refused(budgeted: Budgeted) -> None:
    with pytest.raises(RecipeError, match=r"1000 bytes cannot be reached: what is not pruned, .*, takes 1156"):
        budgeted('size = "1 kB"')


def test_what_was_not_reached_is_said(budgeted: Budgeted) -> None:
    _, run = budgeted('size = "1.6 kB"\nrounds = 1', UNTRAINED)
    left = run.rows[-1].details["stopped"]
    assert left.startswith("1600 bytes were not reached: pruned as far as it goes, ")
    assert int(left.split()[-3]) > 1600


def test_size_and_quality_that_cannot_both_be_met(budgeted: Budgeted, faithful: None) -> None:
    _, run = budgeted('size = "3 kB"\nrounds = 4\nmax_drop = { si_sdr = 0.05 }', UNTRAINED)
    row = run.rows[-1]
    assert row.details["stopped"].startswith("3000 bytes and max_drop cannot both be met: at ")
    assert "si_sdr fell by " in row.details["stopped"]
    smallest = re.search(r"; the smallest that held has about (\d+) bytes$", row.details["stopped"])
    assert smallest and int(smallest[1]) == pytest.approx((run.directory / "model.sotto").stat().st_size, abs=400)
    assert run.rows[0].metrics["si_sdr"] - row.metrics["si_sdr"] <= 0.05
    assert 3000 < (run.directory / "model.sotto").stat().st_size and row.bytes < run.rows[0].bytes


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({}, "give size or ratio"),
    ({"size": "900"}, "expected a number and one of"),
    ({"ratio": 0.5}, "ratio must be above 1, got 0.5"),
    ({"ratio": 4, "stages": ()}, "expected at least one stage"),
    ({"ratio": 4, "values": 1}, "values must be 2..4096, got 1"),
    ({"ratio": 4, "max_drop": {"stoi": -1}}, "stoi must be a number, 0 or more"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Budget(**{"stages": (("half", None),), **settings})
