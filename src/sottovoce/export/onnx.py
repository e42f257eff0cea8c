"""An artefact as a small ONNX file: one frame in, one frame out, the state passed in and out.

The file has the form of a streaming spectrum denoiser that sherpa-onnx loads unchanged (its `gtcrn` slot): the STFT and
its inverse stay outside, input and output 0 are one frame's spectrum [1, bins, 1, 2], then come exactly three states.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper

from sottovoce import __version__
from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Node
from sottovoce.artefact.stored import Codebook, Dense, Sparse, Stored
from sottovoce.errors import SottovoceError
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.check import check
from sottovoce.files import write_bytes

IR_VERSION, OPSET = 8, 13                # of 2021: what packed weights need is in every runtime since then
STATES = ("conv_cache", "tra_cache", "inter_cache")      # sherpa-onnx's names; here: LSTM outputs, LSTM cells, level


def save_onnx(artefact: Artefact, path: Path) -> dict[str, str]:
    """Write a checked ONNX file; what lies in it uncompressed, as `not_packed` says it. Errors as of `export_onnx`."""
    data = export_onnx(artefact)
    check(data, artefact)
    write_bytes(path, data)
    return not_packed(artefact)


def export_onnx(artefact: Artefact) -> bytes:
    """The model between its STFT and inverse STFT as an ONNX file, weights packed.

    Raises SottovoceError where the graph is not one causal stft ... istft chain of known operations.
    """
    builder = GraphBuilder()
    stft, istft = front_and_back(artefact)
    bins = stft.attributes["n_fft"] // 2 + 1
    shape = builder.constant(np.array([1, 1, bins, 2], np.int64))
    frame = Frame(builder, artefact.tensors, {stft.name: builder.add("Reshape", "mix", shape)})
    nodes = [node for node in artefact.graph.nodes if node not in (stft, istft)]
    sizes = frame.open_states(nodes)
    for node in nodes:
        if node.op not in OPERATIONS:
            raise SottovoceError(f"node {node.name}: ONNX export knows {', '.join(OPERATIONS)}, got {node.op}")
        frame.values[node.name] = OPERATIONS[node.op](frame, node)
    outside = builder.constant(np.array([1, bins, 1, 2], np.int64))
    builder.add("Reshape", frame.values[istft.inputs[0]], outside, name="enh")
    frame.close_states()

    shapes = {"mix": (1, bins, 1, 2)} | {name: (1, 1, size) for name, size in zip(STATES, sizes, strict=True)}
    inputs = [float_value(name, shape) for name, shape in shapes.items()]
    outputs = [float_value("enh", shapes["mix"])] + [float_value(f"{name}_out", shapes[name]) for name in STATES]
    model = helper.make_model(
        builder.graph(inputs, outputs),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="sottovoce",
        producer_version=__version__,
    )
    helper.set_model_props(model, metadata(artefact, stft, shapes))
    return model.SerializeToString(deterministic=True)


def not_packed(artefact: Artefact) -> dict[str, str]:
    """What the ONNX file holds at full width: tensor name -> why."""
    return {name: reason for name, stored in artefact.tensors.items() if (reason := full_width(stored))}


def full_width(stored: Stored) -> str:
    """Why values of this form lie at full width in ONNX; empty if they are packed codes."""
    match stored:
        case Codebook():
            return ""
        case Sparse():
            return "pruned but not clustered: float32 values, one bit per place"
        case Dense(values):
            return f"stored as {values.dtype.name}"
    return f"stored as {type(stored).__name__}"


def front_and_back(artefact: Artefact) -> tuple[Node, Node]:
    """The graph's stft and istft; everything else must lie between them, on the same grid of frames."""
    graph = artefact.graph
    fronts = [node for node in graph.nodes if node.op == "stft" and node.inputs == graph.inputs]
    backs = [node for node in graph.nodes if node.op == "istft" and (node.name,) == graph.outputs]
    found = [node.op for node in graph.nodes].count("stft"), [node.op for node in graph.nodes].count("istft")
    if len(fronts) != 1 or len(backs) != 1 or found != (1, 1):
        raise SottovoceError(
            "ONNX export wants a graph that begins with its one stft and ends with its one istft, "
            f"got {', '.join(node.op for node in graph.nodes)}"
        )
    if fronts[0].attributes != backs[0].attributes:
        raise SottovoceError("ONNX export wants stft and istft of the same n_fft, hop and window")
    return fronts[0], backs[0]


