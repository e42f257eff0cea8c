"""A torch model as an artefact: its weights as their forms store them, its computation as a graph. The one bridge."""

import builtins
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense, Stored
from sottovoce.errors import SottovoceError
from sottovoce.models import attention, fbank, frontend, layers
from sottovoce.techniques.activations import Dynamic, Static
from sottovoce.techniques.inputs import input_form
from sottovoce.techniques.tracing import Tracer
from sottovoce.techniques.weights import Weight, learned, plain

_FUNCTIONS: dict[Any, str] = {
    operator.mul: "mul", torch.mul: "mul", operator.truediv: "div", torch.div: "div",
    operator.add: "add", torch.add: "add", operator.sub: "sub", torch.sub: "sub",
    torch.log1p: "log1p", torch.relu: "relu", torch.sigmoid: "sigmoid", torch.tanh: "tanh",
    nn.functional.elu: "elu",
}
_JOINS: dict[Any, str] = {torch.cat: "concat", torch.stack: "stack"}


def pack(model: nn.Module, meta: Mapping[str, Any] | None = None) -> Artefact:
    """The artefact of a model with its forms, for the first of its outputs; `meta` goes along, JSON values only.

    Raises SottovoceError naming the first operation that the format does not know.
    """
    named = list(learned(model))
    norms = {name: module for name, module in model.named_modules() if isinstance(module, layers.BatchNorm)}
    tensors: dict[str, Stored] = {
        weight.name: weight.stored() for weight in named if weight.name.rpartition(".")[0] not in norms
    }
    for name, norm in norms.items():
        tensors |= {f"{name}.{role}": Dense(values) for role, values in _folded(norm).items()}
    kept = {weight.name: reason for weight in named if weight.name in tensors and (reason := _uncompressed(weight))}
    parameters = sum(weight.value.numel() for weight in named)
    return Artefact(trace(plain(model)), tensors, {**(meta or {}), "parameters": parameters, "not_compressed": kept})


def _uncompressed(weight: Weight) -> str:
    """Why a tensor lies in the file as full floats; empty if it does not."""
    if not isinstance(weight.stored(), Dense):
        return ""
    reason = "bias or norm, left out of pruning and clustering" if weight.value.dim() < 2 else "no stage took it"
    return reason if weight.form is None else f"{reason}; 16-bit floats"


def _folded(norm: layers.BatchNorm) -> dict[str, NDArray[Any]]:
    """Scale and shift of a batch norm, as they are stored."""
    with torch.no_grad():
        scale, shift = (part.cpu().numpy() for part in norm.folded())
    kind = np.float16 if norm.rounded else np.float32
    return {"scale": scale.astype(kind), "shift": shift.astype(kind)}


def trace(model: nn.Module) -> Graph:
    """What leads to the model's first output; modules of the front end and of torch.nn are single operations."""
    builder = _Builder(model)
    nodes = list(_Tracer().trace(model).nodes)
    wanted: set[fx.Node] = set()
    for node in reversed(nodes):
        if node.op == "output":
            wanted.add(_first(node.args[0]))
        elif node in wanted:
            wanted.update(node.all_input_nodes)
    for node in nodes:
        if node in wanted or node.op in ("placeholder", "output"):
            builder.add(node)
    return Graph(tuple(builder.inputs), tuple(builder.outputs), tuple(builder.nodes))


class _Tracer(Tracer):
    """Has what rounds a module's input as a step of its own, before the module."""

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        form = input_form(m)
        if form is not None:
            args = form(args[0]), *args[1:]
        return super().call_module(m, forward, args, kwargs)


