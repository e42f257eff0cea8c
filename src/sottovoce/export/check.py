"""What an ONNX file must pass before it is written: it is read again, run, and compared with its artefact."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx

from sottovoce.artefact import Artefact
from sottovoce.errors import SottovoceError
from sottovoce.export.inside import Array, Shape, inside
from sottovoce.export.opened import opened
from sottovoce.export.recognizer import recognizer, recognizes

ENHANCER = (
    "model_type", "version", "sample_rate", "n_fft", "hop_length", "window_length", "window_type",
    "conv_cache_shape", "tra_cache_shape", "inter_cache_shape",
)  # fmt: skip
RECOGNIZER = ("model_type", "version", "vocab_size")
NEWEST_IR, NEWEST_OPSET = 9, 17          # what runtimes on older devices read
TOLERANCE = 1e-4                         # of the largest value that goes in or comes out
INT8_TOLERANCE = 0.25                    # more is broken, not rounded
FRAMES = 12
UTTERANCES = (61, 38, 3)                 # frames of each; of the last nothing is left


def check(data: bytes, artefact: Artefact, tolerance: float = TOLERANCE) -> None:
    """Refuse a file that lacks metadata, is too new for old runtimes, or computes something else.

    Raises SottovoceError with the first fault found.
    """
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model)
    props = {prop.key: prop.value for prop in model.metadata_props}
    required = RECOGNIZER if recognizes(artefact) else ENHANCER
    missing = [key for key in required if not props.get(key)]
    if missing:
        raise SottovoceError(f"ONNX file: metadata must have {', '.join(missing)}")
    opset = max(entry.version for entry in model.opset_import)
    if model.ir_version > NEWEST_IR or opset > NEWEST_OPSET:
        raise SottovoceError(
            f"ONNX file: IR version at most {NEWEST_IR} and opset at most {NEWEST_OPSET} wanted, "
            f"got {model.ir_version} and {opset}"
        )
    compare = compare_frames
    if recognizes(artefact):
        compare = compare_chunks if recognizer(artefact).chunk else compare_utterances
    compare(data, artefact, tolerance)


def compare_frames(data: bytes, artefact: Artefact, tolerance: float) -> None:
    """Raise SottovoceError unless onnxruntime makes of frames, one by one, what the artefact does."""
    part = inside(artefact)
    frames = noise_bursts(part.frame)
    for number, (ours, wanted) in enumerate(zip(frames_of_onnx(data, frames), part.run(frames), strict=True)):
        error = float(np.abs(ours - wanted).max())
        if not error <= tolerance * max(np.abs(wanted).max(), np.abs(frames).max()):
            raise SottovoceError(f"ONNX file: frame {number} is {error:.2g} away from the artefact's")


def compare_utterances(data: bytes, artefact: Artefact, tolerance: float) -> None:
    """Raise SottovoceError unless onnxruntime makes of utterances in a batch what the artefact does of each alone."""
    model = recognizer(artefact)
    utterances = [loud_and_soft(frames, model.first.attributes["bins"]) for frames in UTTERANCES]
    for number, (ours, banks) in enumerate(zip(utterances_of_onnx(data, utterances), utterances, strict=True)):
        wanted = model.run(banks)
        if ours.shape != wanted.shape:
            raise SottovoceError(f"ONNX file: utterance {number} has {ours.shape}, the artefact's {wanted.shape}")
        error = float(np.abs(ours - wanted).max(initial=0))
        if not error <= tolerance * np.abs(wanted).max(initial=0):
            raise SottovoceError(f"ONNX file: utterance {number} is {error:.2g} away from the artefact's")


def compare_chunks(data: bytes, artefact: Artefact, tolerance: float) -> None:
    """Raise SottovoceError unless onnxruntime makes of chunks, one by one, what the artefact does of all of them."""
    model = recognizer(artefact)
    banks = loud_and_soft(FRAMES * model.chunk, model.first.attributes["bins"])
    wanted = np.split(model.run(banks), FRAMES)
    ours = steps_of_onnx(data, banks.reshape(FRAMES, 1, model.chunk, -1))
    for number, (one, other) in enumerate(zip(ours, wanted, strict=True)):
        error = float(np.abs(one[0] - other).max())
        if not error <= tolerance * np.abs(other).max():
            raise SottovoceError(f"ONNX file: chunk {number} is {error:.2g} away from the artefact's")


def noise_bursts(shape: Shape) -> Array:
    """Frames [FRAMES, *shape] of noise from a seed, one in the middle silent."""
    frames = np.random.default_rng(0).standard_normal((FRAMES, *shape)).astype(np.float32)
    frames[FRAMES // 2] = 0
    return frames


def loud_and_soft(frames: int, bins: int) -> Array:
    """Filter banks [frames, bins] from a seed, about as those of speech."""
    random = np.random.default_rng(frames)
    return (4 * random.standard_normal((frames, bins)) - 7).astype(np.float32)


def frames_of_onnx(data: bytes, frames: Array) -> Iterator[Array]:
    """What onnxruntime makes of each of the frames [T, ...], with the state carried on from zeros."""
    for enhanced in steps_of_onnx(data, frames[:, None, :, None]):
        yield enhanced[0, :, 0]


def steps_of_onnx(data: bytes, inputs: Iterable[Array]) -> Iterator[Array]:
    """The first output for each of the inputs, with the state carried on from zeros."""
    session = opened(data)
    first, *states = session.get_inputs()
    carried = [np.zeros(state.shape, np.float32) for state in states]
    for x in inputs:
        before = dict(zip([state.name for state in states], carried, strict=True))
        value, *carried = session.run(None, {first.name: x} | before)
        yield value


def utterances_of_onnx(data: bytes, utterances: Sequence[Array]) -> list[Array]:
    """What onnxruntime makes of filter banks [T, bins] of each utterance, in one batch: [T', symbols] of each."""
    lengths = np.array([len(banks) for banks in utterances])
    # What is filled up is as silent as in sherpa-onnx.
    batch = np.full((len(utterances), lengths.max(), utterances[0].shape[1]), np.log(1e-10), np.float32)
    for row, banks in zip(batch, utterances, strict=True):
        row[: len(banks)] = banks
    values, left = opened(data).run(None, {"x": batch, "x_lens": lengths})
    return [value[:length] for value, length in zip(values, left, strict=True)]