def metadata(artefact: Artefact, stft: Node, shapes: dict[str, tuple[int, ...]]) -> dict[str, str]:
    """The keys that sherpa-onnx reads (it ends the process if one is missing), and where the model comes from."""
    n_fft = stft.attributes["n_fft"]
    required = {
        "model_type": "gtcrn",
        "version": 1,
        "sample_rate": artefact.meta["sample_rate"],
        "n_fft": n_fft,
        "hop_length": stft.attributes["hop"],
        "window_length": n_fft,
        "window_type": stft.attributes["window"],
    } | {f"{name}_shape": ",".join(map(str, shapes[name])) for name in STATES}
    ours = {key: artefact.meta[key] for key in ("model", "task", "parameters") if key in artefact.meta}
    ours["not_packed"] = json.dumps(not_packed(artefact))
    return {key: str(value) for key, value in (required | {f"sottovoce.{k}": v for k, v in ours.items()}).items()}


def float_value(name: str, shape: tuple[int, ...]) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


class Frame:
    """One frame on its way through the graph: the ONNX names of its values, and of its states before and after."""

    def __init__(self, builder: GraphBuilder, tensors: dict[str, Stored], values: dict[str, str]) -> None:
        self.builder, self.tensors, self.values = builder, tensors, values
        self.after: tuple[list[str], ...] = ([], [], [])

    def open_states(self, nodes: list[Node]) -> tuple[int, ...]:
        """Cut each state input [1, 1, size] into what its nodes keep; the sizes, at least 1."""
        lstms = [node for node in nodes if node.op == "lstm"]
        levels = [node for node in nodes if node.op == "running_rms"]
        kept = (
            [(f"{node.name}.hidden", node.attributes["hidden"]) for node in lstms],
            [(f"{node.name}.cell", node.attributes["hidden"]) for node in lstms],
            [(f"{node.name}.{part}", 1) for node in levels for part in ("power", "weight")],
        )
        for name, parts in zip(STATES, kept, strict=True):
            if parts:
                self.builder.split(name, [size for _, size in parts], [part for part, _ in parts])
        return tuple(sum(size for _, size in parts) or 1 for parts in kept)

    def close_states(self) -> None:
        """Join the states after this frame; a state that nobody keeps goes through as it came."""
        for name, after in zip(STATES, self.after, strict=True):
            if after:
                self.builder.add("Concat", *after, name=f"{name}_out", axis=2)
            else:
                self.builder.add("Identity", name, name=f"{name}_out")

    def inputs(self, node: Node) -> list[str]:
        return [self.values[name] for name in node.inputs]

    def tensor(self, node: Node, role: str, arrange: Callable[[Any], Any] = lambda array: array) -> str:
        """A tensor of the node, its elements rearranged by `arrange` before they are packed."""
        name = node.tensors[role]
        return self.builder.tensor(f"{node.name}.{role}", rearranged(self.tensors[name], arrange))

    def scalar(self, value: float) -> str:
        return self.builder.constant(np.array(value, np.float32))


def rearranged(stored: Stored, arrange: Callable[[Any], Any]) -> Stored:
    """The same form with its elements in other places."""
    match stored:
        case Dense(values):
            return Dense(arrange(values))
        case Codebook(codes, table):
            return Codebook(arrange(codes), table)
        case Sparse(keep):
            dense = arrange(stored.to_array())
            places = arrange(keep)
            return Sparse(places, dense[places])
    raise TypeError(f"no ONNX form for {type(stored).__name__}")


