"""An enhancer in ONNX: one frame in, one frame out, the state passed in and out.

The file has the form that sherpa-onnx loads as a streaming denoiser (its `gtcrn` slot): STFT and inverse stay
outside, input and output 0 are one frame's spectrum [1, bins, 1, 2], and exactly three states follow. A model
that works on samples has frames [1, n_fft, 1] instead, for plain onnxruntime.
"""

from collections.abc import Mapping
from typing import Any

from sottovoce.artefact import Artefact
from sottovoce.errors import SottovoceError
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.file import file_of, port, sample_rate
from sottovoce.export.frame import Frame
from sottovoce.export.inside import Inside, Shape, check_operations, inside
from sottovoce.export.operations import OF_FRAMES

WINDOWS = ("hamming", "hann", "hann_sqrt")   # as sherpa-onnx calls them; others end its process
MODEL_TYPES = {"stft": "gtcrn", "frames": "frames"}     # the second has no slot in sherpa-onnx, which then says so


def enhancer_file(artefact: Artefact) -> bytes:
    """The part of the model between its two ends (stft and istft, or frames and overlap_add), weights packed.

    Raises SottovoceError if the graph is not that, has an operation without an ONNX form, or sherpa-onnx lacks
    the window of its stft.
    """
    part = inside(artefact)
    check_operations(part.nodes, OF_FRAMES)
    window = part.first.attributes["window"]
    if part.first.op == "stft" and window not in WINDOWS:
        raise SottovoceError(f"ONNX export: window must be one of {', '.join(WINDOWS)}, got {window!r}")
    builder = GraphBuilder()
    bins, *rest = part.frame
    ports = (1, bins, 1, *rest)                                     # [batch, bins, time, 2] or [batch, n_fft, time]
    frame = Frame(builder, artefact.tensors, *part.shapes(),
                  {part.first.name: builder.reshape("mix", (1, 1, *part.frame))})
    frame.open_states()
    for node in part.nodes:
        frame.values[node.name] = OF_FRAMES[node.op](frame, node)
    builder.reshape(frame.values[part.last.inputs[0]], ports, name="enh")
    frame.close_states()

    shapes = frame.state_shapes()
    graph = builder.graph(
        [port("mix", ports), *(port(name, shape) for name, shape in shapes.items())],
        [port("enh", ports), *(port(f"{name}_out", shape) for name, shape in shapes.items())],
    )
    return file_of(graph, artefact, metadata(part, shapes))


def metadata(part: Inside, shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """The keys that sherpa-onnx reads: it ends its process without them."""
    of = part.first.attributes
    properties = {
        "model_type": MODEL_TYPES[part.first.op],
        "version": 1,
        "sample_rate": sample_rate(part.artefact),
        "n_fft": of["n_fft"],
        "hop_length": of["hop"],
        "window_length": of["n_fft"],
        "window_type": of["window"],
    }
    return properties | {f"{name}_shape": ",".join(map(str, shape)) for name, shape in shapes.items()}
