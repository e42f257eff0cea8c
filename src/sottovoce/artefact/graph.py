"""What a model computes, as plain data: a list of named operations over named values.

Values are float32 arrays, batch first, time second. The operations, their inputs, tensors and attributes:

| op | inputs -> value | tensors | attributes |
|---|---|---|---|
| stft | waveform [B, N] -> spectrum [B, T, F, 2] (real, imaginary last) | - | n_fft, hop, window |
| istft | spectrum [B, T, F, 2] -> waveform [B, N] | - | n_fft, hop, window |
| frames | waveform [B, N] -> [B, T, n_fft]: the windows of stft without the transform | - | n_fft, hop, window |
| overlap_add | [B, T, n_fft] -> waveform [B, N]: istft without the transform | - | n_fft, hop, window |
| magnitude | spectrum [B, T, F, 2] -> sqrt(re^2 + im^2 + 1e-12) [B, T, F] | - | - |
| power_law | spectrum [B, T, F, 2] -> spectrum * (re^2 + im^2 + 1e-12)^((power - 1) / 2) | - | power |
| running_rms | spectrum [B, T, F, 2] -> level [B, T, 1] | - | decay, floor, window_energy |
| complex_mul | a, b [..., 2] -> their product as complex numbers, broadcast | - | - |
| add, sub, mul, div | a, b -> a + b, a - b, a * b, a / b, broadcast as numpy does | - | - |
| affine | x -> scale * x + shift | - | scale, shift |
| scale_shift | [..., C] -> scale * x + shift, per channel | scale [C], shift [C] | - |
| layer_norm | [..., C] -> (x - mean) / sqrt(variance + eps) * weight + bias | weight [C], bias [C] | eps |
| log1p, relu, elu, sigmoid, tanh | x -> the function of every element | - | - |
| prelu | [..., C] -> x where it is positive, else weight * x | weight [1] or [C] | - |
| concat | one or more [..., C] -> joined on the last axis | - | - |
| stack | one or more [...] -> joined on a new last axis | - | - |
| slice | [..., C] -> its places start to stop - 1 | - | start, stop |
| transpose | [..., P, Q] -> [..., Q, P] | - | - |
| flatten | [..., P, Q] -> [..., P * Q] | - | - |
| unflatten | [..., P * size] -> [..., P, size] | - | size |
| unsqueeze | x -> x with a new last axis of length 1 | - | - |
| linear | [..., I] -> [..., O] | weight [O, I], bias [O] | - |
| conv1d | [B, T, I] -> [B, T, O], causal | weight [O, I / groups, K], bias [O] | dilation, groups |
| conv2d | [B, T, F, I] -> [B, T, F', O], causal | weight [O, I, KT, KF], bias [O] | stride, pad |
| conv_transpose2d | [B, T, F, I] -> [B, T, F', O], causal | weight [I, O, KT, KF], bias [O] | stride, pad, extra |
| lstm | [B, T, I] -> [B, T, H] | weight_ih [4H, I], weight_hh [4H, H], bias_ih [4H], bias_hh [4H] | hidden |

The first two axes are batch and time: what works on the last axes leaves those alone. A convolution is torch's, over
values whose channels come last; in time it sees this frame and the ones before it, zeros before the first.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Op:
    """What a node of one kind must bring along."""

    inputs: int                        # how many; 0 stands for one or more
    tensors: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()


OPS: dict[str, Op] = {
    "stft": Op(1, attributes=("n_fft", "hop", "window")),
    "istft": Op(1, attributes=("n_fft", "hop", "window")),
    "frames": Op(1, attributes=("n_fft", "hop", "window")),
    "overlap_add": Op(1, attributes=("n_fft", "hop", "window")),
    "magnitude": Op(1),
    "power_law": Op(1, attributes=("power",)),
    "running_rms": Op(1, attributes=("decay", "floor", "window_energy")),
    "complex_mul": Op(2),
    "add": Op(2),
    "sub": Op(2),
    "mul": Op(2),
    "div": Op(2),
    "affine": Op(1, attributes=("scale", "shift")),
    "scale_shift": Op(1, tensors=("scale", "shift")),
    "layer_norm": Op(1, tensors=("weight", "bias"), attributes=("eps",)),
    "log1p": Op(1),
    "relu": Op(1),
    "elu": Op(1),
    "sigmoid": Op(1),
    "tanh": Op(1),
    "prelu": Op(1, tensors=("weight",)),
    "concat": Op(0),
    "stack": Op(0),
    "slice": Op(1, attributes=("start", "stop")),
    "transpose": Op(1),
    "flatten": Op(1),
    "unflatten": Op(1, attributes=("size",)),
    "unsqueeze": Op(1),
    "linear": Op(1, tensors=("weight", "bias")),
    "conv1d": Op(1, tensors=("weight", "bias"), attributes=("dilation", "groups")),
    "conv2d": Op(1, tensors=("weight", "bias"), attributes=("stride", "pad")),
    "conv_transpose2d": Op(1, tensors=("weight", "bias"), attributes=("stride", "pad", "extra")),
    "lstm": Op(1, tensors=("weight_ih", "weight_hh", "bias_ih", "bias_hh"), attributes=("hidden",)),
}
ENDS = (("stft", "istft"), ("frames", "overlap_add"))          # how a model may begin and end


@dataclass(frozen=True)
class Node:
    """One operation; its single value is known by the node's name."""

    op: str
    name: str
    inputs: tuple[str, ...]
    tensors: dict[str, str] = field(default_factory=dict)          # role -> name of a stored tensor
    attributes: dict[str, Any] = field(default_factory=dict)       # JSON values only


@dataclass(frozen=True)
class Graph:
    """Nodes in the order in which they run; every input of a node comes before it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
