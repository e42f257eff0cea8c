"""What stages that remove units have in common: which ones, how much of the model they are, the model without them."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.errors import RecipeError
from sottovoce.techniques.context import Run
from sottovoce.techniques.factors import ranks_of
from sottovoce.techniques.gates import Extent, along, kept, placed, uses
from sottovoce.techniques.inputs import input_forms
from sottovoce.techniques.prune import Mask
from sottovoce.techniques.weights import Weight, learned, plain, ties
from sottovoce.units import Cuttable, Divisible, Group

Objective = Literal["size", "multiply_adds"]     # what a share is of: the parameters, or the multiply-adds


def groups_of(model: nn.Module, kinds: Sequence[str]) -> list[Group]:
    """The groups of units of these kinds, of all kinds if none is named.

    Raises RecipeError where the model has none, or a stage was before this one that has to come after it.
    """
    if not isinstance(model, Divisible):
        raise RecipeError(f"units: expected a model that says what can be removed from it, got {type(model).__name__}")
    for does, those in (("shares", ties(model)), ("rounds", input_forms(model)), ("factors", ranks_of(model))):
        if first := next(iter(those), None):
            raise RecipeError(f"units: expected to come first, but a stage before this one {does} {first}")
    there_are = list(model.units())
    known = list(dict.fromkeys(group.kind for group in there_are))
    for kind in kinds:
        if kind not in known:
            raise RecipeError(f"kinds: the model has no units of kind {kind!r}; there are: {', '.join(known)}")
    return [group for group in there_are if group.kind in (kinds or known)]


def extent_of(model: nn.Module, objective: Objective, run: Run) -> Extent:
    """How much there is of the model, by that measure, as a function of all its units."""
    assert isinstance(model, Divisible)
    groups = model.units()
    shapes = {weight.name: weight.value.shape for weight in learned(model)}
    if objective == "size":
        return Extent(shapes, groups)
    inputs = run.task.example()
    seconds = inputs[0].shape[-1] / run.task.sample_rate
    counts = uses(model.eval(), inputs)
    return Extent(shapes, groups, {name: count / seconds for name, count in counts.items()})


@torch.no_grad()
def without(model: nn.Module, groups: Sequence[Group], stay: Mapping[str, Tensor]) -> nn.Module:
    """The model with none but the units that stay, bool [count] by name of a group: cut, or zero where the others were.

    Masks hold; codebooks and levels are let go.
    """
    return _cut(model, stay) if isinstance(model, Cuttable) else _zeroed(model, groups, stay)


def _cut(model: nn.Module, stay: Mapping[str, Tensor]) -> nn.Module:
    held = {weight.name for weight in learned(model) if weight.form is not None and not kept(weight).all()}
    whole = plain(model)
    assert isinstance(whole, Cuttable)
    smaller = whole.without(stay).requires_grad_(True).eval()
    for weight in [weight for weight in learned(smaller) if weight.name in held]:
        mask(weight, weight.value != 0)
    return smaller


def _zeroed(model: nn.Module, groups: Sequence[Group], stay: Mapping[str, Tensor]) -> nn.Module:
    for weight, places in placed(model, groups):
        keep = kept(weight)
        for group, place in places:
            keep = keep & along(stay[group.name].to(keep.device), place, keep.dim())
        mask(weight, keep)
    return model


def mask(weight: Weight, keep: Tensor) -> None:
    """Hold a weight to what is kept of it; free where that is all."""
    if keep.all():
        weight.free()
    else:
        weight.hold(Mask(keep))
