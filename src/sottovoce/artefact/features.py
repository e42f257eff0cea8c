"""Which features of a graph's values belong together: what goes along when one of them goes.

A value [B, T, ...] has an axis of features for each dimension after time, and every index of such an axis has a number.
Indices with one number are one feature: a relu hands on the features that it gets, a linear layer makes new ones.
Features whose numbers are tied are kept or removed together; fixed ones cannot be removed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact.graph import GATES, Graph, Node
from sottovoce.errors import FormatError

MOST = 1 << 22                           # indices of a graph's axes: what a damaged file may ask of the memory

Axis = NDArray[np.intp]                  # the number of the feature at every index
Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Reading:
    """A tensor of weights by which new features depend on others."""

    node: Node
    tensor: str                          # name of a stored tensor
    results: Axis                        # the feature that every row of `matrix` goes into
    sources: Axis                        # the feature that every column is multiplied with

    def matrix(self, weights: NDArray[np.float32]) -> NDArray[np.float32]:
        """The stored weights as [results, sources, taps of a kernel]."""
        rows = weights.swapaxes(0, 1) if self.node.op == "conv_transpose2d" else weights
        return rows.reshape(len(self.results), len(self.sources), -1)


class Features:
    """The features of all values and tensors of a graph, over tensors of these shapes.

    `values` has the axes of a value after batch and time, `tensors` those of a stored tensor (None: not features).
    Raises FormatError when graph and shapes do not fit together.
    """

    def __init__(self, graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = shapes
        self.values: dict[str, Axes] = {name: () for name in graph.inputs}       # a waveform has no features
        self.tensors: dict[str, tuple[Axis | None, ...]] = {}
        self.readings: list[Reading] = []
        self.ties: list[tuple[Axis, Axis]] = []
        self.fixed = np.zeros(MOST, np.bool_)                                    # by number
        self.numbers = self.indices = 0                                          # given out so far
        for node in graph.nodes:
            try:
                self.values[node.name] = RULES[node.op](self, node, *(self.values[name] for name in node.inputs))
            except (LookupError, ValueError, TypeError) as error:
                raise FormatError(f"model: {node.name}: its inputs and tensors do not fit together ({error})") from None
        for name in graph.outputs:
            self.fix(*self.values[name])

    def new(self, count: int, fixed: bool = False) -> Axis:
        """An axis of new features."""
        self.claim(count)
        self.numbers += count
        axis = np.arange(self.numbers - count, self.numbers)
        self.fixed[axis] = fixed
        return axis

    def claim(self, count: int) -> None:
        """Refuse an axis of fewer than no indices, or more than a model could have."""
        if not 0 <= count <= MOST - self.indices:
            raise ValueError(f"an axis of {count} features")
        self.indices += count

    def fix(self, *axes: Axis) -> None:
        """Nothing of these axes can be removed."""
        for axis in axes:
            self.fixed[axis] = True

    def tie(self, one: Axis | None, two: Axis | None) -> None:
        """What is removed of one axis is removed of the other."""
        if one is None or two is None or one is two:
            return
        if len(one) != len(two):
            raise ValueError(f"{len(one)} features against {len(two)}")
        self.ties.append((one, two))

    def lay(self, node: Node, role: str, *axes: Axis | None) -> None:
        """The axes of a tensor of the node."""
        name = node.tensors[role]
        for axis, size in zip(axes, self.shapes[name], strict=True):
            if axis is not None and len(axis) != size:
                raise ValueError(f"{name}: {size} against {len(axis)} features")
        for one, two in zip(self.tensors.setdefault(name, axes), axes, strict=True):
            self.tie(one, two)                                                   # two nodes may share a tensor

    def read(self, node: Node, role: str, results: Axis, sources: Axis) -> None:
        self.readings.append(Reading(node, node.tensors[role], results, sources))

    def size(self, node: Node, role: str, axis: int) -> int:
        return self.shapes[node.tensors[role]][axis]

    def broadcast(self, one: Axes, two: Axes) -> Axes:
        """The axes of an elementwise result of two values."""
        result = []
        for a, b in zip(one, two, strict=True):
            if len(a) == len(b):
                self.tie(a, b)
            elif len(a) == 1 or len(b) == 1:
                self.fix(a if len(a) == 1 else b)
            else:
                raise ValueError(f"{len(a)} features against {len(b)}")
            result.append(a if len(a) >= len(b) else b)
        return tuple(result)


# ---- operations: (features, node, axes of each input) -> axes of the value ----------------------------------


def _stft(features: Features, node: Node, x: Axes) -> Axes:
    return features.new(node.attributes["n_fft"] // 2 + 1, fixed=True), features.new(2, fixed=True)


def _frames(features: Features, node: Node, x: Axes) -> Axes:
    return (features.new(node.attributes["n_fft"], fixed=True),)


def _fbank(features: Features, node: Node, x: Axes) -> Axes:
    return (features.new(node.attributes["bins"], fixed=True),)


def _waveform(features: Features, node: Node, x: Axes) -> Axes:
    features.fix(*x)
    return ()


def _magnitude(features: Features, node: Node, x: Axes) -> Axes:
    features.fix(*x)
    return x[:-1]


def _running_rms(features: Features, node: Node, x: Axes) -> Axes:
    features.fix(*x)
    return (features.new(1, fixed=True),)


def _power_law(features: Features, node: Node, x: Axes) -> Axes:
    features.fix(*x)
    return x


def _complex_mul(features: Features, node: Node, one: Axes, two: Axes) -> Axes:
    features.fix(one[-1], two[-1])
    return features.broadcast(one, two)


def _each(features: Features, node: Node, x: Axes) -> Axes:
    return x


def _whole(features: Features, node: Node, x: Axes) -> Axes:
    features.fix(*x)                 # the least and the greatest may be any of them
    return x


def _pair(features: Features, node: Node, one: Axes, two: Axes) -> Axes:
    return features.broadcast(one, two)


def _prelu(features: Features, node: Node, x: Axes) -> Axes:
    single = features.size(node, "weight", 0) == 1 != len(x[-1])
    features.lay(node, "weight", None if single else x[-1])
    return x


def _scale_shift(features: Features, node: Node, x: Axes) -> Axes:
    for role in ("scale", "shift"):
        features.lay(node, role, x[-1])
    return x


def _layer_norm(features: Features, node: Node, x: Axes) -> Axes:
    features.fix(x[-1])              # every one goes into the mean of all
    for role in ("weight", "bias"):
        features.lay(node, role, x[-1])
    return x


def _concat(features: Features, node: Node, *inputs: Axes) -> Axes:
    *leading, _ = inputs[0]
    for other in inputs[1:]:
        for one, two in zip(leading, other[:-1], strict=True):
            features.tie(one, two)
    features.claim(sum(len(x[-1]) for x in inputs))
    return *leading, np.concatenate([x[-1] for x in inputs])


def _stack(features: Features, node: Node, *inputs: Axes) -> Axes:
    for other in inputs[1:]:
        for one, two in zip(inputs[0], other, strict=True):
            features.tie(one, two)
    return *inputs[0], features.new(len(inputs), fixed=True)


def _slice(features: Features, node: Node, x: Axes) -> Axes:
    start, stop = node.attributes["start"], node.attributes["stop"]
    if not 0 <= start < stop <= len(x[-1]):
        raise ValueError(f"{start}..{stop} of {len(x[-1])}")
    return *x[:-1], x[-1][start:stop]


def _take(features: Features, node: Node, x: Axes) -> Axes:
    channels = np.array(node.attributes["channels"])
    if channels.max() >= len(x[-1]):
        raise ValueError(f"channel {channels.max()} of {len(x[-1])}")
    made = features.new(len(channels))
    made[channels >= 0] = x[-1][channels[channels >= 0]]         # the others are zeros of its own
    return *x[:-1], made


def _log_softmax(features: Features, node: Node, x: Axes) -> Axes:
    features.fix(x[-1])              # every one goes into the sum of all
    return x


def _fold(features: Features, node: Node, x: Axes) -> Axes:
    size = node.attributes["size"]
    features.claim(len(x[-1]) * size)
    return *x[:-1], np.tile(x[-1], size)


def _attention(features: Features, node: Node, query: Axes, key: Axes, value: Axes) -> Axes:
    # A head goes as a whole: its features have one number.
    heads, ((channels,), (_,), (_,)) = node.attributes["heads"], (query, key, value)
    size, rest = divmod(len(channels), heads)
    if rest:
        raise ValueError(f"{len(channels)} features in {heads} heads")
    made = np.repeat(features.new(heads), size)
    for x in (query, key, value):
        features.tie(made, x[0])
    features.lay(node, "position", made, None)
    for role in ("content_bias", "position_bias"):
        features.lay(node, role, made)
    return (made,)


def _unsqueeze(features: Features, node: Node, x: Axes) -> Axes:
    return *x, features.new(1, fixed=True)


def _transpose(features: Features, node: Node, x: Axes) -> Axes:
    return *x[:-2], x[-1], x[-2]


def _flatten(features: Features, node: Node, x: Axes) -> Axes:
    *leading, outer, inner = x
    features.claim(len(outer) * len(inner))
    # One of the two axes has to stay whole, or there would be features of two numbers.
    if features.fixed[inner].all():
        return *leading, np.repeat(outer, len(inner))
    features.fix(outer)
    return *leading, np.tile(inner, len(outer))


def _unflatten(features: Features, node: Node, x: Axes) -> Axes:
    outer, rest = divmod(len(x[-1]), node.attributes["size"])
    if rest:
        raise ValueError(f"{len(x[-1])} features in rows of {node.attributes['size']}")
    features.fix(x[-1])              # a row or a column of them could go, never one alone
    return *x[:-1], features.new(outer, fixed=True), features.new(node.attributes["size"], fixed=True)


def _linear(features: Features, node: Node, x: Axes) -> Axes:
    made = features.new(features.size(node, "weight", 0))
    features.lay(node, "weight", made, x[-1])
    if "bias" in node.tensors:
        features.lay(node, "bias", made)
    features.read(node, "weight", made, x[-1])
    return *x[:-1], made


def _recurrent(features: Features, node: Node, x: Axes) -> Axes:
    units = features.new(node.attributes["hidden"])
    gates, (sources,) = np.tile(units, GATES[node.op]), x
    for role, of in (("weight_ih", sources), ("weight_hh", units)):
        features.lay(node, role, gates, of)
        features.read(node, role, gates, of)
    for role in ("bias_ih", "bias_hh"):
        features.lay(node, role, gates)
    return (units,)


def _conv1d(features: Features, node: Node, x: Axes) -> Axes:
    (channels,) = x
    made, groups = features.size(node, "weight", 0), node.attributes["groups"]
    if groups == 1:
        results = features.new(made)
        features.lay(node, "weight", results, channels, None)
        features.read(node, "weight", results, channels)
    elif groups == made == len(channels):
        results = channels           # a filter for each channel: both stay or go
        features.lay(node, "weight", results, None, None)
    else:
        features.fix(channels)
        results = features.new(made, fixed=True)
        features.lay(node, "weight", results, None, None)
    features.lay(node, "bias", results)
    return (results,)


def _conv2d(features: Features, node: Node, x: Axes) -> Axes:
    bins, channels = x
    features.fix(bins)
    stride, pad = node.attributes["stride"], node.attributes["pad"]
    results = features.new(features.size(node, "weight", 0))
    features.lay(node, "weight", results, channels, None, None)
    features.lay(node, "bias", results)
    features.read(node, "weight", results, channels)
    return features.new((len(bins) + 2 * pad - features.size(node, "weight", 3)) // stride + 1, fixed=True), results


def _conv_transpose2d(features: Features, node: Node, x: Axes) -> Axes:
    bins, channels = x
    features.fix(bins)
    stride, pad, extra = (node.attributes[name] for name in ("stride", "pad", "extra"))
    results = features.new(features.size(node, "weight", 1))
    features.lay(node, "weight", channels, results, None, None)
    features.lay(node, "bias", results)
    features.read(node, "weight", results, channels)
    length = (len(bins) - 1) * stride - 2 * pad + features.size(node, "weight", 3) + extra
    return features.new(length, fixed=True), results


RULES: dict[str, Callable[..., Axes]] = {
    "stft": _stft, "istft": _waveform, "frames": _frames, "overlap_add": _waveform,
    "magnitude": _magnitude, "running_rms": _running_rms, "power_law": _power_law, "complex_mul": _complex_mul,
    "fbank": _fbank, "log_softmax": _log_softmax, "fold": _fold, "attention": _attention,
    "mul": _pair, "div": _pair, "add": _pair, "sub": _pair,
    "quantize": _each, "quantize_dynamic": _whole,
    "affine": _each, "log1p": _each, "relu": _each, "sigmoid": _each, "tanh": _each, "elu": _each,
    "prelu": _prelu, "scale_shift": _scale_shift, "layer_norm": _layer_norm,
    "global_norm": _layer_norm, "time_norm": _each, "time_mean": _each, "reverse": _each,
    "concat": _concat, "stack": _stack, "slice": _slice, "take": _take, "unsqueeze": _unsqueeze,
    "transpose": _transpose, "flatten": _flatten, "unflatten": _unflatten,
    "linear": _linear, "conv1d": _conv1d, "conv2d": _conv2d, "conv_transpose2d": _conv_transpose2d,
    **dict.fromkeys(GATES, _recurrent),
}
