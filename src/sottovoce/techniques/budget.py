"""A model for a given size: sparsity and bits go to the tensors where they cost the loss least."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from sottovoce.errors import RecipeError
from sottovoce.techniques.allot import ClusterTo, PruneTo, coded, uncut
from sottovoce.techniques.context import Run
from sottovoce.techniques.goal import Goal
from sottovoce.techniques.groups import Groups
from sottovoce.techniques.half import Half
from sottovoce.techniques.train import next_round
from sottovoce.techniques.weights import learned, weights

ROW = 150                # bytes at most of a ledger row in the file's header
SLACK = 0.99             # of the wanted bytes is what pruning goes for: training changes the weights' entropy a little
TRIES = 3                # prunings beyond the rounds, where codebooks do not make up for what is missing


@dataclass(frozen=True)
class Budget(Goal):
    """Make the file no larger than `size`, or `ratio` times smaller than 32-bit weights, within `max_drop`.

    In each round the weights are pruned by an even factor towards that size and the inner stages train the rest; then
    they are clustered and trained once more. What each tensor loses, and the values it gets, is chosen by how far
    the outputs move when it alone is pruned or clustered, at equal slope against the bytes saved.
    Where size and `max_drop` cannot both be met, the result is the smallest model that held, and the ledger says so.
    """

    rounds: int = 4
    values: int = 16                                                 # of a tensor at most, the exact zero among them
    utterances: int = 16                                             # of the development list, to measure the loss on
    only: str = "*"                                                  # names of the weights, shell-style
    groups: Groups = "weights"                                       # what is pruned together, as `prune` has it

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size is None and self.ratio is None:
            raise ValueError("give size or ratio")
        if self.rounds < 1 or self.utterances < 1:
            raise ValueError(f"rounds and utterances must be at least 1, got {self.rounds} and {self.utterances}")
        if not 2 <= self.values <= 4096:
            raise ValueError(f"values must be 2..4096, got {self.values}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        start = run.rows[0]
        self.check_metrics(start.metrics)
        wanted = self.wanted_bytes(4 * start.parameters)
        assert wanted is not None
        if (others := _others(model, self.only)) >= wanted:
            raise RecipeError(f"{wanted} bytes cannot be reached: what is not pruned, biases and norms, takes {others}")
        return _Course(self, run, wanted).to_the_end(model)


class _Course:
    """A budget at work: its steps, numbered, and the models on the way that held."""

    def __init__(self, budget: Budget, run: Run, wanted: int) -> None:
        self.budget, self.run, self.wanted = budget, run, wanted
        self.stages, self.steps = list(budget.stages), 0
        self.aim = wanted - ROW * (len(budget.stages) + 2)       # when it is clustered; then come more rows
        self.values: tuple[int, ...] = ()                        # of the tensors, that pruning counts on
        self.held: list[Any] = []            # states after pruning and training, the smallest last

    def to_the_end(self, model: nn.Module) -> nn.Module:
        before = self.run.keep(model)
        self.values = self._most(model)
        for size in self._path(model):
            model = self._pruned(model, size)
        model = self._trained(self._fitted(model))
        size, fell = self.run.size(model), self._fallen()
        if fell:
            reason = f"{self.wanted} bytes and max_drop cannot both be met: at {size} bytes {fell}"
            return self._smallest(before, reason)
        self.run.note(stopped=f"reached {self.wanted} bytes" if size <= self.wanted else
                      f"{self.wanted} bytes were not reached: pruned as far as it goes, {size} are left")
        return model

    def _fitted(self, model: nn.Module) -> nn.Module:
        """The model clustered; pruned and trained again first where few values alone do not make it small enough."""
        sizes: list[int] = []
        while True:
            pruned, clustered = self.run.keep(model), self._clustered(model, self.aim, self.values)
            sizes.append(self.run.size(clustered))
            if sizes[-1] <= self.aim + ROW or len(sizes) > TRIES or sizes[-1] >= min(sizes[:-1], default=sizes[-1] + 1):
                return clustered
            model = self._pruned(self.run.recall(pruned), int(SLACK * self.aim**2 / sizes[-1]))

    def _path(self, model: nn.Module) -> list[int]:
        """Sizes on the way, each the same factor below the one before; one where clustering is enough."""
        taken, rounds = uncut(model, self.budget.only, self.values), self.budget.rounds
        begin = self.run.size(coded(model, taken, self.run))
        if begin <= self.aim:
            return [self.aim]            # so that there is a model before its last pruning, for teachers
        return [int(SLACK * begin * (self.aim / begin) ** (number / rounds)) for number in range(1, rounds + 1)]

    def _most(self, model: nn.Module) -> tuple[int, ...]:
        return (self.budget.values,) * len(weights(model, self.budget.only))

    def _pruned(self, model: nn.Module, size: int) -> nn.Module:
        budget = self.budget
        model = self._step("prune", PruneTo(size, budget.values, budget.utterances, budget.only, budget.groups),
                           model)
        self.values = tuple(self.run.rows[-1].details["values"].values())
        model = self._trained(model)
        if not self._fallen():
            self.held.append(self.run.keep(model))
        return model

    def _clustered(self, model: nn.Module, size: int | None, values: tuple[int, ...]) -> nn.Module:
        budget = self.budget
        return self._step("cluster", ClusterTo(size, values, budget.values, budget.utterances, budget.only), model)

    def _smallest(self, before: Any, reason: str) -> nn.Module:
        """The smallest model on the way that holds when it is clustered with all values; else one not clustered."""
        for state in reversed(self.held):
            model = self.run.recall(state)
            model = self._trained(self._clustered(model, None, self._most(model)))
            if not self._fallen():
                self.run.note(stopped=f"{reason}; the smallest that held has about {self.run.size(model)} bytes")
                return model
        held = self.held[-1:] or [before]
        self.run.note(stopped=f"{reason}; clustered, none held, and the result is the smallest that did without")
        return self.run.recall(held[0])

    def _step(self, kind: str, stage: PruneTo | ClusterTo, model: nn.Module) -> nn.Module:
        self.steps += 1
        return self.run.apply(kind, stage, model, f"{self.steps:02d}.0-{kind}")

    def _trained(self, model: nn.Module) -> nn.Module:
        for place, (kind, stage) in enumerate(self.stages, 1):
            model = self.run.apply(kind, stage, model, f"{self.steps:02d}.{place}-{kind}")
            self.stages[place - 1] = kind, next_round(stage, self.run.rows[-1].details)
        return model

    def _fallen(self) -> str:
        return self.budget.fallen(self.run.rows[0].metrics, self.run.rows[-1].metrics)


def _others(model: nn.Module, only: str) -> int:
    """Bytes of what the budget does not touch."""
    names = {weight.name for weight in weights(model, only)}
    others = [weight for weight in learned(model) if weight.name not in names]
    return sum((2 if isinstance(weight.form, Half) else 4) * weight.value.numel() for weight in others)
