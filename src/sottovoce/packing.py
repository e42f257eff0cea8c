"""A torch model as an artefact: its weights as their forms store them, its computation as a graph. The one bridge."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.errors import SottovoceError
from sottovoce.models import frontend
from sottovoce.techniques.weights import Weight, learned, plain

_LEAVES = (frontend.Stft, frontend.InverseStft, frontend.Magnitude, frontend.RunningRms, frontend.Affine)

_FUNCTIONS: dict[Any, str] = {
    operator.mul: "mul", torch.mul: "mul", operator.truediv: "div", torch.div: "div",
    torch.log1p: "log1p", torch.relu: "relu", torch.sigmoid: "sigmoid",
}


def pack(model: nn.Module, meta: Mapping[str, Any] | None = None) -> Artefact:
    """The artefact of a model with its forms; `meta` goes along, JSON values only.

    Raises SottovoceError naming the first operation that the format does not know.
    """
    named = list(learned(model))
    tensors = {weight.name: weight.stored() for weight in named}
    kept = {weight.name: reason for weight in named if (reason := _uncompressed(weight))}
    parameters = sum(weight.value.numel() for weight in named)
    return Artefact(trace(plain(model)), tensors, {**(meta or {}), "parameters": parameters, "not_compressed": kept})


def _uncompressed(weight: Weight) -> str:
    """Why a tensor lies in the file as full floats; empty if it does not."""
    if not isinstance(weight.stored(), Dense):
        return ""
    reason = "bias or norm, left out of pruning and clustering" if weight.value.dim() < 2 else "no stage took it"
    return reason if weight.form is None else f"{reason}; 16-bit floats"


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, _LEAVES) or super().is_leaf_module(module, name)


def trace(model: nn.Module) -> Graph:
    """What the model computes; modules of the front end and of torch.nn are single operations."""
    builder = _Builder(model)
    for node in _Tracer().trace(model).nodes:
        builder.add(node)
    return Graph(tuple(builder.inputs), tuple(builder.outputs), tuple(builder.nodes))


class _Builder:
    """Collects the nodes of a graph from those of a trace."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.inputs: list[str] = []
        self.outputs: list[str] = []
        self.nodes: list[Node] = []
        self.values: dict[fx.Node, str] = {}         # traced node -> name of its value

    def add(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.inputs.append(node.name)
            self.values[node] = node.name
        elif node.op == "output":
            results = node.args[0] if isinstance(node.args[0], tuple) else (node.args[0],)
            self.outputs = [self.values[result] for result in results]       # type: ignore[index]
        elif node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            kind = next((kind for kind in _MODULES if isinstance(module, kind)), None)
            if kind is None:
                raise SottovoceError(f"{node.target}: {type(module).__name__} has no place in the file format yet")
            _MODULES[kind](self, node, module)
        elif node.target is operator.getitem and node.args[1] == 0:
            self.values[node] = self.values[node.args[0]]        # type: ignore[index]  # outputs of an LSTM
        elif node.op == "call_function" and node.target in _FUNCTIONS:
            self.emit(node, _FUNCTIONS[node.target], inputs=len(node.args))
        elif node.op == "call_method" and node.target == "unsqueeze" and node.args[1:] == (-1,):
            self.emit(node, "unsqueeze")
        else:
            raise SottovoceError(f"{node.format_node()}: this operation has no place in the file format yet")

    def emit(self, node: fx.Node, op: str, inputs: int = 1, tensors: dict[str, str] | None = None,
             **attributes: Any) -> None:
        """One node of the graph for one of the trace."""
        names = tuple(self.values[source] for source in node.args[:inputs])      # type: ignore[index]
        self.nodes.append(Node(op, node.name, names, tensors or {}, attributes))
        self.values[node] = node.name


def _stft(builder: _Builder, node: fx.Node, module: frontend.Stft) -> None:
    builder.emit(node, "stft", n_fft=module.n_fft, hop=module.hop, window=module.window_name)


def _istft(builder: _Builder, node: fx.Node, module: frontend.InverseStft) -> None:
    builder.emit(node, "istft", n_fft=module.n_fft, hop=module.hop, window=module.window_name)


def _magnitude(builder: _Builder, node: fx.Node, module: frontend.Magnitude) -> None:
    builder.emit(node, "magnitude")


def _running_rms(builder: _Builder, node: fx.Node, module: frontend.RunningRms) -> None:
    builder.emit(node, "running_rms", decay=module.decay, floor=module.floor, window_energy=module.window_energy)


def _affine(builder: _Builder, node: fx.Node, module: frontend.Affine) -> None:
    builder.emit(node, "affine", scale=module.scale, shift=module.shift)


def _linear(builder: _Builder, node: fx.Node, module: nn.Linear) -> None:
    builder.emit(node, "linear", tensors={role: f"{node.target}.{role}" for role in ("weight", "bias")})


def _lstm(builder: _Builder, node: fx.Node, module: nn.LSTM) -> None:
    """A stack of layers as one node each; they hand on their outputs only."""
    value = builder.values[node.args[0]]         # type: ignore[index]
    for layer in range(module.num_layers):
        tensors = {role: f"{node.target}.{role}_l{layer}" for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        name = f"{node.name}_{layer}"
        builder.nodes.append(Node("lstm", name, (value,), tensors, {"hidden": module.hidden_size}))
        value = name
    builder.values[node] = value


_MODULES: dict[type[nn.Module], Callable[[_Builder, fx.Node, Any], None]] = {
    frontend.Stft: _stft,
    frontend.InverseStft: _istft,
    frontend.Magnitude: _magnitude,
    frontend.RunningRms: _running_rms,
    frontend.Affine: _affine,
    nn.Linear: _linear,
    nn.LSTM: _lstm,
}
