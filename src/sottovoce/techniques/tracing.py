"""A model as a sequence of modules and functions: the one rule of what counts as a single step."""

from torch import fx, nn

from sottovoce.techniques.inputs import InputForm


class Tracer(fx.Tracer):
    """Traces down to modules that have no modules of their own but a form of their input, and those of torch.nn."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return all(isinstance(child, InputForm) for child in module.children()) or super().is_leaf_module(module, name)
