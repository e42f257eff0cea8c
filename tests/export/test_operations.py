"""Every operation in ONNX: unmodified onnxruntime gives what the reference gives, frame after frame."""

import math

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import ENDS, OPS, WHOLE, Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored
from sottovoce.errors import SottovoceError
from sottovoce.export.check import check, frames_of_onnx
from sottovoce.export.inside import inside
from sottovoce.export.onnx import export_onnx
from sottovoce.export.operations import OF_FRAMES
from sottovoce.runtime import reference

N_FFT = 24
FRAME = {"n_fft": N_FFT, "hop": 12, "window": "rect"}
SPECTRUM, IMAGE, VECTOR = (12, 2), (8, 3), (24,)         # what the samples of a frame are taken for
CASES = {                                                # operation, features, shapes of tensors, attributes
    "magnitude": ("magnitude", SPECTRUM, {}, {}),
    "power_law": ("power_law", SPECTRUM, {}, {"power": 0.3}),
    "power_law, back": ("power_law", SPECTRUM, {}, {"power": 2.5}),
    "running_rms": ("running_rms", SPECTRUM, {}, {"decay": 0.9, "floor": 0.1, "window_energy": 3.0}),
    "complex_mul": ("complex_mul", SPECTRUM, {}, {}),
    **{op: (op, IMAGE, {}, {}) for op in ("add", "sub", "mul", "div", "relu", "elu", "sigmoid", "tanh")},
    "affine": ("affine", IMAGE, {}, {"scale": 0.5, "shift": -2.0}),
    "quantize": ("quantize", IMAGE, {}, {"bits": 3, "low": -1.0, "high": 1.5}),
    "scale_shift": ("scale_shift", IMAGE, {"scale": (3,), "shift": (3,)}, {}),
    "layer_norm": ("layer_norm", VECTOR, {"weight": (24,), "bias": (24,)}, {"eps": 1e-5}),
    "log_softmax": ("log_softmax", IMAGE, {}, {}),
    "log1p": ("log1p", SPECTRUM, {}, {}),
    "prelu": ("prelu", IMAGE, {"weight": (3,)}, {}),
    "prelu of one": ("prelu", IMAGE, {"weight": (1,)}, {}),
    "concat": ("concat", IMAGE, {}, {}),
    "stack": ("stack", IMAGE, {}, {}),
    "slice": ("slice", VECTOR, {}, {"start": 3, "stop": 20}),
    "slice of channels": ("slice", IMAGE, {}, {"start": 0, "stop": 2}),
    "take": ("take", VECTOR, {}, {"channels": [7, 2, 2, 23]}),
    "take and zeros": ("take", IMAGE, {}, {"channels": [-1, 2, 0, -1]}),
    "transpose": ("transpose", IMAGE, {}, {}),
    "flatten": ("flatten", IMAGE, {}, {}),
    "unflatten": ("unflatten", IMAGE, {}, {"size": 1}),
    "unsqueeze": ("unsqueeze", IMAGE, {}, {}),
    "linear": ("linear", IMAGE, {"weight": (5, 3), "bias": (5,)}, {}),
    "linear without a bias": ("linear", IMAGE, {"weight": (5, 3)}, {}),
    "lstm": ("lstm", VECTOR, {"weight_ih": (20, 24), "weight_hh": (20, 5), "bias_ih": (20,), "bias_hh": (20,)},
             {"hidden": 5}),
    "gru": ("gru", VECTOR, {"weight_ih": (15, 24), "weight_hh": (15, 5), "bias_ih": (15,), "bias_hh": (15,)},
            {"hidden": 5}),
    "conv1d of one frame": ("conv1d", VECTOR, {"weight": (5, 24, 1), "bias": (5,)}, {"dilation": 1, "groups": 1}),
    "conv1d": ("conv1d", VECTOR, {"weight": (5, 24, 3), "bias": (5,)}, {"dilation": 4, "groups": 1}),
    "conv1d, depthwise": ("conv1d", VECTOR, {"weight": (24, 1, 3), "bias": (24,)}, {"dilation": 2, "groups": 24}),
    "conv1d, in groups": ("conv1d", VECTOR, {"weight": (9, 8, 2), "bias": (9,)}, {"dilation": 1, "groups": 3}),
    "conv2d of one frame": ("conv2d", IMAGE, {"weight": (4, 3, 1, 3), "bias": (4,)}, {"stride": 2, "pad": 0}),
    "conv2d": ("conv2d", IMAGE, {"weight": (4, 3, 2, 5), "bias": (4,)}, {"stride": 1, "pad": 2}),
    "conv2d of three frames": ("conv2d", IMAGE, {"weight": (4, 3, 3, 4), "bias": (4,)}, {"stride": 3, "pad": 1}),
    "transposed, of one frame": ("conv_transpose2d", IMAGE, {"weight": (3, 4, 1, 3), "bias": (4,)},
                                 {"stride": 2, "pad": 0, "extra": 1}),
    "transposed": ("conv_transpose2d", IMAGE, {"weight": (3, 4, 2, 5), "bias": (4,)},
                   {"stride": 2, "pad": 1, "extra": 0}),
    "transposed, of three frames": ("conv_transpose2d", IMAGE, {"weight": (3, 4, 3, 2), "bias": (4,)},
                                    {"stride": 4, "pad": 1, "extra": 3}),
}  # fmt: skip


