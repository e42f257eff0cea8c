"""Features that are the same in every frame, whatever is heard, and the weights that can do without them.

A row of weights that are all zero leaves its bias; a later layer may take what that bias becomes into its own.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact.features import Features, Reading
from sottovoce.artefact.graph import GATES, Graph, Node

Values = NDArray[np.float64]             # NaN where a feature is not constant
Arrays = Mapping[str, NDArray[np.float32]]

BIASES = {"linear": "bias", "conv1d": "bias", "conv2d": "bias", "conv_transpose2d": "bias",
          **dict.fromkeys(GATES, "bias_ih")}


@dataclass
class Constants:
    """What is constant in a graph: `values` by name, each of the shape that its features have."""

    values: dict[str, Values] = field(default_factory=dict)
    sources: dict[str, Values] = field(default_factory=dict)     # by node: of its sources those a bias can replace

    def replaceable(self, reading: Reading) -> Values:
        """The constant of every source of a reading that a bias can replace, else NaN."""
        if reading.tensor != reading.node.tensors.get("weight_hh"):
            return self.sources[reading.node.name]
        return np.full(len(reading.sources), np.nan)


def find_constants(graph: Graph, features: Features, arrays: Arrays) -> Constants:
    """The constants of a graph, whose tensors have these values."""
    found = Constants()
    readings = {reading.node.name: reading for reading in reversed(features.readings)}       # the first of two
    uses = Counter(name for node in graph.nodes for name in node.tensors.values())
    for node in graph.nodes:
        inputs = [found.values.get(name, np.array(np.nan)) for name in node.inputs]
        shape = tuple(map(len, features.values[node.name]))
        value = np.full(shape, np.nan)
        if node.name in readings:
            bias = node.tensors.get(BIASES[node.op])
            alone = bias is not None and uses[bias] == 1
            sources = _replaceable(node, inputs[0], arrays, alone)
            found.sources[node.name] = sources
            if node.op not in GATES:     # whose states take a while to settle
                value[...] = _results(readings[node.name], sources, arrays)
        elif node.op == "conv1d":
            value = _depthwise(node, inputs[0], arrays)
        elif node.op in FUNCTIONS:
            tensors = {role: arrays[name].astype(np.float64) for role, name in node.tensors.items()}
            value = FUNCTIONS[node.op](node.attributes, tensors, *inputs)
        found.values[node.name] = value
    return found


def _replaceable(node: Node, value: Values, arrays: Arrays, alone: bool) -> Values:
    """For every source of a node the constant that its bias can take in, else NaN."""
    rows = value.reshape(-1, value.shape[-1])
    same = np.where((rows == rows[0]).all(0), rows[0], np.nan)
    return same if alone and not _meets_an_edge(node, arrays) else np.where(same == 0, same, np.nan)


def _meets_an_edge(node: Node, arrays: Arrays) -> bool:
    """Whether a kernel reaches over an edge, of time or of bins, where it meets zeros and not the constant."""
    if node.op == "linear" or node.op in GATES:
        return False
    taps = arrays[node.tensors["weight"]].shape[2]
    return node.op == "conv_transpose2d" or taps > 1 or node.attributes.get("pad", 0) > 0


def added(reading: Reading, sources: Values, arrays: Arrays) -> Values:
    """What constant sources, NaN for none, add to every result."""
    there = ~np.isnan(sources)
    summed = reading.matrix(arrays[reading.tensor])[:, there].sum(-1, dtype=np.float64)
    return np.asarray(summed @ sources[there])


def _results(reading: Reading, sources: Values, arrays: Arrays) -> Values:
    """The results [O] that read nothing but constants."""
    varies = (reading.matrix(arrays[reading.tensor])[:, np.isnan(sources)] != 0).any((1, 2))
    sums, bias = added(reading, sources, arrays), reading.node.tensors.get("bias")
    return np.where(varies, np.nan, sums if bias is None else arrays[bias] + sums)


def _depthwise(node: Node, value: Values, arrays: Arrays) -> Values:
    weight, bias = (arrays[node.tensors[role]] for role in ("weight", "bias"))
    if weight.shape[1] != 1:
        return np.full(len(bias), np.nan)
    return np.where((weight == 0).all((1, 2)) | (value == 0), bias, np.nan)


def _sigmoid(x: Values) -> Values:
    return 0.5 * (1 + np.tanh(0.5 * x))


# What an operation makes of constants, (attributes, tensors, *inputs) -> value; NaN stays NaN in all of them. Those
# that are not here make nothing constant.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mul": lambda of, w, a, b: a * b,
    "add": lambda of, w, a, b: a + b,
    "sub": lambda of, w, a, b: a - b,
    "affine": lambda of, w, x: of["scale"] * x + of["shift"],
    "relu": lambda of, w, x: np.maximum(x, 0),
    "sigmoid": lambda of, w, x: _sigmoid(x),
    "tanh": lambda of, w, x: np.tanh(x),
    "elu": lambda of, w, x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "prelu": lambda of, w, x: np.where(x > 0, x, w["weight"] * x),
    "scale_shift": lambda of, w, x: x * w["scale"] + w["shift"],
    "time_mean": lambda of, w, x: x,
    "reverse": lambda of, w, x: x,
    "concat": lambda of, w, *inputs: np.concatenate(inputs, -1),
    "stack": lambda of, w, *inputs: np.stack(inputs, -1),
    "slice": lambda of, w, x: x[..., of["start"] : of["stop"]],
    "take": lambda of, w, x: np.take(np.insert(x, x.shape[-1], 0, -1), of["channels"], -1),
    "unsqueeze": lambda of, w, x: x[..., None],
    "transpose": lambda of, w, x: x.swapaxes(-1, -2),
    "flatten": lambda of, w, x: x.reshape(*x.shape[:-2], -1),
    "fold": lambda of, w, x: np.concatenate([x] * of["size"], -1),
    "unflatten": lambda of, w, x: x.reshape(*x.shape[:-1], -1, of["size"]),
}
