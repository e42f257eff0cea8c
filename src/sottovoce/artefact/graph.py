"""What a model computes, as plain data: a list of named operations over named values.

Values are float32 arrays, batch first, time second. The operations, their inputs, tensors and attributes:

| op | inputs -> value | tensors | attributes |
|---|---|---|---|
| stft | waveform [B, N] -> spectrum [B, T, F, 2] (real, imaginary last) | - | n_fft, hop, window |
| istft | spectrum [B, T, F, 2] -> waveform [B, N] | - | n_fft, hop, window |
| magnitude | spectrum [B, T, F, 2] -> sqrt(re^2 + im^2 + 1e-12) [B, T, F] | - | - |
| running_rms | spectrum [B, T, F, 2] -> level [B, T, 1] | - | decay, floor, window_energy |
| mul, div | a, b -> a * b, a / b, broadcast as numpy does | - | - |
| affine | x -> scale * x + shift | - | scale, shift |
| log1p, relu, sigmoid | x -> the function of every element | - | - |
| unsqueeze | x -> x with a new last axis of length 1 | - | - |
| linear | [..., I] -> [..., O] | weight [O, I], bias [O] | - |
| lstm | [B, T, I] -> [B, T, H] | weight_ih [4H, I], weight_hh [4H, H], bias_ih [4H], bias_hh [4H] | hidden |
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Op:
    """What a node of one kind must bring along."""

    inputs: int
    tensors: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()


OPS: dict[str, Op] = {
    "stft": Op(1, attributes=("n_fft", "hop", "window")),
    "istft": Op(1, attributes=("n_fft", "hop", "window")),
    "magnitude": Op(1),
    "running_rms": Op(1, attributes=("decay", "floor", "window_energy")),
    "mul": Op(2),
    "div": Op(2),
    "affine": Op(1, attributes=("scale", "shift")),
    "log1p": Op(1),
    "relu": Op(1),
    "sigmoid": Op(1),
    "unsqueeze": Op(1),
    "linear": Op(1, tensors=("weight", "bias")),
    "lstm": Op(1, tensors=("weight_ih", "weight_hh", "bias_ih", "bias_hh"), attributes=("hidden",)),
}


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