# ---- operations: all values keep the graph's axes, with batch 1 and one frame ----


def elementwise(op: str) -> Callable[[Frame, Node], str]:
    return lambda frame, node: frame.builder.add(op, *frame.inputs(node), name=node.name)


def magnitude(frame: Frame, node: Node) -> str:
    power = frame.builder.add("Add", sum_of_squares(frame, node), frame.scalar(1e-12))
    return frame.builder.add("Sqrt", power, name=node.name)


def running_rms(frame: Frame, node: Node) -> str:
    add, scalar, of = frame.builder.add, frame.scalar, node.attributes
    mean = add("ReduceMean", sum_of_squares(frame, node), axes=[2])
    decay = scalar(of["decay"])
    power = add("Add", add("Mul", f"{node.name}.power", decay), add("Div", mean, scalar(of["window_energy"])))
    weight = add("Add", add("Mul", f"{node.name}.weight", decay), scalar(1.0))
    frame.after[2].extend([power, weight])
    return add("Max", add("Sqrt", add("Div", power, weight)), scalar(of["floor"]), name=node.name)


def sum_of_squares(frame: Frame, node: Node) -> str:
    """Power [1, 1, bins] of a spectrum [1, 1, bins, 2]."""
    (spectrum,) = frame.inputs(node)
    axis = frame.builder.constant(np.array([3], np.int64))
    return frame.builder.add("ReduceSum", frame.builder.add("Mul", spectrum, spectrum), axis, keepdims=0)


def log1p(frame: Frame, node: Node) -> str:
    return frame.builder.add("Log", frame.builder.add("Add", *frame.inputs(node), frame.scalar(1.0)), name=node.name)


def unsqueeze(frame: Frame, node: Node) -> str:
    last = frame.builder.constant(np.array([-1], np.int64))
    return frame.builder.add("Unsqueeze", *frame.inputs(node), last, name=node.name)


def linear(frame: Frame, node: Node) -> str:
    weight = frame.tensor(node, "weight", np.transpose)
    product = frame.builder.add("MatMul", *frame.inputs(node), weight)
    return frame.builder.add("Add", product, frame.tensor(node, "bias"), name=node.name)


def lstm(frame: Frame, node: Node) -> str:
    def onnx_gates(array: Any) -> Any:
        """[4H, ...] in torch's order i, f, g, o to [1, 4H, ...] in ONNX's i, o, f, c."""
        i, f, g, o = np.split(array, 4)
        return np.concatenate([i, o, f, g])[None]

    weights = [frame.tensor(node, role, onnx_gates) for role in ("weight_ih", "weight_hh")]
    biases = [frame.tensor(node, role, onnx_gates) for role in ("bias_ih", "bias_hh")]
    both = frame.builder.add("Concat", *biases, axis=1)
    hidden, cell = f"{node.name}.hidden_out", f"{node.name}.cell_out"
    # The last hidden value [1, 1, H] is also the only frame's value, so output 0, one axis more, is left out.
    frame.builder.nodes.append(
        helper.make_node(
            "LSTM",
            [*frame.inputs(node), *weights, both, "", f"{node.name}.hidden", f"{node.name}.cell"],
            ["", hidden, cell],
            hidden_size=node.attributes["hidden"],
        )
    )
    frame.after[0].append(hidden)
    frame.after[1].append(cell)
    return hidden


OPERATIONS: dict[str, Callable[[Frame, Node], str]] = {
    "magnitude": magnitude,
    "running_rms": running_rms,
    "mul": elementwise("Mul"),
    "div": elementwise("Div"),
    "log1p": log1p,
    "relu": elementwise("Relu"),
    "sigmoid": elementwise("Sigmoid"),
    "unsqueeze": unsqueeze,
    "linear": linear,
    "lstm": lstm,
}
