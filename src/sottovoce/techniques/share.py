"""Parameter sharing: modules that repeat become one, stored once and run as often as before."""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sottovoce.errors import RecipeError
from sottovoce.techniques.context import Run
from sottovoce.techniques.weights import learned, tie

State = Mapping[str, Tensor]             # of a module


@dataclass(frozen=True)
class Share:
    """Make one of modules that are alike, with the weights of one of them, or their mean: what costs the loss least.

    Source: the one stack that Huang et al. 2022 run three times. Comes before whatever holds these weights to masks or
    codebooks. Stages after it see each shared weight once, by the first of its names.
    """

    modules: str             # names of the modules, shell-style: "stacks.*"
    every: int = 1           # so many in a row stay different: number 0 is shared with number `every`, and so on

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every must be at least 1, got {self.every}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        names = self.members(model)
        groups = [names[first :: self.every] for first in range(self.every)]
        states = [[_copied(model.get_submodule(name)) for name in group] for group in groups]
        tie(model, {name: group[0] for group in groups for name in group[1:]})

        def begin(choice: int | None) -> nn.Module:
            for group, members in zip(groups, states, strict=True):
                model.get_submodule(group[0]).load_state_dict(_mean(members) if choice is None else members[choice])
            return model

        losses = {choice: run.validation_loss(begin(choice)) for choice in [*range(len(groups[0])), None]}
        best = min(losses, key=losses.__getitem__)
        begin(best)
        run.note(shared=groups, losses={_named(groups, choice): value for choice, value in losses.items()},
                 start=_named(groups, best))
        return model

    def members(self, model: nn.Module) -> list[str]:
        """The outermost modules of these names, a multiple of `every`. Raises RecipeError unless they can be one."""
        matching = [name for name, _ in model.named_modules() if name and fnmatch.fnmatchcase(name, self.modules)]
        names = [name for name in matching if not any(name.startswith(f"{other}.") for other in matching)]
        if len(names) < 2 * self.every or len(names) % self.every:
            there = ", ".join(name for name, _ in model.named_children())
            raise RecipeError(f"modules: expected two or more times {self.every} modules named {self.modules!r}, got "
                              f"{', '.join(names) or 'none'}; the model has: {there}")
        for number, name in enumerate(names):
            one, other = (model.get_submodule(of) for of in (names[number % self.every], name))
            if (repr(one), _shapes(one)) != (repr(other), _shapes(other)):
                raise RecipeError(f"modules: {name} is not built like {names[number % self.every]}; see `every`")
        held = [weight.name for weight in learned(model) if weight.form is not None]
        for name in held:
            if any(name.startswith(f"{member}.") for member in names):
                raise RecipeError(f"share: expected free weights, but a stage before it holds {name}")
        return names


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _copied(module: nn.Module) -> State:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


def _mean(states: Sequence[State]) -> State:
    return {name: torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
            for name, first in states[0].items()}


def _named(groups: Sequence[Sequence[str]], choice: int | None) -> str:
    """What a choice is called in the ledger."""
    return "mean" if choice is None else ", ".join(group[choice] for group in groups)
