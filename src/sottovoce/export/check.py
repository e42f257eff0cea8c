"""What an ONNX file must pass before it is written: it is read again, run, and compared with its artefact."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime

from sottovoce.artefact import Artefact
from sottovoce.errors import SottovoceError
from sottovoce.export.inside import Array, Shape, inside

REQUIRED = (
    "model_type", "version", "sample_rate", "n_fft", "hop_length", "window_length", "window_type",
    "conv_cache_shape", "tra_cache_shape", "inter_cache_shape",
)  # fmt: skip
NEWEST_IR, NEWEST_OPSET = 9, 17          # what runtimes on older devices read
TOLERANCE = 1e-4                         # of the largest value that goes in or comes out
FRAMES = 12


def check(data: bytes, artefact: Artefact) -> None:
    """Refuse a file that lacks metadata, is too new for old runtimes, or computes something else.

    Raises SottovoceError with the first fault found.
    """
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model)
    props = {prop.key: prop.value for prop in model.metadata_props}
    missing = [key for key in REQUIRED if not props.get(key)]
    if missing:
        raise SottovoceError(f"ONNX file: metadata must have {', '.join(missing)}")
    opset = max(entry.version for entry in model.opset_import)
    if model.ir_version > NEWEST_IR or opset > NEWEST_OPSET:
        raise SottovoceError(
            f"ONNX file: IR version at most {NEWEST_IR} and opset at most {NEWEST_OPSET} wanted, "
            f"got {model.ir_version} and {opset}"
        )
    part = inside(artefact)
    frames = noise_bursts(part.frame)
    for number, (ours, wanted) in enumerate(zip(frames_of_onnx(data, frames), part.run(frames), strict=True)):
        error = float(np.abs(ours - wanted).max())
        if not error <= TOLERANCE * max(np.abs(wanted).max(), np.abs(frames).max()):
            raise SottovoceError(f"ONNX file: frame {number} is {error:.2g} away from the artefact's")


def noise_bursts(shape: Shape) -> Array:
    """Frames [FRAMES, *shape] of noise from a seed, one in the middle silent."""
    frames = np.random.default_rng(0).standard_normal((FRAMES, *shape)).astype(np.float32)
    frames[FRAMES // 2] = 0
    return frames


def frames_of_onnx(data: bytes, frames: Array) -> Iterator[Array]:
    """What onnxruntime makes of each of the frames [T, ...], with the state carried on from zeros."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    first, *states = session.get_inputs()
    carried = [np.zeros(state.shape, np.float32) for state in states]
    for frame in frames:
        before = dict(zip([state.name for state in states], carried, strict=True))
        enhanced, *carried = session.run(None, {first.name: frame[None, :, None]} | before)
        yield enhanced[0, :, 0]
