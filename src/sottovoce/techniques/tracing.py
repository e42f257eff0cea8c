"""A model as a sequence of modules and functions: the one rule of what counts as a single step."""

import inspect
from typing import Any

from torch import fx, nn

from sottovoce.techniques.inputs import InputForm


def needed(model: nn.Module) -> list[str]:
    """What a model is called with; what has None for a default it can do without."""
    return [name for name, argument in inspect.signature(model.forward).parameters.items()
            if argument.default is not None]


def first(outputs: Any) -> Any:
    """Of what a model or a layer gives, one value or several: that which its file, or the next layer, has."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


class Tracer(fx.Tracer):
    """Traces down to modules that have no modules of their own but a form of their input, and those of torch.nn."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return all(isinstance(child, InputForm) for child in module.children()) or super().is_leaf_module(module, name)

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> fx.Graph:
        """The steps of a model that is given nothing it can do without."""
        spared = inspect.signature(root.forward).parameters.keys() - needed(root)
        graph = super().trace(root, dict.fromkeys(spared) or concrete_args)
        for node in [node for node in graph.nodes if node.op == "placeholder"]:
            if str(node.target).rpartition("_")[0] in spared:        # numbered, and of no use but to a check
                for check in [*node.users]:
                    graph.erase_node(check)
                graph.erase_node(node)
        return graph
