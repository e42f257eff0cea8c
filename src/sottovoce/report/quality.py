"""The comparison noisy / uncompressed / compressed, one line per metric, ready to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sottovoce import scales

SIDES = ("noisy", "uncompressed", "compressed")


@dataclass(frozen=True)
class Quality:
    """Means of one metric over utterances, and how far compression moved it; None where undefined."""

    metric: scales.Metric
    noisy: float | None
    uncompressed: float | None
    compressed: float | None
    difference: float | None             # compressed - uncompressed
    low: float | None                    # 95 % interval of the difference
    high: float | None
    least_gain: float | None = None      # over the noisy input: the worse end of its interval
    utterances: int | None = None        # that count
    undefined: int = 0                   # utterances on which the metric has no value

    @property
    def kept(self) -> float | None:
        """Share of the gain over the noisy input that compression left; None unless that gain is certain."""
        if self.least_gain is None or self.least_gain <= 0:
            return None
        assert self.noisy is not None and self.uncompressed is not None and self.compressed is not None
        return (self.compressed - self.noisy) / (self.uncompressed - self.noisy)

    @property
    def places(self) -> list[tuple[str, float]]:
        """Where each side stands between the worst and the best, in percent; the last drawn lies on top."""
        values = {side: getattr(self, side) for side in SIDES}
        known = {side: value for side, value in values.items() if value is not None}
        low, high = min(known.values(), default=0), max(known.values(), default=0)
        if high <= low:
            return []
        worst = high if self.metric.lower_is_better else low
        return [(side, round(100 * abs(value - worst) / (high - low), 2)) for side, value in known.items()]


def lines(metrics: Mapping[str, Mapping[str, Any]]) -> list[Quality]:
    """A line per metric of a `Comparison.to_json`, in the order of `scales.METRICS`, unknown metrics last."""
    order = [*scales.METRICS, *(name for name in metrics if name not in scales.METRICS)]
    return [_line(name, metrics[name]) for name in order if name in metrics]


def _line(name: str, values: Mapping[str, Any]) -> Quality:
    metric = scales.metric(name)
    gain = values.get("gain", {}).get("high" if metric.lower_is_better else "low")
    return Quality(
        metric,
        **{key: values.get(key) for key in (*SIDES, "difference", "low", "high")},
        least_gain=None if gain is None else metric.worse(gain, 0),
        utterances=values.get("utterances"),
        undefined=values.get("undefined", 0),
    )


def counted(lines: list[Quality]) -> str:
    """Over how many utterances, and what had to be left out."""
    count = max((line.utterances or 0 for line in lines), default=0)
    left_out = [f"{line.undefined} without {line.metric.label}" for line in lines if line.undefined]
    means = f"Means over {count} utterances" if count else "Means"
    return f"{means} ({', '.join(left_out)})" if left_out else means
