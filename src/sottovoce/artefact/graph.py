"""What a model computes, as plain data: a list of named operations over named values.

Values are float32 arrays, batch first, time second. The operations, their inputs, tensors and attributes:

| op | inputs -> value | tensors | attributes |
|---|---|---|---|
| stft | waveform [B, N] -> spectrum [B, T, F, 2] (real, imaginary last) | - | n_fft, hop, window |
| istft | spectrum [B, T, F, 2] -> waveform [B, N] | - | n_fft, hop, window |
| frames | waveform [B, N] -> [B, T, n_fft]: the windows of stft without the transform | - | n_fft, hop, window |
| overlap_add | [B, T, n_fft] -> waveform [B, N]: istft without the transform | - | n_fft, hop, window |
| fbank | waveform [B, N] -> log-mel filter banks [B, T, bins] | - | n_fft, hop, bins, rate, low, high |
| magnitude | spectrum [B, T, F, 2] -> sqrt(re^2 + im^2 + 1e-12) [B, T, F] | - | - |
| power_law | spectrum [B, T, F, 2] -> spectrum * (re^2 + im^2 + 1e-12)^((power - 1) / 2) | - | power |
| running_rms | spectrum [B, T, F, 2] -> level [B, T, 1] | - | decay, floor, window_energy |
| complex_mul | a, b [..., 2] -> their product as complex numbers, broadcast | - | - |
| add, sub, mul, div | a, b -> a + b, a - b, a * b, a / b, broadcast as numpy does | - | - |
| affine | x -> scale * x + shift | - | scale, shift |
| scale_shift | [..., C] -> scale * x + shift, per channel | scale [C], shift [C] | - |
| layer_norm | [..., C] -> (x - mean) / sqrt(variance + eps) * weight + bias | weight [C], bias [C] | eps |
| global_norm | [B, T, C] -> as layer_norm, but over all frames and channels | weight [C], bias [C] | eps |
| time_norm | [B, T, ...] -> (x - mean) / sqrt(variance + eps), each channel over all frames | - | eps |
| quantize | x -> the nearest of 2^bits values, evenly spaced from low to high | - | bits, low, high |
| quantize_dynamic | x -> as quantize, from the least to the greatest of an utterance's x; not causal | - | bits |
| log1p, relu, elu, sigmoid, tanh | x -> the function of every element | - | - |
| log_softmax | [..., C] -> x - log(sum of exp(x)) | - | - |
| prelu | [..., C] -> x where it is positive, else weight * x | weight [1] or [C] | - |
| concat | one or more [..., C] -> joined on the last axis | - | - |
| stack | one or more [...] -> joined on a new last axis | - | - |
| slice | [..., C] -> its places start to stop - 1 | - | start, stop |
| take | [..., C] -> its places `channels`, a zero for -1 | - | channels |
| transpose | [..., P, Q] -> [..., Q, P] | - | - |
| flatten | [..., P, Q] -> [..., P * Q] | - | - |
| unflatten | [..., P * size] -> [..., P, size] | - | size |
| unsqueeze | x -> x with a new last axis of length 1 | - | - |
| time_mean | [B, T, ...] -> [B, 1, ...], the mean of all frames | - | - |
| reverse | [B, T, ...] -> its frames, the last first | - | - |
| fold | [B, T, ..., C] -> [B, T div size, ..., size C], frames side by side | - | size |
| linear | [..., I] -> [..., O] | weight [O, I], bias [O] or none | - |
| conv1d | [B, T, I] -> [B, T, O] | weight [O, I / groups, K], bias [O] | dilation, groups, after or none (0) |
| conv2d | [B, T, F, I] -> [B, T, F', O], causal | weight [O, I, KT, KF], bias [O] | stride, pad |
| conv_transpose2d | [B, T, F, I] -> [B, T, F', O], causal | weight [I, O, KT, KF], bias [O] | stride, pad, extra |
| attention | query, key, value [B, T, C] -> [B, T, C] | position [C, P], two biases [C] | heads, before, after, chunk |
| lstm | [B, T, I] -> [B, T, H] | weight_ih [4H, I], weight_hh [4H, H], bias_ih [4H], bias_hh [4H] | hidden |
| gru | [B, T, I] -> [B, T, H] | weight_ih [3H, I], weight_hh [3H, H], bias_ih [3H], bias_hh [3H] | hidden |

The first two axes are batch and time: what works on the last axes leaves those alone. A convolution is torch's, over
values whose channels come last; in time it sees this frame and the ones before it, zeros before the first; only a
conv1d may see frames `after` it, zeros after the last. Attention has the biases content_bias
and position_bias; without `before` or `after` it sees all frames there. With `chunk` a frame sees all frames of its
chunk, of so many each, and `before` frames before the chunk's first.

The first input of a graph is what is streamed, the others are conditions, which are known as a whole before.
"""

from dataclasses import dataclass, field
from math import lcm
from typing import Any


@dataclass(frozen=True)
class Op:
    """What a node of one kind must bring along."""

    inputs: int                        # how many; 0 stands for one or more
    tensors: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()     # those of the tensors and attributes that may be missing


