"""One frame, or a chunk of them, on its way through the nodes of an ONNX graph, and what they keep for the next."""

from collections.abc import Mapping
from math import prod

from onnx import ValueInfoProto

from sottovoce.artefact.graph import Node
from sottovoce.artefact.stored import Stored
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.file import port
from sottovoce.export.inside import Shape
from sottovoce.export.scope import Scope

# The names that users of the slot know, and which parts of a state lie in them.
STATES = ("conv_cache", "tra_cache", "inter_cache")
STATE_OF = {"hidden": "conv_cache", "past": "conv_cache", "overlap": "conv_cache", "cell": "tra_cache",
            "power": "inter_cache", "weight": "inter_cache"}


class Frame(Scope):
    """The ONNX names of a frame's values, tensors and states; values keep their axes, batch and time are 1."""

    def __init__(self, builder: GraphBuilder, tensors: Mapping[str, Stored], shapes: Mapping[str, Shape],
                 kept: Mapping[tuple[str, str], Shape], values: dict[str, str]) -> None:
        """`shapes` of all values, and of what nodes keep, as in `inside.py`."""
        super().__init__(builder, tensors, {name: shape[2:] for name, shape in shapes.items()}, values)
        self.kept = {part: shape for part, shape in kept.items() if prod(shape)}
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


class Chunk(Frame):
    """As Frame, of values [1, T, ...]; each part of a state goes in and comes out on its own, in its own shape."""

    def recall(self, node: Node, part: str) -> str:
        return self.before(node, part)

    def keep_flat(self, node: Node, part: str, value: str) -> None:
        self.builder.add("Identity", value, name=f"{self.before(node, part)}_out")

    def ports(self) -> tuple[list[ValueInfoProto], list[ValueInfoProto]]:
        """What goes in and what comes out of the state, in the same order."""
        shapes = {f"/{node}/{part}": shape for (node, part), shape in self.kept.items()}
        return ([port(name, shape) for name, shape in shapes.items()],
                [port(f"{name}_out", shape) for name, shape in shapes.items()])
