"""Stages repeated until the model is small enough, or until the next round would cost too much quality."""

from dataclasses import dataclass

from torch import nn

from sottovoce.techniques.context import Run
from sottovoce.techniques.goal import Goal
from sottovoce.techniques.train import next_round
from sottovoce.techniques.weights import weights


@dataclass(frozen=True)
class Iterate(Goal):
    """Repeat the stages until the file would be no larger than `size`, or `ratio` times smaller than 32-bit weights.

    A round after which a metric has fallen by more than `max_drop` allows, against the model the run began with, is
    undone and ends the repetition. It also ends with the last of `rounds`, and with one that seeks what to prune by a
    tolerance and finds less than the share `least` of the weights that were left.
    """

    rounds: int = 10
    least: float = 0.01                                      # share of the nonzero weights; 0 goes on regardless

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds < 1:
            raise ValueError(f"rounds must be at least 1, got {self.rounds}")
        if not 0 <= self.least < 1:
            raise ValueError(f"least must be at least 0 and below 1, got {self.least}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        start = run.rows[0]
        self.check_metrics(start.metrics)
        wanted = self.wanted_bytes(4 * start.parameters)
        stages = list(self.stages)
        for number in range(1, self.rounds + 1):
            before, left = run.keep(model), _nonzeros(model)
            for place, (kind, stage) in enumerate(stages, 1):
                model = run.apply(kind, stage, model, f"{number:02d}.{place}-{kind}")
                stages[place - 1] = kind, next_round(stage, run.rows[-1].details)
            now = run.rows[-1]
            if fell := self.fallen(start.metrics, now.metrics):
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