def _first(results: Any) -> fx.Node:
    """The output that is shipped, of a model that has one or several."""
    if isinstance(results, fx.Node) and isinstance(results.target, type) and issubclass(results.target, tuple):
        results = results.args               # a named tuple is a step of its own
    first: fx.Node = results[0] if isinstance(results, tuple) else results
    return first


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
            self.outputs = [self.values[_first(node.args[0])]]
        elif node.op == "call_module":
            module = self.model.get_submodule(str(node.target))
            kind = next((kind for kind in _MODULES if isinstance(module, kind)), None)
            if kind is None:
                raise SottovoceError(f"{node.target}: {type(module).__name__} has no place in the file format yet")
            _MODULES[kind](self, node, module)
        elif node.op == "call_function" and node.target in _FUNCTIONS:
            self.emit(node, _FUNCTIONS[node.target], inputs=len(node.args))
        elif node.op == "call_function" and node.target is nn.functional.silu:
            value = self.values[node.args[0]]        # type: ignore[index]
            self.values[node] = self.append("mul", node.name, value, self.append("sigmoid", f"{node.name}_gate", value))
        elif node.op == "call_function" and node.target in _JOINS and node.args[1:] == (-1,):
            self.emit(node, _JOINS[node.target], sources=node.args[0])
        elif not self.shaped(node):
            raise SottovoceError(f"{node.format_node()}: this operation has no place in the file format yet")

    def shaped(self, node: fx.Node) -> bool:
        """Adds an operation that only moves features about; False if it is none of those that the format knows."""
        match node.target, node.args[1:]:
            case ("unsqueeze", (-1,)):
                self.emit(node, "unsqueeze")
            case ("float", ()):          # as all values are in the file
                self.values[node] = self.values[node.args[0]]        # type: ignore[index]
            case (torch.log_softmax, (-1,)):
                self.emit(node, "log_softmax")
            case ("transpose", (-1, -2) | (-2, -1)):
                self.emit(node, "transpose")
            case ("flatten", (-2,)):
                self.emit(node, "flatten")
            case ("unflatten", (-1, (-1, int(size)))):
                self.emit(node, "unflatten", size=size)
            case (operator.getitem, ((builtins.Ellipsis, slice(start=int(start), stop=int(stop), step=None)),)):
                self.emit(node, "slice", start=start, stop=stop)
            case _:
                return False
        return True

    def emit(self, node: fx.Node, op: str, inputs: int = 1, sources: Any = None,
             tensors: dict[str, str] | None = None, **attributes: Any) -> None:
        """One node of the graph for one of the trace; `sources` are its inputs where they are not its arguments."""
        names = tuple(self.values[source] for source in sources or node.args[:inputs])       # type: ignore[index]
        self.values[node] = self.append(op, node.name, *names, tensors=tensors, **attributes)

    def append(self, op: str, name: str, *inputs: str, tensors: dict[str, str] | None = None, **attributes: Any) -> str:
        """A node of the graph that is no node of the trace; its name."""
        self.nodes.append(Node(op, name, inputs, tensors or {}, attributes))
        return name


_Emit = Callable[[_Builder, fx.Node, Any], None]


def _framed(op: str) -> _Emit:
    def emit(builder: _Builder, node: fx.Node, module: frontend.Frames | frontend.OverlapAdd) -> None:
        builder.emit(node, op, n_fft=module.n_fft, hop=module.hop, window=module.window_name)

    return emit


def _module(op: str, inputs: int = 1, tensors: tuple[str, ...] = (), **attributes: Callable[[Any], Any]) -> _Emit:
    """A module that is one operation: its tensors by role, and each attribute as a function of the module."""
    def emit(builder: _Builder, node: fx.Node, module: nn.Module) -> None:
        names = {role: f"{node.target}.{role}" for role in tensors}
        values = {name: of(module) for name, of in attributes.items()}
        builder.emit(node, op, inputs, tensors=names, **values)

    return emit


def _recurrent(builder: _Builder, node: fx.Node, module: nn.LSTM | nn.GRU) -> None:
    """A stack of layers as one node each, and its way back, if it has one; they hand on their outputs only."""
    add, value = builder.append, builder.values[node.args[0]]        # type: ignore[index]
    op = "lstm" if isinstance(module, nn.LSTM) else "gru"

    def layer(name: str, value: str, suffix: str) -> str:
        roles = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        tensors = {role: f"{node.target}.{role}_{suffix}" for role in roles}
        return add(op, name, value, tensors=tensors, hidden=module.hidden_size)

    for number in range(module.num_layers):
        name = f"{node.name}_{number}"
        onwards = layer(name, value, f"l{number}")
        if module.bidirectional:
            back = layer(f"{name}_back", add("reverse", f"{name}_turned", value), f"l{number}_reverse")
            onwards = add("concat", f"{name}_both", onwards, add("reverse", f"{name}_back_turned", back))
        value = onwards
    builder.values[node] = value


