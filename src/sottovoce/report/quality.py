"""The comparison noisy / uncompressed / compressed, one line per metric, ready to be shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sottovoce.report import words

SIDES = ("noisy", "uncompressed", "compressed")


@dataclass(frozen=True)
class Quality:
    """Means of one metric over a list of utterances, and how far compression moved it."""

    metric: words.Metric
    noisy: float | None
    uncompressed: float | None
    compressed: float | None
    difference: float | None             # compressed - uncompressed
    low: float | None                    # 95 % interval of the difference
    high: float | None

    @property
    def places(self) -> list[tuple[str, float]]:
        """Where each side stands between the worst and the best, in percent; the last drawn lies on top."""
        values = {side: getattr(self, side) for side in SIDES}
        known = {side: value for side, value in values.items() if value is not None}
        low, high = min(known.values(), default=0), max(known.values(), default=0)
        if high <= low:
            return []
        return [(side, round(100 * (value - low) / (high - low), 2)) for side, value in known.items()]


def lines(metrics: Mapping[str, Mapping[str, Any]]) -> list[Quality]:
    """One line per metric in the order of `words.METRICS`, unknown metrics last."""
    order = [*words.METRICS, *(name for name in metrics if name not in words.METRICS)]
    return [_line(name, metrics[name]) for name in order if name in metrics]


def _line(name: str, values: Mapping[str, Any]) -> Quality:
    sides = [values.get(key) for key in (*SIDES, "difference", "low", "high")]
    return Quality(words.metric(name), *sides)
