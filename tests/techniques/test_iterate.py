"""Repetition ends where it was asked to: at a size, at a loss of quality, or after its rounds."""

import math
from pathlib import Path

import pytest
import toy

from sottovoce.errors import RecipeError
from sottovoce.ledger import Row
from sottovoce.run import Run, compress
from sottovoce.techniques.goal import Goal, parse_size
from sottovoce.techniques.weights import weights

PRUNE = 'stages = [{ kind = "prune", ratio = 0.5 }]\n'


def iterated(settings: str, folder: Path, stages: str = PRUNE) -> tuple[Row, Run, float]:
    """The row of an iterate stage, the run, and the share of nonzero weights it left."""
    run = Run(toy.recipe(f'[[stages]]\nkind = "iterate"\n{settings}\n{stages}', folder), folder / "run")
    held = weights(compress(run))
    left = sum(int(weight.value.count_nonzero()) for weight in held) / sum(weight.value.numel() for weight in held)
    return run.rows[-1], run, left


SIZES = [("250 kB", 250_000), ("1.5 MiB", 1_572_864), ("900B", 900), (" 2 MB ", 2_000_000)]


@pytest.mark.parametrize(("text", "size"), SIZES)
def test_a_size_is_read_as_written(text: str, size: int) -> None:
    assert parse_size(text) == size


FALLS = [                                # metric, before, after, what is said of it
    ("stoi", 90.0, 88.0, "stoi fell by 2, 1 allowed"), ("stoi", 90.0, 95.0, ""),
    ("per", 20.0, 22.0, "per rose by 2, 1 allowed"), ("per", 20.0, 15.0, ""),
    ("per", 20.0, math.nan, "per rose by nan, 1 allowed"),
]


@pytest.mark.parametrize(("metric", "before", "after", "told"), FALLS)
def test_a_metric_falls_the_way_that_is_worse(metric: str, before: float, after: float, told: str) -> None:
    goal = Goal(stages=(("train", None),), max_drop={metric: 1.0})
    assert goal.fallen({metric: before}, {metric: after}) == told


def test_it_ends_at_the_size_and_not_before(tmp_path: Path) -> None:
    row, run, _ = iterated('size = "10 kB"\nrounds = 9', tmp_path)
    inner = [other.bytes for other in run.rows if "/" in other.stage]
    assert row.details["stopped"] == f"round {len(inner)} reached 10000 bytes"
    assert inner[-1] <= 10_000 < inner[-2]


def test_a_ratio_counts_from_32_bit_weights(tmp_path: Path) -> None:
    row, run, _ = iterated("ratio = 3\nrounds = 9", tmp_path)
    assert row.bytes <= 4 * row.parameters / 3
    assert [other for other in run.rows if "/" in other.stage][-2].bytes > 4 * row.parameters / 3


def test_a_round_that_costs_too_much_is_undone(tmp_path: Path) -> None:
    row, run, left = iterated("rounds = 9\nmax_drop = { si_sdr = 0.0 }", tmp_path)
    inner = [other for other in run.rows if "/" in other.stage]
    start = run.rows[0].metrics["si_sdr"]
    assert row.details["stopped"].startswith(f"round {len(inner)} was undone: si_sdr fell by ")
    assert inner[-1].metrics["si_sdr"] < start <= row.metrics["si_sdr"]
    assert left == pytest.approx(0.5 ** (len(inner) - 1), abs=0.01)


def test_without_a_bound_it_does_all_rounds(tmp_path: Path) -> None:
    row, _, left = iterated("rounds = 3", tmp_path)
    assert row.details["stopped"] == "all 3 rounds done"
    assert left == pytest.approx(0.125, abs=0.01)


def test_a_bound_on_what_is_not_scored_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="max_drop: 'stoi' is not scored here; there are: si_sdr"):
        iterated("max_drop = { stoi = 1.0 }", tmp_path)


SEEKS = 'stages = [{ kind = "prune", tolerance = 0.001, utterances = 2 }]\n'


def test_it_ends_when_a_search_finds_hardly_anything(tmp_path: Path) -> None:
    row, run, left = iterated("rounds = 3\nleast = 0.95", tmp_path, SEEKS)
    assert row.details["stopped"] == f"round 1 pruned only {1 - left:.1%} of what was left"
    assert len(run.rows) == 3 and 0.05 < left < 1            # the model of that round is kept


@pytest.mark.parametrize(("settings", "stages"), [("least = 0.0", SEEKS), ("least = 0.95", PRUNE)])
def test_it_goes_on_where_that_was_not_asked(settings: str, stages: str, tmp_path: Path) -> None:
    row, _, _ = iterated(f"rounds = 2\n{settings}", tmp_path, stages)
    assert row.details["stopped"] == "all 2 rounds done"
