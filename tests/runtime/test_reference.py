"""Each reference operation against torch's own, and the law that state makes chunks equal to the whole."""

from itertools import pairwise

import numpy as np
import pytest
from conftest import BINS, FRAME, HOP, N_FFT

from sottovoce.artefact import graph
from sottovoce.runtime.frontend import WINDOWS
from sottovoce.runtime.reference import OPS

HIDDEN = 8
ATTRIBUTES = {
    "stft": FRAME,
    "istft": FRAME,
    "frames": FRAME,
    "overlap_add": FRAME,
    "fbank": {"n_fft": 2 * N_FFT, "hop": HOP, "bins": 5, "rate": 16_000, "low": 20.0, "high": 7000.0},
    "power_law": {"power": 0.3},
    "running_rms": {"decay": 0.95, "floor": 1e-3, "window_energy": 50.0},
    "affine": {"scale": 0.88, "shift": 0.12},
    "layer_norm": {"eps": 1e-5},
    "global_norm": {"eps": 1e-5},
    "time_norm": {"eps": 1e-5},
    "quantize": {"bits": 4, "low": -1.0, "high": 1.5},
    "quantize_dynamic": {"bits": 4},
    "slice": {"start": 1, "stop": 4},
    "take": {"channels": [3, -1, 0, 3]},
    "unflatten": {"size": 3},
    "fold": {"size": 2},
    "attention": {"heads": 2},
    "conv1d": {"dilation": 2, "groups": 1},
    "conv2d": {"stride": 2, "pad": 1},
    "conv_transpose2d": {"stride": 2, "pad": 1, "extra": 1},
    "lstm": {"hidden": HIDDEN},
    "gru": {"hidden": HIDDEN},
}
TENSORS = {
    "scale_shift": {"scale": (5,), "shift": (5,)},
    "layer_norm": {"weight": (5,), "bias": (5,)},
    "global_norm": {"weight": (5,), "bias": (5,)},
    "attention": {"position": (6, 4), "content_bias": (6,), "position_bias": (6,)},
    "prelu": {"weight": (5,)},
    "linear": {"weight": (3, 5), "bias": (3,)},
    "conv1d": {"weight": (4, 6, 3), "bias": (4,)},
    "conv2d": {"weight": (4, 3, 2, 3), "bias": (4,)},
    "conv_transpose2d": {"weight": (3, 4, 2, 5), "bias": (4,)},
    "lstm": {"weight_ih": (32, 5), "weight_hh": (32, HIDDEN), "bias_ih": (32,), "bias_hh": (32,)},
    "gru": {"weight_ih": (24, 5), "weight_hh": (24, HIDDEN), "bias_ih": (24,), "bias_hh": (24,)},
}
FEATURES = {                                   # axes behind batch and time, where they are not [5]
    "stft": None, "frames": None, "fbank": None,      # a waveform has none
    "istft": (BINS, 2), "magnitude": (BINS, 2), "power_law": (BINS, 2), "running_rms": (BINS, 2),
    "overlap_add": (N_FFT,), "complex_mul": (4, 2), "transpose": (4, 3), "flatten": (4, 3), "unflatten": (12,),
    "attention": (6,), "conv1d": (6,), "conv2d": (9, 3), "conv_transpose2d": (9, 3),
}  # fmt: skip


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def example(op, frames=7, batch=2):
    """Tensors and inputs for one operation; time is axis 1, in units of frames (hops for the waveform)."""
    tensors = {role: normal(*shape, seed=seed + 1) for seed, (role, shape) in enumerate(TENSORS.get(op, {}).items())}
    features = FEATURES.get(op, (5,))
    shape = (batch, frames * HOP) if features is None else (batch, frames, *features)
    inputs = [normal(*shape, seed=seed) for seed in range(graph.OPS[op].inputs or 3)]
    return tensors, [np.abs(x) + 0.1 for x in inputs] if op in ("log1p", "div") else inputs


def call(op, inputs, tensors, state=None):
    return OPS[op](ATTRIBUTES.get(op, {}), tensors, inputs, state or {})


def test_every_operation_of_the_format_has_a_reference():
    assert OPS.keys() == graph.OPS.keys()
    for op, needs in graph.OPS.items():
        assert ATTRIBUTES.get(op, {}).keys() == {*needs.attributes} - {*needs.optional}
        assert TENSORS.get(op, {}).keys() == set(needs.tensors)


