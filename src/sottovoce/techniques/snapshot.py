"""A model with its forms as tensors and a few words, and back: what checkpoints hold."""

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

from torch import Tensor, nn

from sottovoce.errors import FormatError
from sottovoce.techniques import FORMS, INPUT_FORMS
from sottovoce.techniques.factors import factor, ranks_of
from sottovoce.techniques.inputs import host, input_forms, lay
from sottovoce.techniques.weights import learned, tie, ties

Form = TypeVar("Form", bound=nn.Module)


class Snapshot(NamedTuple):
    """What a model has become since it was built."""

    tensors: Mapping[str, Tensor]        # its state dict
    forms: Mapping[str, str]             # name of a weight, or of a form of what comes in -> name of the form
    shared: Mapping[str, str]            # name of a module -> name of the one that it is
    factored: Mapping[str, int]          # name of a linear layer that is two thinner ones -> its rank


BECOME = Snapshot._fields[1:]            # notes beside the tensors of a checkpoint


def snapshot(model: nn.Module) -> Snapshot:
    """The state of a model, copied, the form of each of its weights, and which modules are one or factored."""
    names = {form: name for name, form in FORMS.items()}
    forms = {weight.name: names[type(weight.form)] for weight in learned(model) if weight.form is not None}
    inputs = {form: name for name, form in INPUT_FORMS.items()}
    forms |= {name: inputs[type(form)] for name, form in input_forms(model).items()}
    tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    return Snapshot(tensors, forms, ties(model), ranks_of(model))


def restore(model: nn.Module, tensors: Mapping[str, Tensor], forms: Mapping[str, str], shared: Mapping[str, str],
            factored: Mapping[str, int]) -> nn.Module:
    """The freshly built model with that state. Raises FormatError when the state is of another model."""
    try:
        factor(model, factored)
        tie(model, shared)
        for name in (name for name, kind in forms.items() if kind in INPUT_FORMS):
            lay(host(model, name), _made(INPUT_FORMS, forms[name], name, f"{name}.", tensors))
    except AttributeError as error:
        raise FormatError(f"checkpoint of another model: {error}") from None
    for weight in list(learned(model)):
        if weight.name in forms:
            module, _, attribute = weight.name.rpartition(".")
            prefix = f"{module}.parametrizations.{attribute}.0." if module else f"parametrizations.{attribute}.0."
            weight.hold(_made(FORMS, forms[weight.name], weight.name, prefix, tensors))
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != given:
        name = next(name for name in [*wanted, *given] if wanted.get(name) != given.get(name))
        shapes = f"{name} should be {_shape(wanted, name)}, got {_shape(given, name)}"
        raise FormatError(f"checkpoint of another model: {shapes}")
    model.load_state_dict(dict(tensors))
    return model


def _made(table: Mapping[str, type[Form]], kind: str, name: str, prefix: str, tensors: Mapping[str, Tensor]) -> Form:
    """The form of that kind, of its tensors, whose names begin with the prefix."""
    parts = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        return table[kind](**parts)
    except (KeyError, TypeError) as error:
        raise FormatError(f"checkpoint: {name}: form {kind!r} cannot be made again ({error})") from None


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return "x".join(map(str, shapes[name])) if name in shapes else "absent"
