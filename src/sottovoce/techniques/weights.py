"""The weights of a model by name, and the forms that compression lays on them. Nobody else calls `parametrize`."""

import fnmatch
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sottovoce.artefact.stored import Dense, Stored
from sottovoce.errors import RecipeError
from sottovoce.techniques.factors import factor, ranks_of
from sottovoce.techniques.inputs import host, input_forms, lay


class WeightForm(nn.Module):
    """What a weight is held to: a mask, a codebook, a precision. Its arguments are exactly its state-dict entries.

    Two laws hold for every form: exact zeros stay exact zeros, and `stored(weight).to_array()` equals
    `forward(weight)` bit for bit.
    """

    frozen = False           # True if only what the form itself learns still moves

    def forward(self, weight: Tensor) -> Tensor:
        """The weight as the model uses it."""
        raise TypeError(f"{type(self).__name__} does not say what a weight becomes")

    def stored(self, weight: Tensor) -> Stored:
        """The weight as it lies in a file."""
        raise TypeError(f"{type(self).__name__} does not say how a weight is stored")


class Rows(NamedTuple):
    """Where a weight has its outputs: what the rows are where it is run as a matrix."""

    axis: int = 0
    parts: int = 1           # matrices along it: a convolution with groups is as many

    def matrices(self, value: Tensor) -> Tensor:
        """The tensor as matrices [parts, rows, columns]."""
        return torch.unflatten(value.movedim(self.axis, 0), 0, (self.parts, -1)).flatten(2)

    def tensor(self, matrices: Tensor, shape: torch.Size) -> Tensor:
        """Matrices as a tensor of that shape, from which `matrices` would make them."""
        moved = torch.Size([shape[self.axis], *shape[: self.axis], *shape[self.axis + 1 :]])
        return matrices.reshape(moved).movedim(0, self.axis)


@dataclass(frozen=True)
class Weight:
    """A tensor that a model learns, by its place in the model."""

    module: nn.Module
    attribute: str           # of the module: weight, bias, weight_ih_l0 ...
    name: str                # in the model: lstm.weight_ih_l0

    @property
    def value(self) -> Tensor:
        """The weight as the model uses it, with its form; gradients flow through."""
        value: Tensor = getattr(self.module, self.attribute)
        return value

    @property
    def rows(self) -> Rows:
        """Where its outputs lie."""
        if isinstance(self.module, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
            return Rows(axis=1)
        return Rows(parts=self.module.groups) if isinstance(self.module, (nn.Conv1d, nn.Conv2d)) else Rows()

    @property
    def form(self) -> WeightForm | None:
        """What the weight is held to; None while it is free."""
        held = self._held
        if held is None:
            return None
        form = held[0]
        assert isinstance(form, WeightForm)
        return form

    @property
    def _held(self) -> parametrize.ParametrizationList | None:
        """Torch's record of the form, and of the tensor under it."""
        if not parametrize.is_parametrized(self.module, self.attribute):
            return None
        lists: Any = self.module.parametrizations
        held: parametrize.ParametrizationList = lists[self.attribute]
        return held

    def hold(self, form: WeightForm) -> None:
        """Hold the weight's present value to this form from now on, in place of an earlier one."""
        self.free()
        parametrize.register_parametrization(self.module, self.attribute, form, unsafe=True)
        form.eval()          # whatever the module is, until a fit trains it: elsewhere a weight is what a file holds
        self.original.requires_grad_(not form.frozen)

    def free(self) -> None:
        """Let the weight learn freely again, from the value it has."""
        if self.form is not None:
            parametrize.remove_parametrizations(self.module, self.attribute, leave_parametrized=True)
            self.original.requires_grad_(True)

    @property
    def original(self) -> nn.Parameter:
        """The tensor that learns, under the form."""
        held = self._held
        original = getattr(self.module, self.attribute) if held is None else held.original
        assert isinstance(original, nn.Parameter)
        return original

    def stored(self) -> Stored:
        """The weight as it lies in a file: as its form says, or every value as it is."""
        with torch.no_grad():
            if self.form is None:
                return Dense(self.value.detach().cpu().numpy().copy())
            return self.form.stored(self.original)


def learned(model: nn.Module, only: str = "*") -> Iterator[Weight]:
    """Every tensor the model learns whose name matches the shell-style pattern, in a fixed order."""
    for path, module in model.named_modules():
        if isinstance(module, (WeightForm, parametrize.ParametrizationList, nn.ModuleDict)):
            continue
        lists: Any = module.parametrizations if parametrize.is_parametrized(module) else {}
        for attribute in sorted([*module._parameters, *lists]):
            name = f"{path}.{attribute}" if path else attribute
            if getattr(module, attribute) is not None and fnmatch.fnmatchcase(name, only):
                yield Weight(module, attribute, name)


def weights(model: nn.Module, only: str = "*") -> list[Weight]:
    """The weights that compression is for: matrices and kernels. Biases and norms are left out.

    Raises RecipeError when the pattern matches none of them.
    """
    found = [weight for weight in learned(model, only) if weight.value.dim() >= 2]
    if not found:
        there = ", ".join(weight.name for weight in learned(model) if weight.value.dim() >= 2)
        raise RecipeError(f"only: {only!r} matches no weight; there are: {there}")
    return found


def plain(model: nn.Module) -> nn.Module:
    """A freshly built model of the same settings that holds the present values, with no gradients.

    Weights have no forms there; what is rounded on its way into a module still is.
    """
    fresh, shared = type(model)(model.config), ties(model)
    factor(fresh, ranks_of(model))
    tie(fresh, shared)
    for name, form in input_forms(model).items():
        lay(host(fresh, name), type(form)(**form.state_dict()))
    values = {name: tensor for name, tensor in model.state_dict().items() if "parametrizations." not in name}
    for weight in learned(model):
        values |= dict.fromkeys(_names(weight.name, shared), weight.value.detach())
    fresh.load_state_dict(values)
    return fresh.requires_grad_(False).eval()


# ---- modules that are one --------------------------------------------------------------------------------------------


def tie(model: nn.Module, shared: Mapping[str, str]) -> None:
    """Put the module of each value's name in the place of each key, so that the two are one."""
    for name, first in shared.items():
        model.set_submodule(name, model.get_submodule(first))


def ties(model: nn.Module) -> dict[str, str]:
    """The names of modules that are another one, each with that one's first name; not those of modules within them."""
    firsts: dict[nn.Module, str] = {}
    found: dict[str, str] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if module not in firsts:
            firsts[module] = name
        elif not any(name.startswith(f"{other}.") for other in found):
            found[name] = firsts[module]
    return found


def _names(name: str, shared: Mapping[str, str]) -> list[str]:
    """All names of a weight, given the first."""
    within = (alias + name.removeprefix(first) for alias, first in shared.items() if name.startswith(f"{first}."))
    return [name, *within]
