"""The ONNX names of what a graph computes with, whatever time is in it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact.graph import Node
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.inside import Shape

Arrangement = Callable[[NDArray[Any]], NDArray[Any]]


class Scope:
    """The ONNX names of values and tensors; `features` has the shape of each value after batch and time."""

    def __init__(self, builder: GraphBuilder, tensors: Mapping[str, Stored], features: Mapping[str, Shape],
                 values: dict[str, str]) -> None:
        self.builder, self.tensors, self.features, self.values = builder, tensors, features, values
        self.placed: dict[str, str] = {}                                # tensors already in the file

    def add(self, op: str, node: Node, *more: str, **attributes: Any) -> str:
        """The node's value: an ONNX operator over its inputs, followed by `more`."""
        return self.builder.add(op, *self.inputs(node), *more, name=f"/{node.name}", **attributes)

    def inputs(self, node: Node) -> list[str]:
        return [self.values[name] for name in node.inputs]

    def tensor(self, node: Node, role: str, arrange: Arrangement) -> str:
        """A tensor of the node, its elements moved to ONNX's places, then packed; in the file only once."""
        tensor = node.tensors[role]
        name = f"{tensor}/{arrange.__name__}"
        if name not in self.placed:
            self.placed[name] = self.builder.tensor(name, rearranged(self.tensors[tensor], arrange))
        return self.placed[name]

    def scalar(self, value: float) -> str:
        return self.builder.constant(np.array(value, np.float32))

    def axes(self, *axes: int) -> str:
        return self.builder.int64(*axes)


def rearranged(stored: Stored, arrange: Arrangement) -> Stored:
    """The same form with its elements in other places."""
    match stored:
        case Dense(values):
            return Dense(arrange(values))
        case Codebook(codes, table):
            return Codebook(arrange(codes), table)
        case Sparse(keep):
            places = arrange(keep)
            return Sparse(places, arrange(stored.to_array())[places])
        case Levels(levels, scale, bits):
            return Levels(arrange(levels), _narrowed(arrange(np.broadcast_to(scale, levels.shape))), bits)
    raise TypeError(f"no ONNX form for {type(stored).__name__}")


def _narrowed(array: NDArray[Any]) -> NDArray[Any]:
    """The array with every axis along which it does not change cut to length 1."""
    for axis in range(array.ndim):
        first = array.take([0], axis)
        array = first if (array == first).all() else array
    return array


def as_is(array: NDArray[Any]) -> NDArray[Any]:
    return array


def transposed(array: NDArray[Any]) -> NDArray[Any]:
    """[O, I] to [I, O]."""
    return np.ascontiguousarray(array.T)


def iofc(array: NDArray[Any]) -> NDArray[Any]:
    """[4H, ...] with torch's gates i, f, g, o to [1, 4H, ...] with ONNX's i, o, f, c (c is torch's g)."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])[None]


def zrh(array: NDArray[Any]) -> NDArray[Any]:
    """[3H, ...] with torch's gates r, z, n to [1, 3H, ...] with ONNX's z, r, h (h is torch's n)."""
    r, z, n = np.split(array, 3)
    return np.concatenate([z, r, n])[None]
