"""An artefact as a small ONNX file: one frame in, one frame out, the state passed in and out.

The file has the form that sherpa-onnx loads as a streaming denoiser (its `gtcrn` slot): STFT and inverse stay
outside, input and output 0 are one frame's spectrum [1, bins, 1, 2], and exactly three states follow. A model
that works on samples has frames [1, n_fft, 1] instead, for plain onnxruntime.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnx import TensorProto, ValueInfoProto, helper

from sottovoce import __version__
from sottovoce.artefact import Artefact
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored
from sottovoce.errors import SottovoceError
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.check import check
from sottovoce.export.frame import Frame
from sottovoce.export.inside import Inside, Shape, inside
from sottovoce.export.operations import OPERATIONS
from sottovoce.files import write_bytes

IR_VERSION, OPSET = 8, 13                    # of 2021: all that packed weights need, and old devices read it
WINDOWS = ("hamming", "hann", "hann_sqrt")   # as sherpa-onnx calls them; others end its process
MODEL_TYPES = {"stft": "gtcrn", "frames": "frames"}     # the second has no slot in sherpa-onnx, which then says so


def save_onnx(artefact: Artefact, path: Path) -> dict[str, str]:
    """Write a checked ONNX file whole or not at all; gives what `not_packed` says of it.

    Raises SottovoceError as `export_onnx` and `check` do, OSError as the disk does.
    """
    data = export_onnx(artefact)
    check(data, artefact)
    write_bytes(path, data)
    return not_packed(artefact)


def export_onnx(artefact: Artefact) -> bytes:
    """The part of the model between its two ends (stft and istft, or frames and overlap_add), weights packed.

    Raises SottovoceError if the graph is not that, has an operation without an ONNX form, or sherpa-onnx lacks
    the window of its stft.
    """
    part = inside(artefact)
    check_form(part)
    builder = GraphBuilder()
    bins, *rest = part.frame
    ports = (1, bins, 1, *rest)                                     # [batch, bins, time, 2] or [batch, n_fft, time]
    frame = Frame(builder, part, {part.first.name: builder.reshape("mix", (1, 1, *part.frame))})
    frame.open_states()
    for node in part.nodes:
        frame.values[node.name] = OPERATIONS[node.op](frame, node)
    builder.reshape(frame.values[part.last.inputs[0]], ports, name="enh")
    frame.close_states()

    shapes = frame.state_shapes()
    model = helper.make_model(
        builder.graph(
            [port("mix", ports), *(port(name, shape) for name, shape in shapes.items())],
            [port("enh", ports), *(port(f"{name}_out", shape) for name, shape in shapes.items())],
        ),
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="sottovoce",
        producer_version=__version__,
    )
    helper.set_model_props(model, metadata(part, shapes))
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
        case Codebook() | Levels():
            return ""
        case Sparse():
            return "pruned, not clustered: float32 values and a bit for every place"
        case Dense(values):
            return values.dtype.name
    raise TypeError(f"no ONNX form for {type(stored).__name__}")


def check_form(part: Inside) -> None:
    """Raise SottovoceError unless all of it has a form in ONNX, and sherpa-onnx knows the window of an stft."""
    for node in part.nodes:
        if node.op not in OPERATIONS:
            known = ", ".join(OPERATIONS)
            raise SottovoceError(f"ONNX export: node {node.name}: expected one of {known}, got {node.op}")
    window = part.first.attributes["window"]
    if part.first.op == "stft" and window not in WINDOWS:
        raise SottovoceError(f"ONNX export: window must be one of {', '.join(WINDOWS)}, got {window!r}")


def metadata(part: Inside, shapes: Mapping[str, Shape]) -> dict[str, str]:
    """The keys that sherpa-onnx reads (it ends its process without them), and where the model comes from."""
    artefact, of = part.artefact, part.first.attributes
    rate = artefact.meta.get("sample_rate")
    if not isinstance(rate, int):
        raise SottovoceError(f"ONNX export: expected a sample_rate in Hz, got {rate!r}")
    properties: dict[str, Any] = {
        "model_type": MODEL_TYPES[part.first.op],
        "version": 1,
        "sample_rate": rate,
        "n_fft": of["n_fft"],
        "hop_length": of["hop"],
        "window_length": of["n_fft"],
        "window_type": of["window"],
    }
    properties |= {f"{name}_shape": ",".join(map(str, shape)) for name, shape in shapes.items()}
    origin = [key for key in ("model", "task", "parameters") if key in artefact.meta]
    properties |= {f"sottovoce.{key}": artefact.meta[key] for key in origin}
    properties["sottovoce.not_packed"] = json.dumps(not_packed(artefact))
    return {key: str(value) for key, value in properties.items()}


def port(name: str, shape: tuple[int, ...]) -> ValueInfoProto:
    """A float32 input or output of the whole graph."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
