"""Low rank: matrices of linear layers as products of two thinner ones."""

import bisect
import fnmatch
from dataclasses import dataclass

import torch
from torch import nn

from sottovoce.errors import RecipeError
from sottovoce.techniques.context import Run
from sottovoce.techniques.factors import Factored, factor, linears
from sottovoce.techniques.inputs import input_form
from sottovoce.techniques.weights import learned, tie, ties


@dataclass(frozen=True)
class Factorize:
    """Make two thin matrices of those of linear layers, until a share of the model's parameters is gone.

    They are what is left of the singular value decomposition. No layer loses more than a share of its squared singular
    values that is the same for all, the least that does it; one that would not become smaller stays. What held the
    weights of the others is let go, and with it their zeros. Goes before what rounds inputs.
    """

    target: float            # share of the parameters that the stage meets, 0 < target < 1
    modules: str = "*"       # names of linear layers, shell-style; one that is factored already counts as one

    def __post_init__(self) -> None:
        if not 0 < self.target < 1:
            raise ValueError(f"target must be between 0 and 1, got {self.target}")

    @torch.no_grad()
    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        layers = [Layer(name, module) for name, module in self._layers(model).items()]
        whole = sum(weight.value.numel() for weight in learned(model))

        def removed(lost: float) -> float:
            return sum(layer.saved(lost) for layer in layers) / whole

        choices = sorted({share for layer in layers for share in layer.lost})
        place = bisect.bisect_left(choices, self.target, key=removed)
        if place == len(choices):
            raise RecipeError(f"target: expected {self.target:g} of the parameters to go, got {removed(1.0):.3f} with "
                              f"matrices of rank 1 in all of {len(layers)} layers")
        chosen = {layer.name: layer for layer in layers if layer.saved(choices[place]) > 0}
        ranks = {name: layer.rank(choices[place]) for name, layer in chosen.items()}
        shared = ties(model)
        factor(model, ranks)
        tie(model, shared)
        for name, made in linears(model).items():
            if isinstance(made, Factored) and name in chosen:
                chosen[name].fill(made)
        run.note(removed=removed(choices[place]), lost=choices[place],
                 ranks={name: [rank, len(chosen[name].lost)] for name, rank in ranks.items()})
        return model

    def members(self, model: nn.Module) -> list[str]:
        """The names of the layers. Raises RecipeError where there is none."""
        return list(self._layers(model))

    def _layers(self, model: nn.Module) -> dict[str, nn.Linear | Factored]:
        there = linears(model)
        found = {name: layer for name, layer in there.items() if fnmatch.fnmatchcase(name, self.modules)}
        if not found:
            raise RecipeError(f"modules: {self.modules!r} matches no linear layer; there are: "
                              f"{', '.join(there) or 'none'}")
        for name, layer in found.items():
            if any(input_form(module) is not None for module in layer.modules()):
                raise RecipeError(f"factorize: expected free inputs, but a stage before it rounds what {name} gets")
        return found


class Layer:
    """The singular values of a linear layer, and what each rank would cost it."""

    def __init__(self, name: str, module: nn.Linear | Factored) -> None:
        self.name = name
        self._bias = module.bias
        self._size = sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))
        self._each = sum(module.weight.shape)                # parameters of each rank
        self._left, self._values, self._right = torch.linalg.svd(module.weight.cpu().double(), full_matrices=False)
        energy = self._values.square()
        left_out = (energy.sum() - energy.cumsum(0)).clamp_min(0) / energy.sum().clamp_min(1e-300)
        self.lost: list[float] = left_out.tolist()           # share of the squared values, of rank 1, 2, ...

    def rank(self, lost: float) -> int:
        """The least that loses no more than this share."""
        return 1 + sum(1 for share in self.lost if share > lost)

    def saved(self, lost: float) -> int:
        """How many parameters fewer it has then."""
        return max(0, self._size - self.rank(lost) * self._each)

    def fill(self, made: Factored) -> None:
        """The factors of that layer's rank, equally large."""
        rank = made.rank
        roots = self._values[:rank].sqrt()
        made.down.weight.copy_(roots[:, None] * self._right[:rank])
        made.up.weight.copy_(self._left[:, :rank] * roots)
        if made.bias is not None and self._bias is not None:
            made.bias.copy_(self._bias)
