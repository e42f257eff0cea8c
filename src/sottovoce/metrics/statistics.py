"""What differences between lists of scores prove: paired bootstrap, and the comparison a report shows."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sottovoce.errors import SottovoceError

Array = NDArray[np.float64]
Scores = Mapping[str, float]         # of one utterance: metric -> value, NaN where undefined
DRAWS_AT_ONCE = 1_000_000            # bounds the memory of a bootstrap to some 30 MB


class Rate(float):
    """Errors in percent of what they were counted in, as a score of one utterance that knows its weight.

    The mean over utterances is then that of all errors in all there was, and so in every interval.
    """

    weight: float

    def __new__(cls, errors: float, among: float) -> "Rate":
        rate = super().__new__(cls, 100 * errors / among)
        rate.weight = among
        return rate


@dataclass(frozen=True)
class Interval:
    """A mean over utterances and where the mean over all such utterances lies, at the level asked for."""

    mean: float
    low: float
    high: float


def mean_interval(
    values: ArrayLike, *, weights: ArrayLike | None = None, resamples: int = 10000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of values [utterances] with its percentile bootstrap interval (Efron 1979); NaNs are left out.

    Weights [utterances] are drawn with their values: of error rates, see Bisani & Ney 2004. Below two values the limits
    are NaN. On few values the interval is somewhat narrow: of 20, it covers the truth about 93 times in 100 instead of
    95. Raises SottovoceError for other shapes or impossible settings.
    """
    given = _values(values, "values")
    if resamples < 1 or not 0 < level < 1:
        raise SottovoceError(
            f"bootstrap: expected resamples >= 1 and 0 < level < 1, got resamples {resamples}, level {level}"
        )
    weighing = np.ones(len(given)) if weights is None else _values(weights, "weights")
    if len(weighing) != len(given):
        raise SottovoceError(f"bootstrap: expected {len(given)} weights, as values, got {len(weighing)}")
    there = ~np.isnan(given)
    defined, weighing = given[there], weighing[there]
    mean = _mean(defined, weighing)
    if len(defined) < 2:
        return Interval(mean, math.nan, math.nan)
    means = _resampled_means(defined, weighing, resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def paired_bootstrap(
    a: ArrayLike, b: ArrayLike, *, weights: ArrayLike | None = None, resamples: int = 10000, seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of b - a over utterances, [utterances] each, with its interval, see `mean_interval`.

    An utterance that is NaN in either is left out. Raises SottovoceError for lists of unequal length.
    """
    first, second = _values(a, "a"), _values(b, "b")
    if len(first) != len(second):
        raise SottovoceError(f"bootstrap: expected {len(first)} values in b, as in a, got {len(second)}")
    return mean_interval(second - first, weights=weights, resamples=resamples, seed=seed, level=level)


def means(scores: Sequence[Scores]) -> dict[str, float]:
    """The mean of every metric over the utterances where it is defined; NaN where it is on none."""
    columns = {name: np.array([found[name] for found in scores], np.float64) for name in _metrics_of(scores)}
    return {
        name: _mean(column[there := ~np.isnan(column)], weights_of(name, scores)[there])
        for name, column in columns.items()
    }


@dataclass(frozen=True)
class Line:
    """One metric on one list: three means over the same utterances, and two differences."""

    noisy: float
    uncompressed: float
    compressed: float
    difference: Interval                 # compressed - uncompressed: what compression cost
    gain: Interval                       # uncompressed - noisy: what the model is good for
    utterances: int                      # that count: the metric is defined on all three sides
    undefined: int                       # left out

    def to_json(self) -> dict[str, Any]:
        """JSON values; NaN becomes None, and the difference stands as keys "difference", "low", "high"."""
        return {
            "noisy": _to_json(self.noisy),
            "uncompressed": _to_json(self.uncompressed),
            "compressed": _to_json(self.compressed),
            "difference": _to_json(self.difference.mean),
            "low": _to_json(self.difference.low),
            "high": _to_json(self.difference.high),
            "gain": {key: _to_json(getattr(self.gain, key)) for key in ("mean", "low", "high")},
            "utterances": self.utterances,
            "undefined": self.undefined,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Line":
        return cls(
            noisy=_from_json(values["noisy"]),
            uncompressed=_from_json(values["uncompressed"]),
            compressed=_from_json(values["compressed"]),
            difference=Interval(*(_from_json(values[key]) for key in ("difference", "low", "high"))),
            gain=Interval(*(_from_json(values["gain"][key]) for key in ("mean", "low", "high"))),
            utterances=int(values["utterances"]),
            undefined=int(values["undefined"]),
        )


@dataclass(frozen=True)
class Comparison:
    """Noisy, uncompressed and compressed side by side: metric -> line, over all utterances and by group."""

    metrics: Mapping[str, Line]
    groups: Mapping[str, Mapping[str, Line]] = field(default_factory=dict)     # "5 dB" -> metric -> line

    def to_json(self) -> dict[str, Any]:
        """{"metrics": {metric: line}, "groups": {group: {metric: line}}}, see `Line.to_json`."""
        return {
            "metrics": _lines_to_json(self.metrics),
            "groups": {group: _lines_to_json(lines) for group, lines in self.groups.items()},
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Comparison":
        """The comparison that `to_json` wrote. Raises SottovoceError for something else."""
        try:
            groups = {group: _lines_from_json(lines) for group, lines in values["groups"].items()}
            return cls(_lines_from_json(values["metrics"]), groups)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise SottovoceError(f"comparison: expected the values of to_json, got {error!r}") from error


def compare(
    noisy: Sequence[Scores],
    uncompressed: Sequence[Scores],
    compressed: Sequence[Scores],
    groups: Sequence[str] | None = None,
    *,
    resamples: int = 10000,
    seed: int = 0,
    level: float = 0.95,
) -> Comparison:
    """The comparison of three lists of scores of the same utterances, in the same order.

    `groups` names the group of each utterance, say its SNR; they come in the order of their first utterances.
    Raises SottovoceError when the lists do not belong together.
    """
    sides = {"noisy": noisy, "uncompressed": uncompressed, "compressed": compressed}
    names = _common_metrics(sides)
    if groups is not None and len(groups) != len(noisy):
        raise SottovoceError(f"comparison: groups: expected {len(noisy)} labels, got {len(groups)}")
    tables = {name: (_table(name, sides), weights_of(name, uncompressed)) for name in names}

    def lines(chosen: NDArray[np.bool_]) -> dict[str, Line]:
        return {
            name: _line(table[:, chosen], weights[chosen], resamples, seed, level)
            for name, (table, weights) in tables.items()
        }

    labels = np.array(groups if groups is not None else [], dtype=object)
    by_group = {label: lines(labels == label) for label in dict.fromkeys(labels)}
    return Comparison(lines(np.ones(len(noisy), bool)), by_group)


def _table(metric: str, sides: Mapping[str, Sequence[Scores]]) -> Array:
    """Scores [3, utterances] of noisy, uncompressed and compressed."""
    return np.array([[scores[metric] for scores in side] for side in sides.values()], dtype=np.float64)


def weights_of(metric: str, scores: Sequence[Scores]) -> Array:
    """What each utterance weighs in the means of a metric: 1, unless its scores are rates."""
    return np.array([getattr(found[metric], "weight", 1.0) for found in scores], np.float64)


def _line(table: Array, weights: Array, resamples: int, seed: int, level: float) -> Line:
    # Only utterances with all three, so that the difference of the means is the mean of the differences.
    there = ~np.isnan(table).any(axis=0)
    (noisy, uncompressed, compressed), weights = table[:, there], weights[there]

    def change(before: Array, after: Array) -> Interval:
        return paired_bootstrap(before, after, weights=weights, resamples=resamples, seed=seed, level=level)

    return Line(
        noisy=_mean(noisy, weights),
        uncompressed=_mean(uncompressed, weights),
        compressed=_mean(compressed, weights),
        difference=change(uncompressed, compressed),
        gain=change(noisy, uncompressed),
        utterances=len(noisy),
        undefined=table.shape[1] - len(noisy),
    )


def _mean(values: Array, weights: Array) -> float:
    return float((values * weights).sum() / weights.sum()) if len(values) else math.nan


def _resampled_means(values: Array, weights: Array, resamples: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    rows = max(1, DRAWS_AT_ONCE // len(values))
    weighted, means = values * weights, []
    for start in range(0, resamples, rows):
        drawn = rng.integers(len(values), size=(min(rows, resamples - start), len(values)))
        means.append(weighted[drawn].sum(1) / weights[drawn].sum(1))
    return np.concatenate(means)


def _common_metrics(sides: Mapping[str, Sequence[Scores]]) -> list[str]:
    """The metrics of every side. Raises SottovoceError if the sides differ in them or in length."""
    (first, first_scores), *rest = sides.items()
    names = _metrics_of(first_scores)
    for side, scores in rest:
        if len(scores) != len(first_scores):
            wanted = f"{len(first_scores)} utterances as in {first}"
            raise SottovoceError(f"comparison: {side}: expected {wanted}, got {len(scores)}")
        if set(found := _metrics_of(scores)) != set(names):
            difference = f"expected {', '.join(names)} as in {first}, got {', '.join(found)}"
            raise SottovoceError(f"comparison: {side}: {difference}")
    return names


def _metrics_of(scores: Sequence[Scores]) -> list[str]:
    """The metrics that all the utterances have. Raises SottovoceError if they differ in them."""
    names = list(scores[0]) if scores else []
    for number, found in enumerate(scores):
        if set(found) != set(names):
            difference = f"expected {', '.join(names)} as in the first, got {', '.join(found)}"
            raise SottovoceError(f"scores: utterance {number}: {difference}")
    return names


def _values(values: ArrayLike, name: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise SottovoceError(f"bootstrap: {name}: expected [utterances], got {list(array.shape)}")
    return array


def _lines_to_json(lines: Mapping[str, Line]) -> dict[str, Any]:
    return {name: line.to_json() for name, line in lines.items()}


def _lines_from_json(lines: Mapping[str, Any]) -> dict[str, Line]:
    return {name: Line.from_json(values) for name, values in lines.items()}


def _to_json(value: float) -> float | None:
    return None if math.isnan(value) else value


def _from_json(value: float | None) -> float:
    return math.nan if value is None else float(value)
