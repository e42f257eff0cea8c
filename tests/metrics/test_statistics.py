import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sottovoce.errors import SottovoceError
from sottovoce.metrics.statistics import Comparison, Interval, compare, mean_interval, means, paired_bootstrap

Side = list[dict[str, float]]


@pytest.fixture
def sides() -> tuple[Side, Side, Side]:
    """Noisy, uncompressed and compressed scores of twelve utterances, six at each of two SNRs."""
    rng = np.random.default_rng(3)
    noisy = rng.uniform(60, 90, 12)
    uncompressed = noisy + rng.uniform(1, 3, 12)
    compressed = uncompressed - rng.uniform(0.1, 0.3, 12)
    return tuple([{"stoi": value, "si_sdr": value / 10} for value in side]
                 for side in (noisy, uncompressed, compressed))


SNRS = ["0 dB", "5 dB"] * 6


@pytest.mark.parametrize("draw", ["normal", "exponential", "bimodal"])
@pytest.mark.parametrize(("count", "least", "most"), [(20, 0.85, 0.97), (100, 0.91, 0.98)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(
    draw: str, count: int, least: float, most: float
) -> None:
    rng = np.random.default_rng(11)
    samples = {
        "normal": rng.normal(1, 2, (300, count)),
        "exponential": rng.exponential(1, (300, count)),
        "bimodal": rng.choice([0, 2], (300, count)),
    }[draw]
    intervals = [mean_interval(values, resamples=400, seed=seed) for seed, values in enumerate(samples)]
    covered = np.mean([interval.low <= 1 <= interval.high for interval in intervals])
    assert least <= covered <= most


def test_the_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(5).normal(0, 3, 400)
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(values.mean())
    half = 1.96 * values.std() / math.sqrt(400)
    assert interval.high - interval.mean == pytest.approx(half, rel=0.05)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.05)
    wider = mean_interval(values, level=0.99)
    assert (wider.high - wider.low) / (interval.high - interval.low) == pytest.approx(2.576 / 1.96, rel=0.05)


def test_pairing_takes_out_what_the_utterances_differ_in() -> None:
    difficulty = np.linspace(0, 100, 50)
    interval = paired_bootstrap(difficulty, difficulty + 0.5 + 0.1 * np.cos(difficulty))
    assert interval.low < 0.5 < interval.high
    assert interval.high - interval.low < 0.1
    turned = paired_bootstrap(difficulty + 0.5 + 0.1 * np.cos(difficulty), difficulty)
    assert turned.mean == pytest.approx(-interval.mean)


def test_the_same_seed_gives_the_same_interval_and_a_constant_has_no_width() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert mean_interval(values) == mean_interval(values)
    assert mean_interval(values) != mean_interval(values, seed=1)
    assert mean_interval([2, 2, 2]) == Interval(2, 2, 2)


def test_undefined_values_are_left_out() -> None:
    values = np.random.default_rng(0).normal(size=30)
    assert mean_interval([*values, math.nan, math.nan]) == mean_interval(values)
    assert paired_bootstrap([1, math.nan, 2, 3], [2, 1, math.nan, 5]) == mean_interval([1, 2])
    scores = [{"stoi": stoi, "pesq_wb": math.nan} for stoi in (80, math.nan, 90)]
    assert means(scores) == pytest.approx({"stoi": 85, "pesq_wb": math.nan}, nan_ok=True)
    assert means([]) == {}


@pytest.mark.parametrize(("values", "mean"), [([], math.nan), ([math.nan], math.nan), ([3, math.nan], 3)])
def test_less_than_two_values_have_no_interval(values: list[float], mean: float) -> None:
    interval = mean_interval(values)
    assert interval.mean == pytest.approx(mean, nan_ok=True)
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


def test_a_comparison_holds_means_differences_and_groups(sides: tuple[Side, Side, Side]) -> None:
    comparison = compare(*sides, groups=SNRS)
    noisy, uncompressed, compressed = (np.array([score["stoi"] for score in side]) for side in sides)
    line = comparison.metrics["stoi"]
    assert line.noisy == noisy.mean()
    assert line.uncompressed == uncompressed.mean()
    assert line.compressed == compressed.mean()
    assert line.difference == paired_bootstrap(uncompressed, compressed)
    assert line.gain == paired_bootstrap(noisy, uncompressed)
    assert line.difference.high < 0 < line.gain.low
    assert list(comparison.groups) == ["0 dB", "5 dB"]
    for first, label in enumerate(comparison.groups):
        alone = compare(*(side[first::2] for side in sides))
        assert comparison.groups[label] == alone.metrics
        assert alone.metrics["stoi"].utterances == 6


def test_an_utterance_undefined_on_one_side_counts_on_none(sides: tuple[Side, Side, Side]) -> None:
    noisy, uncompressed, compressed = sides
    full = compare(noisy[1:], uncompressed[1:], compressed[1:])
    compressed[0] = {**compressed[0], "stoi": math.nan}
    comparison = compare(noisy, uncompressed, compressed)
    assert comparison.metrics["stoi"] == replace(full.metrics["stoi"], undefined=1)
    assert comparison.metrics["si_sdr"].undefined == 0
    assert comparison.metrics["si_sdr"].utterances == 12


def test_json_holds_what_the_report_reads_and_comes_back_whole(sides: tuple[Side, Side, Side]) -> None:
    comparison = compare(*sides, groups=SNRS)
    text = json.dumps(comparison.to_json(), allow_nan=False)
    assert Comparison.from_json(json.loads(text)) == comparison
    line = json.loads(text)["metrics"]["stoi"]
    assert line["difference"] == pytest.approx(line["compressed"] - line["uncompressed"])
    assert line["low"] <= line["difference"] <= line["high"]
    assert line["gain"]["mean"] == pytest.approx(line["uncompressed"] - line["noisy"])


def test_json_has_null_where_nothing_is_defined() -> None:
    undefined = [{"pesq_wb": math.nan}] * 3
    values = compare(undefined, undefined, undefined).to_json()
    line = json.loads(json.dumps(values, allow_nan=False))["metrics"]["pesq_wb"]
    assert (line["noisy"], line["low"], line["utterances"], line["undefined"]) == (None, None, 0, 3)
    assert Comparison.from_json(values).to_json() == values


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda noisy, dense, small: (noisy, dense, small[1:]),
         "comparison: compressed: expected 12 utterances as in noisy, got 11"),
        (lambda noisy, dense, small: (noisy, [{"stoi": 1.0}] * 12, small),
         "comparison: uncompressed: expected stoi, si_sdr as in noisy, got stoi"),
        (lambda noisy, dense, small: (noisy, [*dense[:11], {"stoi": 1.0}], small),
         "scores: utterance 11: expected stoi, si_sdr as in the first, got stoi"),
        (lambda noisy, dense, small: (noisy, dense, small, ["0 dB"]),
         "comparison: groups: expected 12 labels, got 1"),
    ],
)
def test_lists_that_do_not_belong_together_are_named(
    change: Callable[..., tuple[Any, ...]], message: str, sides: tuple[Side, Side, Side]
) -> None:
    with pytest.raises(SottovoceError, match=f"^{message}$"):
        compare(*change(*sides))


def test_impossible_settings_and_damaged_json_are_named() -> None:
    with pytest.raises(SottovoceError, match=r"^bootstrap: .* 0 < level < 1, got resamples 10000, level 95$"):
        mean_interval([1, 2], level=95)
    with pytest.raises(SottovoceError, match=r"^bootstrap: expected 2 values in b, as in a, got 3$"):
        paired_bootstrap([1, 2], [1, 2, 3])
    with pytest.raises(SottovoceError, match=r"^bootstrap: values: expected \[utterances\], got \[1, 2\]$"):
        mean_interval([[1, 2]])
    for damaged in ({"metrics": {"stoi": {"noisy": 1}}, "groups": {}}, {}, [], {"metrics": 3, "groups": {}}):
        with pytest.raises(SottovoceError, match=r"^comparison: expected the values of to_json, got "):
            Comparison.from_json(damaged)
