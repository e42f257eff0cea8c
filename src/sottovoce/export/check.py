"""What an ONNX file must pass before it is written: it is read again, run, and compared with its artefact."""

from collections.abc import Iterator

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from sottovoce.artefact import Artefact
from sottovoce.errors import SottovoceError
from sottovoce.runtime.reference import OPS

Array = NDArray[np.float32]

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
    spectra = noise_bursts(bins=int(props["n_fft"]) // 2 + 1)
    pairs = zip(frames_of_onnx(data, spectra), frames_of_artefact(artefact, spectra), strict=True)
    for number, (ours, wanted) in enumerate(pairs):
        error = float(np.abs(ours - wanted).max())
        if not error <= TOLERANCE * max(np.abs(wanted).max(), np.abs(spectra).max()):
            raise SottovoceError(f"ONNX file: frame {number} is {error:.2g} away from the artefact's")


def noise_bursts(bins: int) -> Array:
    """Spectra [frames, bins, 2] of noise from a seed, one frame in the middle silent."""
    spectra = np.random.default_rng(0).standard_normal((FRAMES, bins, 2)).astype(np.float32)
    spectra[FRAMES // 2] = 0
    return spectra


def frames_of_onnx(data: bytes, spectra: Array) -> Iterator[Array]:
    """Enhanced spectra [bins, 2] of onnxruntime, frame by frame with the state carried on from zeros."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    first, *states = session.get_inputs()
    carried = [np.zeros(state.shape, np.float32) for state in states]
    for spectrum in spectra:
        before = dict(zip([state.name for state in states], carried, strict=True))
        enhanced, *carried = session.run(None, {first.name: spectrum[None, :, None]} | before)
        yield enhanced[0, :, 0]


def frames_of_artefact(artefact: Artefact, spectra: Array) -> Iterator[Array]:
    """The same by the numpy reference."""
    tensors = {name: stored.to_array() for name, stored in artefact.tensors.items()}
    states: dict[str, dict[str, Array]] = {}
    for spectrum in spectra:
        values: dict[str, Array] = {}
        for node in artefact.graph.nodes:
            inputs = [values[name] for name in node.inputs if name in values]
            if node.op == "stft":
                values[node.name] = spectrum[None, None]
            elif node.op == "istft":
                yield inputs[0][0, 0]
            else:
                used = {role: tensors[name] for role, name in node.tensors.items()}
                values[node.name], states[node.name] = OPS[node.op](
                    node.attributes, used, inputs, states.get(node.name, {})
                )