def packed(shape: tuple[int, ...], form: str = "codebook", seed: int = 0, outputs: int = 0) -> Stored:
    """A weight in one of the forms, half of it zeros; levels with a scale for each output."""
    random = np.random.default_rng(seed)
    codes = random.integers(1, 16, shape) * (random.random(shape) < 0.5)
    table = np.concatenate([[0], random.normal(0, 1, 15)]).astype(np.float32)
    if form == "codebook":
        return Codebook(codes.astype(np.uint8), table)
    if form == "levels":
        scale = np.ones([size if axis == outputs else 1 for axis, size in enumerate(shape)], np.float32)
        return Levels((codes // 4).astype(np.int8), scale * random.uniform(0.1, 1, scale.shape).astype(np.float32), 3)
    return Dense(table[codes]) if form == "dense" else Sparse(codes > 0, table[codes[codes > 0]])


def model(case: str, form: str = "codebook") -> Artefact:
    """Frames whose samples go through one operation; a linear layer makes frames of its value again."""
    op, features, shapes, attributes = CASES[case]
    tensors = {role: packed(shape, form if len(shape) > 1 else "dense", seed, outputs=int("transpose" in op))
               for seed, (role, shape) in enumerate(shapes.items())}
    nodes = [
        Node("frames", "frame", ("waveform",), attributes=FRAME),
        Node("affine", "smaller", ("frame",), attributes={"scale": 0.1, "shift": 0.7}),
    ]
    # log1p and div want the one that is far from -1 and 0.
    names = ("frame", "smaller", "frame") if OPS[op].inputs != 1 else ("smaller" if op == "log1p" else "frame",)
    if len(features) == 2:
        nodes += [Node("unflatten", f"{name} in two axes", (name,), attributes={"size": features[1]})
                  for name in sorted({*names})]
        names = tuple(f"{name} in two axes" for name in names)
    names = names[: OPS[op].inputs or 3]
    nodes.append(Node(op, "value", names, {role: role for role in tensors}, attributes))
    value = np.ones((1, 1, *features), np.float32)
    dense = {role: stored.to_array() for role, stored in tensors.items()}
    shape = reference.OPS[op](attributes, dense, [value] * len(names), {})[0].shape[2:]
    for axis in range(len(shape) - 1):
        nodes.append(Node("flatten", f"flat {axis}", (nodes[-1].name,)))
    ones = Dense(np.ones(N_FFT, np.float32))
    tensors |= {"last weight": packed((N_FFT, math.prod(shape)), seed=9), "last bias": ones}
    nodes.append(Node("linear", "mixed", (nodes[-1].name,), {"weight": "last weight", "bias": "last bias"}))
    nodes.append(Node("overlap_add", "output", ("mixed",), attributes=FRAME))
    return Artefact(Graph(("waveform",), ("output",), tuple(nodes)), tensors, {"sample_rate": 16_000})


def test_every_operation_between_the_ends_has_an_onnx_form_and_a_case() -> None:
    assert OF_FRAMES.keys() == OPS.keys() - {op for pair in ENDS for op in pair} - WHOLE
    assert OF_FRAMES.keys() == {op for op, *_ in CASES.values()}


@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_gives_what_the_reference_gives(case: str) -> None:
    artefact = model(case)
    frames = np.random.default_rng(1).standard_normal((30, N_FFT)).astype(np.float32)
    data = export_onnx(artefact)
    ours, wanted = np.array([*frames_of_onnx(data, frames)]), np.array([*inside(artefact).run(frames)])
    assert wanted.std() > 0.05
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)
    check(data, artefact)


@pytest.mark.parametrize("form", ["codebook", "dense", "sparse", "levels"])
@pytest.mark.parametrize("case", [case for case in CASES if "conv" in CASES[case][0]])
def test_kernels_of_every_form_lie_there_packed(case: str, form: str) -> None:
    artefact = model(case, form)
    data = export_onnx(artefact)
    check(data, artefact)
    kernel = artefact.tensors["weight"]
    floats = {role.name: numpy_helper.to_array(role).size for role in onnx.load_from_string(data).graph.initializer
              if role.name.startswith("weight") and role.data_type == onnx.TensorProto.FLOAT}
    wanted = {"codebook": 16, "dense": math.prod(kernel.shape), "sparse": np.count_nonzero(kernel.to_array()),
              "levels": 7 + kernel.shape[1 if "transposed" in case else 0]}
    assert sum(floats.values()) <= wanted[form]


def test_what_has_no_single_frames_is_refused() -> None:
    artefact = model("conv1d")
    nodes = artefact.graph.nodes
    ahead = Node("conv1d", "value", nodes[-3].inputs, nodes[-3].tensors, nodes[-3].attributes | {"after": 4})
    for graph, message in (
        (Graph(("waveform",), ("output",), (*nodes[:-3], ahead, *nodes[-2:])), r"looks ahead \(conv1d value\)"),
        (Graph(("waveform", "voice"), ("output",), nodes), "a model of one waveform, got one of waveform, voice"),
    ):
        with pytest.raises(SottovoceError, match=message):
            export_onnx(Artefact(graph, artefact.tensors, artefact.meta))


def test_a_model_of_samples_is_no_model_for_the_slot_of_spectra() -> None:
    """sherpa-onnx would feed it spectra."""
    loaded = onnx.load_from_string(export_onnx(model("conv1d")))
    metadata = {prop.key: prop.value for prop in loaded.metadata_props}
    assert (metadata["model_type"], metadata["window_type"]) == ("frames", "rect")
    shapes = [[axis.dim_value for axis in port.type.tensor_type.shape.dim] for port in loaded.graph.input]
    assert shapes == [[1, N_FFT, 1], [1, 1, 2 * 4 * N_FFT], [1, 1, 1], [1, 1, 1]]