def _linear(builder: _Builder, node: fx.Node, module: nn.Linear) -> None:
    roles = ("weight",) if module.bias is None else _BOTH
    builder.emit(node, "linear", tensors={role: f"{node.target}.{role}" for role in roles})


def _attention(builder: _Builder, node: fx.Node, module: attention.Attention) -> None:
    roles = ("position", "content_bias", "position_bias")
    sees = {"before": module.left, "chunk": module.chunk} if module.chunk else {"before": module.left,
                                                                                 "after": module.right}
    context = {name: frames for name, frames in sees.items() if frames >= 0}
    builder.emit(node, "attention", inputs=3, tensors={role: f"{node.target}.{role}" for role in roles},
                 heads=module.heads, **context)


def _nothing(builder: _Builder, node: fx.Node, module: nn.Module) -> None:
    """A module that does nothing, once it is trained or ever."""
    builder.values[node] = builder.values[node.args[0]]      # type: ignore[index]


_BOTH = ("weight", "bias")
_MODULES: dict[type[nn.Module], _Emit] = {           # a subclass before what it is one of
    fbank.Fbank: _module("fbank", n_fft=lambda module: module.n_fft, hop=lambda module: module.hop,
                         bins=lambda module: module.bins, rate=lambda module: module.rate,
                         low=lambda module: module.low, high=lambda module: module.high),
    frontend.Stft: _framed("stft"),
    frontend.InverseStft: _framed("istft"),
    frontend.Frames: _framed("frames"),
    frontend.OverlapAdd: _framed("overlap_add"),
    frontend.Magnitude: _module("magnitude"),
    frontend.RunningRms: _module("running_rms", decay=lambda module: module.decay, floor=lambda module: module.floor,
                                 window_energy=lambda module: module.window_energy),
    frontend.Affine: _module("affine", scale=lambda module: module.scale, shift=lambda module: module.shift),
    frontend.PowerLaw: _module("power_law", power=lambda module: module.power),
    frontend.ComplexProduct: _module("complex_mul", inputs=2),
    layers.BatchNorm: _module("scale_shift", tensors=("scale", "shift")),
    layers.FrameConv: _module("conv2d", tensors=_BOTH, stride=lambda module: module.stride[1],
                              pad=lambda module: module.padding[1]),
    layers.FrameConvTranspose: _module("conv_transpose2d", tensors=_BOTH, stride=lambda module: module.stride[1],
                                       pad=lambda module: module.padding[1],
                                       extra=lambda module: module.extra),
    layers.TimeConv: _module("conv1d", tensors=_BOTH, dilation=lambda module: module.dilation[0],
                             groups=lambda module: module.groups),
    layers.DepthConv: _module("conv1d", tensors=_BOTH, dilation=lambda module: module.dilation[0],
                              groups=lambda module: module.groups, after=lambda module: module.after),
    layers.AroundConv: _module("conv1d", tensors=_BOTH, dilation=lambda module: module.dilation[0],
                               groups=lambda module: module.groups, after=lambda module: module.after),
    layers.GlobalNorm: _module("global_norm", tensors=_BOTH, eps=lambda module: module.eps),
    layers.TimeNorm: _module("time_norm", eps=lambda module: module.eps),
    layers.TimeMean: _module("time_mean"),
    layers.Concat: _module("concat", inputs=2),
    layers.Fold: _module("fold", size=lambda module: module.size),
    layers.Take: _module("take", channels=lambda module: module.channels.tolist()),
    attention.Attention: _attention,
    nn.LayerNorm: _module("layer_norm", tensors=_BOTH, eps=lambda module: module.eps),
    nn.PReLU: _module("prelu", tensors=("weight",)),
    nn.Linear: _linear,
    nn.LSTM: _recurrent,
    nn.GRU: _recurrent,
    nn.Dropout: _nothing,
    layers.SpecAugment: _nothing,
    nn.Identity: _nothing,
    Static: _module("quantize", bits=lambda form: int(form.bits), low=lambda form: float(form.low),
                    high=lambda form: float(form.high)),
    Dynamic: _module("quantize_dynamic", bits=lambda form: int(form.bits)),
}
