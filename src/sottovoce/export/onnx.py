"""An artefact as a small ONNX file: one frame in, one frame out, the state passed in and out.

The file has the form that sherpa-onnx loads as a streaming denoiser (its `gtcrn` slot): STFT and inverse stay
outside, input and output 0 are one frame's spectrum [1, bins, 1, 2], and exactly three states follow.
"""

import json
from pathlib import Path
from typing import Any

from onnx import TensorProto, ValueInfoProto, helper

from sottovoce import __version__
from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Node
from sottovoce.artefact.stored import Codebook, Dense, Sparse, Stored
from sottovoce.errors import SottovoceError
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.check import check
from sottovoce.export.operations import OPERATIONS, STATES, Frame
from sottovoce.files import write_bytes

IR_VERSION, OPSET = 8, 13                    # of 2021: all that packed weights need, and old devices read it
WINDOWS = ("hamming", "hann", "hann_sqrt")   # as sherpa-onnx calls them; others end its process

Shapes = dict[str, tuple[int, ...]]


def save_onnx(artefact: Artefact, path: Path) -> dict[str, str]:
    """Write a checked ONNX file whole or not at all; gives what `not_packed` says of it.

    Raises SottovoceError as `export_onnx` and `check` do, OSError as the disk does.
    """
    data = export_onnx(artefact)
    check(data, artefact)
    write_bytes(path, data)
    return not_packed(artefact)


def export_onnx(artefact: Artefact) -> bytes:
    """The part of the model between its stft and its istft as an ONNX file, weights packed.

    Raises SottovoceError if the graph is not stft, known operations, istft, or sherpa-onnx lacks the window.
    """
    stft, istft = front_and_back(artefact)
    between = [node for node in artefact.graph.nodes if node not in (stft, istft)]
    bins = stft.attributes["n_fft"] // 2 + 1
    builder = GraphBuilder()
    spectrum = builder.reshape("mix", (1, 1, bins, 2))              # [batch, time, bins, 2], as in the graph
    frame = Frame(builder, artefact.tensors, {stft.name: spectrum})
    sizes = frame.open_states(between)
    for node in between:
        if node.op not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            raise SottovoceError(f"ONNX export: node {node.name}: expected one of {known}, got {node.op}")
        frame.values[node.name] = OPERATIONS[node.op](frame, node)
    builder.reshape(frame.values[istft.inputs[0]], (1, bins, 1, 2), name="enh")
    frame.close_states()

    shapes: Shapes = {name: (1, 1, size) for name, size in zip(STATES, sizes, strict=True)}
    model = helper.make_model(
        builder.graph(
            [port("mix", (1, bins, 1, 2)), *(port(name, shape) for name, shape in shapes.items())],
            [port("enh", (1, bins, 1, 2)), *(port(f"{name}_out", shape) for name, shape in shapes.items())],
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="sottovoce",
        producer_version=__version__,
    )
    helper.set_model_props(model, metadata(artefact, stft, shapes))
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def not_packed(artefact: Artefact) -> dict[str, str]:
    """What an ONNX file holds at full width: tensor name -> how, and why if the artefact says why."""
    reasons = artefact.meta.get("not_compressed", {})
    forms = {name: full_width(stored) for name, stored in artefact.tensors.items()}
    return {
        name: f"{form} ({reasons[name]})" if name in reasons else form for name, form in forms.items() if form
    }


def full_width(stored: Stored) -> str:
    """How values lie in ONNX if not as packed codes; empty if they do."""
    match stored:
        case Codebook():
            return ""
        case Sparse():
            return "pruned, not clustered: float32 values and a bit for every place"
        case Dense(values):
            return values.dtype.name
    raise TypeError(f"no ONNX form for {type(stored).__name__}")


def front_and_back(artefact: Artefact) -> tuple[Node, Node]:
    """The graph's stft and istft, which stay outside; everything else must lie between them."""
    graph = artefact.graph
    ends = [node for node in graph.nodes if node.op in ("stft", "istft")]
    if (
        [node.op for node in ends] != ["stft", "istft"]
        or ends[0].inputs != graph.inputs
        or (ends[1].name,) != graph.outputs
        or ends[0].attributes != ends[1].attributes
        or any({*graph.inputs, *graph.outputs} & {*node.inputs} for node in graph.nodes if node not in ends)
    ):
        raise SottovoceError(
            "ONNX export: expected a waveform, one stft, operations, one istft like it and a waveform, "
            f"got {', '.join(node.op for node in graph.nodes)}"
        )
    if ends[0].attributes["window"] not in WINDOWS:
        window = ends[0].attributes["window"]
        raise SottovoceError(f"ONNX export: window must be one of {', '.join(WINDOWS)}, got {window!r}")
    return ends[0], ends[1]


def metadata(artefact: Artefact, stft: Node, shapes: Shapes) -> dict[str, str]:
    """The keys that sherpa-onnx reads (it ends its process without them), and where the model comes from."""
    rate = artefact.meta.get("sample_rate")
    if not isinstance(rate, int):
        raise SottovoceError(f"ONNX export: expected a sample_rate in Hz, got {rate!r}")
    properties: dict[str, Any] = {
        "model_type": "gtcrn",
        "version": 1,
        "sample_rate": rate,
        "n_fft": stft.attributes["n_fft"],
        "hop_length": stft.attributes["hop"],
        "window_length": stft.attributes["n_fft"],
        "window_type": stft.attributes["window"],
    }
    properties |= {f"{name}_shape": ",".join(map(str, shape)) for name, shape in shapes.items()}
    origin = [key for key in ("model", "task", "parameters") if key in artefact.meta]
    properties |= {f"sottovoce.{key}": artefact.meta[key] for key in origin}
    properties["sottovoce.not_packed"] = json.dumps(not_packed(artefact))
    return {key: str(value) for key, value in properties.items()}


def port(name: str, shape: tuple[int, ...]) -> ValueInfoProto:
    """A float32 input or output of the whole graph."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
