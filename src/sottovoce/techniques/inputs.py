"""Forms laid on what comes into a module, as a module of its own within it."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

NAME = "input_form"      # of the form, within the module


class InputForm(nn.Module):
    """What a module's first input is rounded to. Its arguments are exactly its state-dict entries."""

    def forward(self, x: Tensor) -> Tensor:
        """The input as the module sees it."""
        raise TypeError(f"{type(self).__name__} does not say what an input becomes")


def lay(module: nn.Module, form: InputForm) -> None:
    """Have the module see its first input through this form from now on, in place of an earlier one."""
    if input_form(module) is None:
        module.register_forward_pre_hook(_see)
    module.add_module(NAME, form)


def input_form(module: nn.Module) -> InputForm | None:
    """The form on the module's first input; None if it comes as it is."""
    form = module._modules.get(NAME)
    return form if isinstance(form, InputForm) else None


def input_forms(model: nn.Module) -> Mapping[str, InputForm]:
    """All forms on inputs, by the names that they have as modules of the model."""
    return {name: module for name, module in model.named_modules() if isinstance(module, InputForm)}


def host(model: nn.Module, name: str) -> nn.Module:
    """The module that a form of this name is for."""
    return model.get_submodule(name.rpartition(".")[0])


def _see(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return module.input_form(inputs[0]), *inputs[1:]
