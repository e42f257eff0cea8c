"""What each operation of the graph is in ONNX, for one frame: values keep their axes; batch and time 1."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from sottovoce.artefact.graph import Node
from sottovoce.artefact.stored import Codebook, Dense, Sparse, Stored
from sottovoce.export.builder import GraphBuilder

# The names that users of the slot know; here they hold LSTM outputs, LSTM cells and running levels.
STATES = ("conv_cache", "tra_cache", "inter_cache")

Arrangement = Callable[[NDArray[Any]], NDArray[Any]]


class Frame:
    """One frame on its way through the graph: the ONNX names of its values, tensors and states."""

    def __init__(self, builder: GraphBuilder, tensors: dict[str, Stored], values: dict[str, str]) -> None:
        self.builder, self.tensors, self.values = builder, tensors, values
        self.placed: dict[str, str] = {}                                # tensors already in the file
        self.after: tuple[list[str], list[str], list[str]] = ([], [], [])

    def open_states(self, nodes: list[Node]) -> tuple[int, ...]:
        """Cut each state input [1, 1, size] into what its nodes keep; the sizes, 1 where nothing is kept."""
        lstms = [node for node in nodes if node.op == "lstm"]
        levels = [node for node in nodes if node.op == "running_rms"]
        kept = (
            [(before(node, "hidden"), node.attributes["hidden"]) for node in lstms],
            [(before(node, "cell"), node.attributes["hidden"]) for node in lstms],
            [(before(node, part), 1) for node in levels for part in ("power", "weight")],
        )
        for name, parts in zip(STATES, kept, strict=True):
            if parts:
                self.builder.split(name, [size for _, size in parts], [part for part, _ in parts])
        return tuple(sum(size for _, size in parts) or 1 for parts in kept)

    def close_states(self) -> None:
        """Join what the nodes keep after this frame; a state that nobody keeps goes through as it came."""
        for name, parts in zip(STATES, self.after, strict=True):
            if parts:
                self.builder.add("Concat", *parts, name=f"{name}_out", axis=2)
            else:
                self.builder.add("Identity", name, name=f"{name}_out")

    def add(self, op: str, node: Node, *more: str) -> str:
        """The node's value: an ONNX operator over its inputs, followed by `more`."""
        return self.builder.add(op, *self.inputs(node), *more, name=f"/{node.name}")

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

    def axis(self, axis: int) -> str:
        return self.builder.constant(np.array([axis], np.int64))


def before(node: Node, part: str) -> str:
    """A part of the node's state as it comes in."""
    return f"/{node.name}/{part}"


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
    raise TypeError(f"no ONNX form for {type(stored).__name__}")


def as_is(array: NDArray[Any]) -> NDArray[Any]:
    return array


def transposed(array: NDArray[Any]) -> NDArray[Any]:
    """[O, I] to [I, O]."""
    return np.ascontiguousarray(array.T)


def iofc(array: NDArray[Any]) -> NDArray[Any]:
    """[4H, ...] with torch's gates i, f, g, o to [1, 4H, ...] with ONNX's i, o, f, c (c is torch's g)."""
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, o, f, g])[None]


# ---- operations: (frame, node) -> ONNX name of the node's value ----


def elementwise(op: str) -> Callable[[Frame, Node], str]:
    return lambda frame, node: frame.add(op, node)


def magnitude(frame: Frame, node: Node) -> str:
    power = frame.builder.add("Add", power_of_bins(frame, node), frame.scalar(1e-12))
    return frame.builder.add("Sqrt", power, name=f"/{node.name}")


def running_rms(frame: Frame, node: Node) -> str:
    add, scalar, of = frame.builder.add, frame.scalar, node.attributes
    mean = add("ReduceMean", power_of_bins(frame, node), axes=[2])
    now = add("Div", mean, scalar(of["window_energy"]))
    power = add("Add", add("Mul", before(node, "power"), scalar(of["decay"])), now)
    weight = add("Add", add("Mul", before(node, "weight"), scalar(of["decay"])), scalar(1.0))
    frame.after[2].extend([power, weight])
    return add("Max", add("Sqrt", add("Div", power, weight)), scalar(of["floor"]), name=f"/{node.name}")


def power_of_bins(frame: Frame, node: Node) -> str:
    """Squared magnitude [1, 1, bins] of a spectrum [1, 1, bins, 2]."""
    (spectrum,) = frame.inputs(node)
    squares = frame.builder.add("Mul", spectrum, spectrum)
    return frame.builder.add("ReduceSum", squares, frame.axis(3), keepdims=0)


def affine(frame: Frame, node: Node) -> str:
    scaled = frame.builder.add("Mul", *frame.inputs(node), frame.scalar(node.attributes["scale"]))
    return frame.builder.add("Add", scaled, frame.scalar(node.attributes["shift"]), name=f"/{node.name}")


def log1p(frame: Frame, node: Node) -> str:
    # ONNX has no log1p; next to 0 this is off by at most a rounding error of 1, 6e-8.
    more = frame.builder.add("Add", *frame.inputs(node), frame.scalar(1.0))
    return frame.builder.add("Log", more, name=f"/{node.name}")


def unsqueeze(frame: Frame, node: Node) -> str:
    return frame.add("Unsqueeze", node, frame.axis(-1))


def linear(frame: Frame, node: Node) -> str:
    product = frame.builder.add("MatMul", *frame.inputs(node), frame.tensor(node, "weight", transposed))
    return frame.builder.add("Add", product, frame.tensor(node, "bias", as_is), name=f"/{node.name}")


def lstm(frame: Frame, node: Node) -> str:
    # Measured: ONNX's own operator is never slower than the layer written out in MatMul, Sigmoid and Tanh.
    weights = [frame.tensor(node, role, iofc) for role in ("weight_ih", "weight_hh")]
    biases = [frame.tensor(node, role, iofc) for role in ("bias_ih", "bias_hh")]
    both = frame.builder.add("Concat", *biases, axis=1)
    states = [before(node, "hidden"), before(node, "cell")]
    # Of one frame the last hidden value [1, 1, H] is the only one, so output 0, all of them, is left out.
    value, cell = f"/{node.name}", f"/{node.name}/cell_after"
    frame.builder.nodes.append(
        helper.make_node(
            "LSTM",
            [*frame.inputs(node), *weights, both, "", *states],
            ["", value, cell],
            hidden_size=node.attributes["hidden"],
        )
    )
    frame.after[0].append(value)
    frame.after[1].append(cell)
    return value


OPERATIONS: dict[str, Callable[[Frame, Node], str]] = {
    "magnitude": magnitude,
    "running_rms": running_rms,
    "mul": elementwise("Mul"),
    "div": elementwise("Div"),
    "affine": affine,
    "log1p": log1p,
    "relu": elementwise("Relu"),
    "sigmoid": elementwise("Sigmoid"),
    "unsqueeze": unsqueeze,
    "linear": linear,
    "lstm": lstm,
}
