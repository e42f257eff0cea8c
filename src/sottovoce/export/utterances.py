"""Whole utterances on their way through the nodes of an ONNX graph, side by side and each of its own length."""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from onnx import TensorProto

from sottovoce.artefact.graph import Node
from sottovoce.artefact.stored import Stored
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.inside import Shape
from sottovoce.export.scope import Scope


class Utterances(Scope):
    """The ONNX names of values [N, T, ...] and tensors, and the frames of each value."""

    def __init__(self, builder: GraphBuilder, tensors: Mapping[str, Stored], features: Mapping[str, Shape],
                 values: dict[str, str], frames: "Frames") -> None:
        super().__init__(builder, tensors, features, values)
        self.frames = dict.fromkeys(values, frames)

    def enter(self, node: Node) -> None:
        """The node's value will have the frames of its input, unless it folds them."""
        frames = self.frames[node.inputs[0]]
        self.frames[node.name] = frames.folded(node.attributes["size"]) if node.op == "fold" else frames


class Frames:
    """What is known of the frames that values [N, T, ...] have: ONNX names, each computed once it is asked for.

    `count` is T, as [1], `lengths` [N] how many of them are not padding.
    """

    def __init__(self, builder: GraphBuilder, count: str, lengths: str) -> None:
        self.builder, self.count, self.lengths = builder, count, lengths
        self.distances: dict[int, str] = {}              # by the number of values for each

    def folded(self, size: int) -> "Frames":
        """Those that are left when `size` become one."""
        add, whole = self.builder.add, self.builder.int64(size)
        return Frames(self.builder, add("Div", self.count, whole), add("Div", self.lengths, whole))

    @cached_property
    def numbers(self) -> str:
        """0, 1, ... T - 1 [T]."""
        zero, one = (self.builder.constant(np.array(number, np.int64)) for number in (0, 1))
        return self.builder.add("Range", zero, self.builder.add("Squeeze", self.count), one)

    @cached_property
    def within(self) -> str:
        """Whether a frame is of its utterance [N, T]."""
        lengths = self.builder.add("Unsqueeze", self.lengths, self.builder.int64(1))
        return self.builder.add("Less", self.numbers, lengths)

    @cached_property
    def within_3d(self) -> str:
        """The same [N, T, 1]."""
        return self.builder.add("Unsqueeze", self.within, self.builder.int64(2))

    @cached_property
    def ahead(self) -> str:
        """How many frames the second is ahead of the first [T, T]."""
        return self.builder.add("Sub", self.numbers, self.builder.add("Unsqueeze", self.numbers, self.builder.int64(1)))

    @cached_property
    def row(self) -> str:
        """2 T - 1 [1]."""
        return self.builder.add("Sub", self.builder.add("Add", self.count, self.count), self.builder.int64(1))

    def sinusoids(self, size: int) -> str:
        """Sines and cosines in turn [2 T, size] of the distances T - 1 down to -T, each pair slower."""
        if size not in self.distances:
            add, constant = self.builder.add, self.builder.constant
            speeds = 10_000.0 ** (-(np.arange(size) // 2 * 2) / size)
            quarters = np.pi / 2 * (np.arange(size) % 2)                         # a cosine is a sine ahead of itself
            count, one, less = add("Squeeze", self.count), *(constant(np.array(n, np.int64)) for n in (1, -1))
            steps = add("Range", add("Sub", count, one), add("Sub", less, count), less)
            steps = add("Unsqueeze", add("Cast", steps, to=TensorProto.DOUBLE), self.builder.int64(1))
            angles = add("Add", add("Mul", steps, constant(speeds)), constant(quarters))
            self.distances[size] = add("Cast", add("Sin", angles), to=TensorProto.FLOAT)
        return self.distances[size]
