"""One frame on its way through the nodes of an ONNX graph, and what they keep for the next."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact.graph import Node
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.inside import Inside, Shape

# The names that users of the slot know, and which parts of a state lie in them.
STATES = ("conv_cache", "tra_cache", "inter_cache")
STATE_OF = {"hidden": "conv_cache", "past": "conv_cache", "overlap": "conv_cache", "cell": "tra_cache",
            "power": "inter_cache", "weight": "inter_cache"}

Arrangement = Callable[[NDArray[Any]], NDArray[Any]]


class Frame:
    """The ONNX names of a frame's values, tensors and states; values keep their axes, batch and time are 1."""

    def __init__(self, builder: GraphBuilder, model: Inside, values: dict[str, str]) -> None:
        self.builder, self.tensors, self.values = builder, model.artefact.tensors, values
        self.shapes, self.kept = model.shapes()
        self.placed: dict[str, str] = {}                                # tensors already in the file
        self.after: dict[tuple[str, str], str] = {}                     # what nodes keep after this frame

    def open_states(self) -> None:
        """Cut each state input [1, 1, size] into what its nodes keep."""
        for name in STATES:
            if parts := self.parts(name):
                sizes = [prod(self.kept[part]) for part in parts]
                self.builder.split(name, sizes, [f"/{node}/{part}" for node, part in parts])

    def close_states(self) -> None:
        """Join what the nodes keep after this frame; a state that nobody keeps goes through as it came."""
        for name in STATES:
            if parts := self.parts(name):
                self.builder.add("Concat", *(self.after[part] for part in parts), name=f"{name}_out", axis=2)
            else:
                self.builder.add("Identity", name, name=f"{name}_out")

    def state_shapes(self) -> dict[str, Shape]:
        """[1, 1, size] of each state; size 1 where nothing is kept."""
        sizes = {name: sum(prod(self.kept[part]) for part in self.parts(name)) for name in STATES}
        return {name: (1, 1, size or 1) for name, size in sizes.items()}

    def parts(self, state: str) -> list[tuple[str, str]]:
        """The (node, part) that lie in a state, in their order."""
        return [(node, part) for node, part in self.kept if STATE_OF[part] == state]

    def before(self, node: Node, part: str) -> str:
        """A part of the node's state as it comes in, [1, 1, size]."""
        return f"/{node.name}/{part}"

    def keep(self, node: Node, part: str, value: str) -> None:
        """Hand a part [1, 1, size] of the node's state on to the next frame."""
        self.after[node.name, part] = value

    def keeps(self, node: Node, part: str) -> bool:
        return (node.name, part) in self.kept

    def recall(self, node: Node, part: str) -> str:
        """As `before`, in the shape in which the node kept it."""
        return self.builder.reshape(self.before(node, part), self.kept[node.name, part])

    def keep_flat(self, node: Node, part: str, value: str) -> None:
        """As `keep`, of a value of any shape."""
        self.keep(node, part, self.builder.reshape(value, (1, 1, -1)))

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
        return self.builder.constant(np.array(axes, np.int64))


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