@pytest.mark.parametrize("blocks", [[0, 1, 1, 1, 1, 1, 1, 1], [0, 3, 0, 1, 3]], ids=str)
@pytest.mark.parametrize("op", [op for op in OPS if op not in graph.WHOLE])
def test_frames_in_any_blocks_give_what_all_at_once_give(op, blocks):
    tensors, inputs = example(op)
    whole, last = call(op, inputs, tensors)
    state, parts = {}, []
    unit = HOP if FEATURES.get(op, ()) is None else 1
    for start, stop in pairwise(np.array(blocks).cumsum() * unit):
        part = [x[:, start:stop] for x in inputs]
        value, state = call(op, part, tensors, state)
        parts.append(value)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-5)
    assert state.keys() == last.keys()
    for name in state:
        np.testing.assert_allclose(state[name], last[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("op", OPS)
def test_an_operation_is_pure_and_stays_in_float32(op):
    tensors, inputs = example(op)
    _, state = call(op, inputs, tensors)
    before = [array.copy() for array in (*inputs, *tensors.values(), *state.values())]
    value, after = call(op, inputs, tensors, state)
    assert all(array.dtype == np.float32 for array in (value, *after.values()))
    for old, new in zip(before, (*inputs, *tensors.values(), *state.values()), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("op", [op for op in OPS if op not in graph.WHOLE])
def test_no_frames_leave_a_state_of_zeros(op):
    tensors, inputs = example(op, frames=0)
    _, state = call(op, inputs, tensors)
    assert not any(array.any() for array in state.values())


@pytest.mark.parametrize("window", WINDOWS)
def test_istft_gives_back_what_stft_took_a_hop_late(window):
    frame = FRAME | {"window": window}
    waveform = normal(2, 6 * HOP)
    spectrum, _ = OPS["stft"](frame, {}, [waveform], {})
    back, _ = OPS["istft"](frame, {}, [spectrum], {})
    np.testing.assert_allclose(back[:, HOP:], waveform[:, :-HOP], atol=1e-5)


@pytest.mark.parametrize("window", WINDOWS)
def test_overlap_add_gives_back_what_frames_took_a_hop_late(window):
    frame = FRAME | {"window": window}
    waveform = normal(2, 6 * HOP)
    frames, _ = OPS["frames"](frame, {}, [waveform], {})
    back, _ = OPS["overlap_add"](frame, {}, [frames], {})
    assert frames.shape == (2, 6, N_FFT)
    np.testing.assert_allclose(back[:, HOP:], waveform[:, :-HOP], atol=1e-5)


def test_frames_are_what_stft_transforms():
    _, inputs = example("stft")
    spectrum = np.fft.rfft(call("frames", inputs, {})[0])
    np.testing.assert_allclose(call("stft", inputs, {})[0][..., 0], spectrum.real, atol=1e-4)
    np.testing.assert_allclose(call("stft", inputs, {})[0][..., 1], spectrum.imag, atol=1e-4)


def test_sigmoid_of_huge_values_is_exactly_its_limit():
    value, _ = call("sigmoid", [np.array([[-1e30, 0, 1e30]], np.float32)], {})
    np.testing.assert_array_equal(value, [[0, 0.5, 1]])


def test_stft_agrees_with_torch():
    torch = pytest.importorskip("torch")
    waveform = normal(2, 5 * HOP)
    value, _ = call("stft", [waveform], {})
    window = torch.hamming_window(N_FFT, periodic=False)
    padded = torch.nn.functional.pad(torch.from_numpy(waveform), (N_FFT - HOP, 0))
    expected = torch.stft(padded, N_FFT, HOP, N_FFT, window, center=False, return_complex=True)
    np.testing.assert_allclose(value, torch.view_as_real(expected.transpose(1, 2)).numpy(), atol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_lstm_agrees_with_torch(batch):
    torch = pytest.importorskip("torch")
    tensors, inputs = example("lstm", batch=batch)
    layer = torch.nn.LSTM(5, HIDDEN, batch_first=True)
    layer.load_state_dict({f"{role}_l0": torch.from_numpy(array) for role, array in tensors.items()})
    with torch.no_grad():
        expected, (hidden, cell) = layer(torch.from_numpy(inputs[0]))
    value, state = call("lstm", inputs, tensors)
    np.testing.assert_allclose(value, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(state["hidden"], hidden[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(state["cell"], cell[0].numpy(), atol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 9])
def test_gru_agrees_with_torch(batch):
    torch = pytest.importorskip("torch")
    tensors, inputs = example("gru", batch=batch)
    layer = torch.nn.GRU(5, HIDDEN, batch_first=True)
    layer.load_state_dict({f"{role}_l0": torch.from_numpy(array) for role, array in tensors.items()})
    with torch.no_grad():
        expected, hidden = layer(torch.from_numpy(inputs[0]))
    value, state = call("gru", inputs, tensors)
    np.testing.assert_allclose(value, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(state["hidden"], hidden[0].numpy(), atol=1e-6)


@pytest.mark.parametrize("op", ["log1p", "relu", "elu", "sigmoid", "tanh", "add", "sub", "mul", "div"])
def test_elementwise_operations_agree_with_torch(op):
    torch = pytest.importorskip("torch")
    inputs = [normal(2, 7, 5, seed=seed) for seed in range(graph.OPS[op].inputs)]
    if op == "log1p":
        inputs = [np.abs(inputs[0])]
    function = getattr(torch, op, None) or getattr(torch.nn.functional, op)
    expected = function(*map(torch.from_numpy, inputs)).numpy()
    np.testing.assert_allclose(call(op, inputs, {})[0], expected, rtol=1e-6, atol=1e-7)


def test_elu_of_huge_values_is_its_limit_without_a_warning():
    with np.errstate(all="raise", under="ignore"):
        value, _ = call("elu", [np.array([[-1e30, 0, 1e30]], np.float32)], {})
    np.testing.assert_array_equal(value, np.array([[-1, 0, 1e30]], np.float32))


def test_norms_and_prelu_agree_with_torch():
    torch = pytest.importorskip("torch")
    for op in ("scale_shift", "layer_norm", "time_norm", "prelu"):
        tensors, inputs = example(op)
        x, given = torch.from_numpy(inputs[0]), {role: torch.from_numpy(array) for role, array in tensors.items()}
        if op == "scale_shift":
            fresh = torch.zeros(5), torch.ones(5)
            expected = torch.nn.functional.batch_norm(x.flatten(0, 1), *fresh, *given.values(), eps=0).view_as(x)
        elif op == "layer_norm":
            expected = torch.nn.functional.layer_norm(x, (5,), **given)
        elif op == "time_norm":
            expected = torch.nn.functional.instance_norm(x.transpose(1, 2)).transpose(1, 2)
        else:
            expected = torch.nn.functional.prelu(x.movedim(-1, 1), given["weight"]).movedim(1, -1)
        np.testing.assert_allclose(call(op, inputs, tensors)[0], expected.numpy(), rtol=1e-5, atol=1e-6)


def test_prelu_may_have_one_weight_for_all_channels():
    value, _ = call("prelu", [np.array([[[-2, 4]]], np.float32)], {"weight": np.array([0.25], np.float32)})
    np.testing.assert_array_equal(value, [[[-0.5, 4]]])


def test_products_and_powers_of_spectra_agree_with_complex_numbers():
    _, (a, b) = example("complex_mul")
    product = (a[..., 0] + 1j * a[..., 1]) * (b[..., 0] + 1j * b[..., 1])
    value, _ = call("complex_mul", [a, b], {})
    np.testing.assert_allclose(value[..., 0] + 1j * value[..., 1], product, rtol=1e-5, atol=1e-6)
    one, _ = call("complex_mul", [a[:, :, :1], b], {})
    np.testing.assert_allclose(one[:, :, :1], value[:, :, :1])
    spectrum = a[..., 0] + 1j * a[..., 1]
    compressed, _ = call("power_law", [a], {})
    expected = np.abs(spectrum) ** 0.3 * np.exp(1j * np.angle(spectrum))
    np.testing.assert_allclose(compressed[..., 0] + 1j * compressed[..., 1], expected, rtol=1e-4)


def test_power_law_of_silence_is_silence():
    value, _ = call("power_law", [np.zeros((1, 2, BINS, 2), np.float32)], {})
    np.testing.assert_array_equal(value, np.zeros((1, 2, BINS, 2)))


def test_shapes_change_as_in_numpy_and_only_behind_batch_and_time():
    x, y = normal(2, 7, 4, 6), normal(2, 7, 4, 6, seed=1)
    expected = {
        "concat": np.concatenate([x, y], axis=3), "stack": np.stack([x, y], axis=4), "slice": x[..., 1:4],
        "take": np.stack([x[..., 3], np.zeros_like(x[..., 0]), x[..., 0], x[..., 3]], axis=3),
        "transpose": x.transpose(0, 1, 3, 2), "flatten": x.reshape(2, 7, 24), "unflatten": x.reshape(2, 7, 4, 2, 3),
        "unsqueeze": x[..., None],
    }  # fmt: skip
    for op, value in expected.items():
        inputs = [x, y] if op in ("concat", "stack") else [x]
        np.testing.assert_array_equal(call(op, inputs, {})[0], value)
    for op in ("concat", "slice", "take", "transpose", "flatten", "unflatten"):
        with pytest.raises(ValueError, match="axes of features"):
            call(op, [normal(2, 7)], {})
    for op in ("transpose", "flatten"):
        with pytest.raises(ValueError, match="at least 2 axes of features wanted"):
            call(op, [normal(2, 7, 4)], {})


@pytest.mark.parametrize(
    ("op", "shape", "message"),
    [
        ("slice", (2, 7, 3), r"slice up to 4 of values \(2, 7, 3\)"),
        ("unflatten", (2, 7, 10), "unflatten by 3"),
        ("complex_mul", (2, 7, 3), "complex_mul of"),
        ("power_law", (2, 7, 3), "a spectrum of"),
        ("magnitude", (2, 7, BINS, 3), "a spectrum of"),
        ("overlap_add", (2, 7, 160), "frames of 320 samples"),
        ("scale_shift", (2, 7, 1), "5 channels wanted"),
        ("layer_norm", (2, 7, 6), "5 channels wanted"),
        ("prelu", (2, 7, 1), "5 channels wanted"),
        ("linear", (2, 7, 4), "matmul"),
        ("conv1d", (2, 7, 5), "conv1d of 6 channels"),
        ("conv2d", (2, 7, 9, 1), "conv2d of 3 channels"),
        ("conv2d", (2, 7, 9), "conv2d of 3 channels"),
        ("conv2d", (2, 7, 0, 3), "window"),
        ("conv_transpose2d", (2, 7, 9, 4), "conv_transpose2d of 3 channels"),
        ("conv_transpose2d", (2, 7, 0, 3), "conv_transpose2d to"),
    ],
)
def test_values_that_do_not_fit_are_a_value_error(op, shape, message):
    tensors, inputs = example(op)
    with pytest.raises(ValueError, match=message):
        call(op, [normal(*shape)] * len(inputs), tensors)


def test_linear_agrees_with_torch():
    torch = pytest.importorskip("torch")
    tensors, inputs = example("linear")
    given = map(torch.from_numpy, (inputs[0], tensors["weight"], tensors["bias"]))
    expected = torch.nn.functional.linear(*given).numpy()
    np.testing.assert_allclose(call("linear", inputs, tensors)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_rounding_takes_the_nearest_of_its_values_and_each_utterance_has_its_own_range(bits):
    x = normal(2, 7, 5) * np.array([1, 10], np.float32)[:, None, None]
    for low, high, value in (
        (-1.0, 1.5, OPS["quantize"]({"bits": bits, "low": -1.0, "high": 1.5}, {}, [x], {})[0]),
        (x[:1].min(), x[:1].max(), OPS["quantize_dynamic"]({"bits": bits}, {}, [x[:1]], {})[0]),
    ):
        there = np.linspace(low, high, 2**bits)
        nearest = there[np.abs(x[: len(value), ..., None] - there).argmin(-1)]
        np.testing.assert_allclose(value, nearest, atol=1e-6 + 1e-6 * abs(high))
    both, _ = OPS["quantize_dynamic"]({"bits": bits}, {}, [x], {})
    np.testing.assert_array_equal(both[1:], OPS["quantize_dynamic"]({"bits": bits}, {}, [x[1:]], {})[0])


def test_rounding_leaves_a_single_value_as_it_is():
    x = np.full((1, 3, 2), 0.3, np.float32)
    np.testing.assert_array_equal(OPS["quantize_dynamic"]({"bits": 8}, {}, [x], {})[0], x)
    np.testing.assert_array_equal(OPS["quantize"]({"bits": 8, "low": 0.5, "high": 0.5}, {}, [x], {})[0], x * 0 + 0.5)


def test_running_rms_of_a_steady_signal_is_its_rms_from_the_first_frame():
    spectrum = np.full((1, 50, BINS, 2), 3.0, np.float32)
    level, _ = call("running_rms", [spectrum], {})
    np.testing.assert_allclose(level, np.sqrt(18 / 50), rtol=1e-5)


def test_running_rms_never_falls_below_its_floor():
    level, _ = call("running_rms", [np.zeros((1, 3, BINS, 2), np.float32)], {})
    np.testing.assert_array_equal(level, np.full((1, 3, 1), 1e-3, np.float32))


def test_affine_scales_and_shifts():
    (_, inputs) = example("affine")
    value, _ = call("affine", inputs, {})
    assert np.allclose(value, 0.88 * inputs[0] + 0.12, atol=1e-6)
