"""Functions and methods that a model calls on its values, in whatever spelling, as operations of the graph."""

import builtins
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from sottovoce.packing.builder import Builder

# Functions, and methods by their names.
_OF_ONE: dict[Any, str] = {
    torch.log1p: "log1p", "log1p": "log1p", torch.relu: "relu", F.relu: "relu", "relu": "relu",
    torch.sigmoid: "sigmoid", F.sigmoid: "sigmoid", "sigmoid": "sigmoid",
    torch.tanh: "tanh", F.tanh: "tanh", "tanh": "tanh",
}
_OF_TWO: dict[Any, str] = {
    operator.mul: "mul", torch.mul: "mul", "mul": "mul", operator.truediv: "div", torch.div: "div", "div": "div",
    operator.add: "add", torch.add: "add", "add": "add", operator.sub: "sub", torch.sub: "sub", "sub": "sub",
}
_OF_SEVERAL: dict[Any, str] = {torch.cat: "concat", torch.stack: "stack"}
# Scale and shift that make x op number of x, and number op x.
_BY_NUMBER: dict[str, Callable[[float], tuple[float, float]]] = {
    "mul": lambda number: (number, 0), "div": lambda number: (1 / number, 0),
    "add": lambda number: (1, number), "sub": lambda number: (1, -number),
}
_OF_NUMBER = {"mul": _BY_NUMBER["mul"], "add": _BY_NUMBER["add"], "sub": lambda number: (-1, number)}
_NO_MATTER = ("inplace", "_stacklevel")


def function(builder: Builder, step: fx.Node) -> bool:
    """Adds what a function or a method does; False if the format has nothing for it."""
    if not step.args:                    # its values are given by name
        return False
    # What is done in place is done to a copy here: a model that counts on it is found out by comparing outputs.
    named = [value for name, value in step.kwargs.items() if name not in _NO_MATTER and value is not None]
    match step.target, [*step.args[1:], *named]:
        case target, [] if target in _OF_ONE:
            builder.emit(step, _OF_ONE[target])
        case target, [other] if target in _OF_TWO:
            return _of_two(builder, step, _OF_TWO[target], step.args[0], other)
        case target, [-1] if target in _OF_SEVERAL:
            builder.emit(step, _OF_SEVERAL[target], sources=step.args[0])
        case F.silu, []:
            silu(builder, step)
        case F.elu, ([] | [1.0]):
            builder.emit(step, "elu")
        case (torch.log_softmax | F.log_softmax | "log_softmax"), [-1]:
            builder.emit(step, "log_softmax")
        case (torch.unsqueeze | "unsqueeze"), [-1]:
            builder.emit(step, "unsqueeze")
        case (torch.squeeze | "squeeze"), [-1]:
            builder.emit(step, "flatten")
        case (torch.transpose | "transpose"), ([-1, -2] | [-2, -1]):
            builder.emit(step, "transpose")
        case (torch.flatten | "flatten"), ([-2] | [-2, -1]):
            builder.emit(step, "flatten")
        case (torch.unflatten | "unflatten"), [-1, (-1, int(size))]:
            builder.emit(step, "unflatten", size=size)
        case operator.getitem, [(builtins.Ellipsis, None)]:
            builder.emit(step, "unsqueeze")
        case operator.getitem, [(builtins.Ellipsis, slice(start=int() | None as start, stop=int(stop), step=None))]:
            builder.emit(step, "slice", start=start or 0, stop=stop)
        case operator.getitem, [0] if _outputs_and_states(builder, step.args[0]):
            _same(builder, step)
        case "float", []:                # as all values are in the file
            _same(builder, step)
        case _:
            return False
    return True


def silu(builder: Builder, step: fx.Node) -> None:
    value = builder.value(step.args[0], step)
    gate = builder.append("sigmoid", f"{step.name}_gate", value)
    builder.values[step] = builder.append("mul", step.name, value, gate)


def _of_two(builder: Builder, step: fx.Node, op: str, first: Any, second: Any) -> bool:
    """Adds what is done with two values, or with one and a number."""
    if isinstance(second, int | float):
        changes, value, number = _BY_NUMBER, first, second
    elif isinstance(first, int | float):
        changes, value, number = _OF_NUMBER, second, first
    else:
        builder.emit(step, op, sources=(first, second))
        return True
    if op not in changes or (op == "div" and not number):
        return False
    scale, shift = changes[op](number)
    builder.emit(step, "affine", sources=(value,), scale=float(scale), shift=float(shift))
    return True


def _outputs_and_states(builder: Builder, source: Any) -> bool:
    """Whether something is what a recurrent layer of torch.nn gives: a pair, of which the graph has the first."""
    return (isinstance(source, fx.Node) and source.op == "call_module"
            and type(builder.model.get_submodule(str(source.target))) in (nn.LSTM, nn.GRU))


def _same(builder: Builder, step: fx.Node) -> None:
    builder.values[step] = builder.value(step.args[0], step)
