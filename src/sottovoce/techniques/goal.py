"""How small a model is to get by stages of its own, and how much quality it may lose on the way."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sottovoce import scales
from sottovoce.errors import RecipeError

UNITS = {"B": 1, "kB": 1000, "KB": 1000, "kiB": 1024, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2}


@dataclass(frozen=True)
class Goal:
    """What a stage that holds other stages works towards."""

    stages: tuple[tuple[str, Any], ...]
    size: str | None = None                                  # "250 kB"
    ratio: float | None = None                               # of the weights as 32-bit floats to the file
    max_drop: Mapping[str, float] = field(default_factory=dict)     # metric -> how much worse it may get

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: expected at least one stage")
        if self.size is not None:
            parse_size(self.size)
        if self.ratio is not None and not self.ratio > 1:
            raise ValueError(f"ratio must be above 1, got {self.ratio}")
        for metric, drop in self.max_drop.items():
            if isinstance(drop, bool) or not isinstance(drop, int | float) or not drop >= 0:
                raise ValueError(f"max_drop: {metric} must be a number, 0 or more, got {drop!r}")

    def wanted_bytes(self, dense: int) -> int | None:
        """The smaller of `size` and `ratio` to `dense` bytes; None if neither is given."""
        sizes = [] if self.size is None else [parse_size(self.size)]
        if self.ratio is not None:
            sizes.append(int(dense / self.ratio))
        return min(sizes, default=None)

    def check_metrics(self, scored: Mapping[str, float]) -> None:
        """Raises RecipeError for a metric of `max_drop` that is not scored."""
        for metric in self.max_drop:
            if metric not in scored:
                raise RecipeError(f"max_drop: {metric!r} is not scored here; there are: {', '.join(scored) or 'none'}")

    def fallen(self, base: Mapping[str, float], now: Mapping[str, float]) -> str:
        """The metrics that got too much worse, in words; empty if none did. A score that is not a number did."""
        return ", ".join(
            f"{name} {'rose' if metric.lower_is_better else 'fell'} by {worse:.3g}, {self.max_drop[name]:g} allowed"
            for name, metric in ((name, scales.metric(name)) for name in self.max_drop)
            if not (worse := metric.worse(base[name], now[name])) <= self.max_drop[name]
        )


def parse_size(text: str) -> int:
    """Bytes of a size such as "250 kB". Raises ValueError."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]+)\s*", text)
    if not match or match[2] not in UNITS:
        raise ValueError(f"size: expected a number and one of {', '.join(UNITS)}, got {text!r}")
    return int(float(match[1]) * UNITS[match[2]])
