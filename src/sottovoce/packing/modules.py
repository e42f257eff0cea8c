"""Modules that are single operations of the graph: one table, a line for each kind."""

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from sottovoce.models import attention, fbank, frontend, layers
from sottovoce.packing.builder import Builder, refusal
from sottovoce.packing.functions import silu
from sottovoce.techniques.activations import Dynamic, Static

Emit = Callable[[Builder, fx.Node, Any], None]


def _framed(op: str) -> Emit:
    def emit(builder: Builder, step: fx.Node, module: frontend.Frames | frontend.OverlapAdd) -> None:
        builder.emit(step, op, n_fft=module.n_fft, hop=module.hop, window=module.window_name)

    return emit


def _module(op: str, inputs: int = 1, tensors: tuple[str, ...] = (), **attributes: Callable[[Any], Any]) -> Emit:
    """A module that is one operation: its tensors by role, and each attribute as a function of the module."""
    def emit(builder: Builder, step: fx.Node, module: nn.Module) -> None:
        names = {role: f"{step.target}.{role}" for role in tensors}
        values = {name: of(module) for name, of in attributes.items()}
        builder.emit(step, op, inputs, tensors=names, **values)

    return emit


def _recurrent(builder: Builder, step: fx.Node, module: nn.LSTM | nn.GRU) -> None:
    """A stack of layers as one node each, and its way back, if it has one; they hand on their outputs only."""
    if not (module.batch_first and module.bias and not module.proj_size and len(step.args) == 1):
        raise refusal(step, "expected batch_first=True, biases, no projection and no states to begin with")
    add, value = builder.append, builder.value(step.args[0], step)
    op = "lstm" if isinstance(module, nn.LSTM) else "gru"

    def layer(name: str, value: str, suffix: str) -> str:
        roles = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        tensors = {role: f"{step.target}.{role}_{suffix}" for role in roles}
        return add(op, name, value, tensors=tensors, hidden=module.hidden_size)

    for number in range(module.num_layers):
        name = f"{step.name}_{number}"
        onwards = layer(name, value, f"l{number}")
        if module.bidirectional:
            back = layer(f"{name}_back", add("reverse", f"{name}_turned", value), f"l{number}_reverse")
            onwards = add("concat", f"{name}_both", onwards, add("reverse", f"{name}_back_turned", back))
        value = onwards
    builder.values[step] = value


def _linear(builder: Builder, step: fx.Node, module: nn.Linear) -> None:
    roles = ("weight",) if module.bias is None else _BOTH
    builder.emit(step, "linear", tensors={role: f"{step.target}.{role}" for role in roles})


def _attention(builder: Builder, step: fx.Node, module: attention.Attention) -> None:
    roles = ("position", "content_bias", "position_bias")
    sees = {"before": module.left, "chunk": module.chunk} if module.chunk else {"before": module.left,
                                                                                 "after": module.right}
    context = {name: frames for name, frames in sees.items() if frames >= 0}
    builder.emit(step, "attention", inputs=3, tensors={role: f"{step.target}.{role}" for role in roles},
                 heads=module.heads, **context)


def _nothing(builder: Builder, step: fx.Node, module: nn.Module) -> None:
    """A module that does nothing, once it is trained or ever."""
    builder.values[step] = builder.value(step.args[0], step)


def _silu(builder: Builder, step: fx.Node, module: nn.Module) -> None:
    silu(builder, step)


def _elu(builder: Builder, step: fx.Node, module: nn.ELU) -> None:
    if module.alpha != 1:
        raise refusal(step, f"expected alpha=1, got {module.alpha}")
    builder.emit(step, "elu")


def _layer_norm(builder: Builder, step: fx.Node, module: nn.LayerNorm) -> None:
    if len(module.normalized_shape) != 1 or module.weight is None or module.bias is None:
        raise refusal(step, "expected the last axis alone, with a weight and a bias")
    builder.emit(step, "layer_norm", tensors={role: f"{step.target}.{role}" for role in _BOTH}, eps=module.eps)


_BOTH = ("weight", "bias")
MODULES: dict[type[nn.Module], Emit] = {             # a subclass before what it is one of
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
    nn.LayerNorm: _layer_norm,
    nn.PReLU: _module("prelu", tensors=("weight",)),
    nn.ReLU: _module("relu"),
    nn.ELU: _elu,
    nn.SiLU: _silu,
    nn.Sigmoid: _module("sigmoid"),
    nn.Tanh: _module("tanh"),
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
