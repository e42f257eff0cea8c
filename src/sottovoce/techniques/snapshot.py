"""A model with its forms as tensors and a few words, and back: what checkpoints hold."""

from collections.abc import Mapping

from torch import Tensor, nn

from sottovoce.errors import FormatError
from sottovoce.techniques import FORMS
from sottovoce.techniques.weights import Weight, learned

Snapshot = tuple[dict[str, Tensor], dict[str, str]]      # state dict, weight name -> name of its form


def snapshot(model: nn.Module) -> Snapshot:
    """The state of a model and the form of each of its weights."""
    names = {form: name for name, form in FORMS.items()}
    forms = {weight.name: names[type(weight.form)] for weight in learned(model) if weight.form is not None}
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}, forms


def restore(model: nn.Module, tensors: Mapping[str, Tensor], forms: Mapping[str, str]) -> nn.Module:
    """The freshly built model with that state. Raises FormatError when the state is of another model."""
    for weight in list(learned(model)):
        if weight.name in forms:
            _lay(weight, forms[weight.name], tensors)
    wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if wanted != given:
        name = next(name for name in [*wanted, *given] if wanted.get(name) != given.get(name))
        shapes = f"{name} should be {_shape(wanted, name)}, got {_shape(given, name)}"
        raise FormatError(f"checkpoint of another model: {shapes}")
    model.load_state_dict(dict(tensors))
    return model


def _lay(weight: Weight, kind: str, tensors: Mapping[str, Tensor]) -> None:
    module, _, attribute = weight.name.rpartition(".")
    prefix = f"{module}.parametrizations.{attribute}.0." if module else f"parametrizations.{attribute}.0."
    parts = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    try:
        form = FORMS[kind](**parts)
    except (KeyError, TypeError) as error:
        raise FormatError(f"checkpoint: {weight.name}: form {kind!r} cannot be made again ({error})") from None
    weight.hold(form)


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str) -> str:
    return "x".join(map(str, shapes[name])) if name in shapes else "absent"