OPS: dict[str, Op] = {
    "stft": Op(1, attributes=("n_fft", "hop", "window")),
    "istft": Op(1, attributes=("n_fft", "hop", "window")),
    "frames": Op(1, attributes=("n_fft", "hop", "window")),
    "overlap_add": Op(1, attributes=("n_fft", "hop", "window")),
    "fbank": Op(1, attributes=("n_fft", "hop", "bins", "rate", "low", "high")),
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
    "global_norm": Op(1, tensors=("weight", "bias"), attributes=("eps",)),
    "time_norm": Op(1, attributes=("eps",)),
    "quantize": Op(1, attributes=("bits", "low", "high")),
    "quantize_dynamic": Op(1, attributes=("bits",)),
    "log1p": Op(1),
    "relu": Op(1),
    "elu": Op(1),
    "sigmoid": Op(1),
    "tanh": Op(1),
    "log_softmax": Op(1),
    "prelu": Op(1, tensors=("weight",)),
    "concat": Op(0),
    "stack": Op(0),
    "slice": Op(1, attributes=("start", "stop")),
    "take": Op(1, attributes=("channels",)),
    "transpose": Op(1),
    "flatten": Op(1),
    "unflatten": Op(1, attributes=("size",)),
    "unsqueeze": Op(1),
    "time_mean": Op(1),
    "reverse": Op(1),
    "fold": Op(1, attributes=("size",)),
    "linear": Op(1, tensors=("weight", "bias"), optional=("bias",)),
    "conv1d": Op(1, tensors=("weight", "bias"), attributes=("dilation", "groups", "after"), optional=("after",)),
    "conv2d": Op(1, tensors=("weight", "bias"), attributes=("stride", "pad")),
    "conv_transpose2d": Op(1, tensors=("weight", "bias"), attributes=("stride", "pad", "extra")),
    "attention": Op(3, tensors=("position", "content_bias", "position_bias"),
                    attributes=("heads", "before", "after", "chunk"), optional=("before", "after", "chunk")),
    "lstm": Op(1, tensors=("weight_ih", "weight_hh", "bias_ih", "bias_hh"), attributes=("hidden",)),
    "gru": Op(1, tensors=("weight_ih", "weight_hh", "bias_ih", "bias_hh"), attributes=("hidden",)),
}
GATES = {"lstm": 4, "gru": 3}            # of the layers that hear their own last values: parts of each of their tensors
WHOLE = {                                # what needs all frames at once
    "global_norm", "time_norm", "time_mean", "reverse", "quantize_dynamic", "fbank", "fold", "attention",
}
ENDS = (("stft", "istft"), ("frames", "overlap_add"))          # how a model from waveform to waveform may begin and end
FEATURES = "fbank"                       # how one begins whose output are features
MOST_FRAMES = 1 << 16                    # that a model may take at once and still stream


@dataclass(frozen=True)
class Node:
    """One operation; its single value is known by the node's name."""

    op: str
    name: str
    inputs: tuple[str, ...]
    tensors: dict[str, str] = field(default_factory=dict)          # role -> name of a stored tensor
    attributes: dict[str, Any] = field(default_factory=dict)       # JSON values only

    @property
    def causal(self) -> bool:
        """Whether it sees no frame that is still to come."""
        return self.op not in WHOLE and not self.attributes.get("after")


@dataclass(frozen=True)
class Graph:
    """Nodes in the order in which they run; every input of a node comes before it."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]

    @property
    def streamed(self) -> tuple[Node, ...]:
        """The nodes that depend on the first input; the others run once, when the conditions are known."""
        dependent, nodes = {*self.inputs[:1]}, []
        for node in self.nodes:
            if dependent.intersection(node.inputs):
                dependent.add(node.name)
                nodes.append(node)
        return tuple(nodes)

    @property
    def causal(self) -> bool:
        """Whether the output can be known while the first input still comes."""
        return self.piece > 0

    @property
    def piece(self) -> int:
        """How many frames of the first input go through at once when it streams; 0: it has to be there as a whole.

        A model that begins with filter banks may fold frames, and its attention see chunks: then these are whole.
        """
        if all(node.causal for node in self.streamed):
            return 1
        if not any(node.op == FEATURES for node in self.streamed):
            return 0
        folded: dict[str, int] = {}                              # frames that are one of a value
        piece = 1
        for node in self.streamed:
            every = max((folded.get(name, 1) for name in node.inputs), default=1)
            folded[node.name] = every * (node.attributes["size"] if node.op == "fold" else 1)
            piece = lcm(piece, folded[node.name] * node.attributes.get("chunk", 1))
            if not (node.causal or _by_pieces(node)) or piece > MOST_FRAMES:
                return 0
        return piece


def _by_pieces(node: Node) -> bool:
    """Whether a node that is not causal gives all frames of a piece of the right size as soon as that is there."""
    if node.op == FEATURES:
        n_fft, hop = node.attributes["n_fft"], node.attributes["hop"]
        return bool(n_fft % 2 == hop % 2 == 0 and n_fft >= hop)
    return node.op == "fold" or (node.op == "attention" and "chunk" in node.attributes)
