"""The computation of a torch model as a graph."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn

from sottovoce.artefact.graph import Graph
from sottovoce.errors import SottovoceError, in_code
from sottovoce.packing.builder import Builder, refusal
from sottovoce.packing.functions import function
from sottovoce.packing.modules import MODULES
from sottovoce.techniques import tracing
from sottovoce.techniques.inputs import input_form

# What says the same with channels last, or is an operation of its own.
_INSTEAD: dict[Any, str] = {
    torch.stft: "models.frontend.Stft", torch.istft: "models.frontend.InverseStft",
    nn.Conv1d: "models.layers.TimeConv, DepthConv or AroundConv", nn.Conv2d: "models.layers.FrameConv",
    nn.ConvTranspose2d: "models.layers.FrameConvTranspose", nn.BatchNorm1d: "models.layers.BatchNorm",
    nn.BatchNorm2d: "models.layers.BatchNorm", nn.GroupNorm: "models.layers.GlobalNorm",
    nn.MultiheadAttention: "models.attention.Attention",
}
_TRACERS = (str(Path(torch.__file__).parent), __file__, tracing.__file__)


def trace(model: nn.Module) -> Graph:
    """What leads to the model's first output; modules of the front end and of torch.nn are single operations.

    Raises SottovoceError naming the first step that the format has nothing for, and its line.
    """
    builder = Builder(model)
    steps = _steps(model)
    wanted: set[fx.Node] = set()
    for step in reversed(steps):
        if step.op == "output":
            wanted.add(_first(step.args[0]))
        elif step in wanted:
            wanted.update(step.all_input_nodes)
    for step in steps:
        if step in wanted or step.op in ("placeholder", "output"):
            _add(builder, step)
    return builder.graph()


def _steps(model: nn.Module) -> list[fx.Node]:
    try:
        return list(_Tracer().trace(model).nodes)
    except Exception as error:               # whatever a model's own code raises when it is given no numbers
        raise SottovoceError(f"{type(model).__name__}: expected steps that do not depend on the values, to have them "
                             f"in a file, got {in_code(error)}") from None


class _Tracer(tracing.Tracer):
    """Knows the line of each step, and has what rounds a module's input as a step of its own, before the module."""

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        form = input_form(m)
        if form is not None:
            args = form(args[0]), *args[1:]
        return super().call_module(m, forward, args, kwargs)

    def create_node(self, *args: Any, **kwargs: Any) -> fx.Node:
        step, frame = super().create_node(*args, **kwargs), sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(_TRACERS):
            frame = frame.f_back
        step.meta["line"] = f"{frame.f_code.co_filename}, line {frame.f_lineno}"
        return step


def _first(results: Any) -> fx.Node:
    """The output that is shipped, of a model that has one or several."""
    if isinstance(results, fx.Node) and isinstance(results.target, type) and issubclass(results.target, tuple):
        results = results.args               # a named tuple is a step of its own
    output: fx.Node = tracing.first(results)
    return output


def _add(builder: Builder, step: fx.Node) -> None:
    if step.op == "placeholder":
        builder.inputs.append(step.name)
        builder.values[step] = step.name
    elif step.op == "output":
        builder.outputs = [builder.values[_first(step.args[0])]]
    elif step.op == "call_module":
        module = builder.model.get_submodule(str(step.target))
        kind = next((kind for kind in MODULES if isinstance(module, kind)), None)
        if kind is None:
            raise _unknown(step, type(module))
        if step.kwargs:
            raise refusal(step, f"expected its inputs by position, got {', '.join(step.kwargs)} by name")
        MODULES[kind](builder, step, module)
    elif step.op not in ("call_function", "call_method") or not function(builder, step):
        raise _unknown(step, step.target)


def _unknown(step: fx.Node, what: Any) -> SottovoceError:
    instead = f"; there is sottovoce.{_INSTEAD[what]}" if what in _INSTEAD else ""
    kind = f"{what.__name__} " if isinstance(what, type) else ""
    return refusal(step, f"{kind}has no place in the file format yet{instead}")
