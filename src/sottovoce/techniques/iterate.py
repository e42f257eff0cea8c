"""Stages repeated until the model is small enough, or until the next round would cost too much quality."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sottovoce.errors import RecipeError
from sottovoce.techniques.context import Run
from sottovoce.techniques.train import next_round
from sottovoce.techniques.weights import weights

UNITS = {"B": 1, "kB": 1000, "KB": 1000, "kiB": 1024, "KiB": 1024, "MB": 1000**2, "MiB": 1024**2}


@dataclass(frozen=True)
class Iterate:
    """Repeat the stages until the file would be no larger than `size`, or `ratio` times smaller than 32-bit weights.

    A round after which a metric has fallen by more than `max_drop` allows, against the model the run began with, is
    undone and ends the repetition. It also ends with the last of `rounds`, and with one that seeks what to prune by a
    tolerance and finds less than the share `least` of the weights that were left.
    """

    stages: tuple[tuple[str, Any], ...]
    rounds: int = 10
    size: str | None = None                                  # "250 kB"
    ratio: float | None = None                               # of the weights as 32-bit floats to the file
    max_drop: Mapping[str, float] = field(default_factory=dict)     # metric -> largest fall
    least: float = 0.01                                      # share of the nonzero weights; 0 goes on regardless

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("stages: expected at least one stage to repeat")
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        if self.size is not None:
            parse_size(self.size)
        if self.ratio is not None and not self.ratio > 1:
            raise ValueError(f"ratio must be above 1, got {self.ratio}")
        if not 0 <= self.least < 1:
            raise ValueError(f"least must be at least 0 and below 1, got {self.least}")
        check_drops(self.max_drop)

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        start = run.rows[0]
        check_metrics(self.max_drop, start.metrics)
        wanted = wanted_bytes(self.size, self.ratio, 4 * start.parameters)
        stages = list(self.stages)
        for number in range(1, self.rounds + 1):
            before, left = run.keep(model), _nonzeros(model)
            for place, (kind, stage) in enumerate(stages, 1):
                model = run.apply(kind, stage, model, f"{number:02d}.{place}-{kind}")
                stages[place - 1] = kind, next_round(stage, run.rows[-1].details)
            now = run.rows[-1]
            if fell := fallen(start.metrics, now.metrics, self.max_drop):
                run.note(stopped=f"round {number} was undone: {fell}", rounds=number - 1)
                return run.recall(before)
            if wanted is not None and now.bytes <= wanted:
                run.note(stopped=f"round {number} reached {wanted} bytes", rounds=number)
                return model
            pruned = 1 - _nonzeros(model) / max(1, left)
            if self._seeks and pruned < self.least:
                run.note(stopped=f"round {number} pruned only {pruned:.1%} of what was left", rounds=number)
                return model
        run.note(stopped=f"all {self.rounds} rounds done", rounds=self.rounds)
        return model

    @property
    def _seeks(self) -> bool:
        """Whether a round finds out by itself how much to prune."""
        return any(getattr(stage, "tolerance", None) is not None for kind, stage in self.stages if kind == "prune")


def _nonzeros(model: nn.Module) -> int:
    return sum(int(weight.value.count_nonzero()) for weight in weights(model))


def wanted_bytes(size: str | None, ratio: float | None, dense: int) -> int | None:
    """The smaller of a size and a ratio to `dense` bytes; None if neither is given."""
    sizes = [] if size is None else [parse_size(size)]
    if ratio is not None:
        sizes.append(int(dense / ratio))
    return min(sizes, default=None)


def parse_size(text: str) -> int:
    """Bytes of a size such as "250 kB". Raises ValueError."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z]+)\s*", text)
    if not match or match[2] not in UNITS:
        raise ValueError(f"size: expected a number and one of {', '.join(UNITS)}, got {text!r}")
    return int(float(match[1]) * UNITS[match[2]])


def check_drops(allowed: Mapping[str, object]) -> None:
    """Raises ValueError for a largest fall that is none."""
    for metric, drop in allowed.items():
        if isinstance(drop, bool) or not isinstance(drop, int | float) or not drop >= 0:
            raise ValueError(f"max_drop: {metric} must be a number, 0 or more, got {drop!r}")


def check_metrics(allowed: Mapping[str, float], scored: Mapping[str, float]) -> None:
    """Raises RecipeError for a metric that is not scored."""
    for metric in allowed:
        if metric not in scored:
            raise RecipeError(f"max_drop: {metric!r} is not scored here; there are: {', '.join(scored) or 'none'}")


def fallen(base: Mapping[str, float], now: Mapping[str, float], allowed: Mapping[str, float]) -> str:
    """The metrics that fell too far, in words; empty if none did. A score that is not a number has fallen."""
    falls = {metric: base[metric] - now[metric] for metric in allowed}
    return ", ".join(
        f"{metric} fell by {fall:.3g}, {allowed[metric]:g} allowed"
        for metric, fall in falls.items() if not fall <= allowed[metric]
    )
