"""Each reference operation against torch's own, and the law that state makes chunks equal to the whole."""

import numpy as np
import pytest
from conftest import BINS, FRAME, HOP, N_FFT

from sottovoce.artefact import graph
from sottovoce.runtime.reference import OPS, WINDOWS

HIDDEN = 8
ATTRIBUTES = {
    "stft": FRAME,
    "istft": FRAME,
    "running_rms": {"decay": 0.95, "floor": 1e-3, "window_energy": 50.0},
    "lstm": {"hidden": HIDDEN},
    "affine": {"scale": 0.88, "shift": 0.12},
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def example(op, frames=7, batch=2):
    """Tensors and inputs for one operation; time is axis 1, in units of frames (hops for the waveform)."""
    if op == "stft":
        return {}, [normal(batch, frames * HOP)]
    if op in ("istft", "magnitude", "running_rms"):
        return {}, [normal(batch, frames, BINS, 2)]
    if op == "lstm":
        shapes = {"weight_ih": (32, 5), "weight_hh": (32, HIDDEN), "bias_ih": (32,), "bias_hh": (32,)}
        return {role: normal(*shape, seed=1) for role, shape in shapes.items()}, [normal(batch, frames, 5)]
    if op == "linear":
        return {"weight": normal(3, 5, seed=1), "bias": normal(3, seed=2)}, [normal(batch, frames, 5)]
    inputs = [np.abs(normal(batch, frames, 5, seed=seed)) + 0.1 for seed in range(graph.OPS[op].inputs)]
    return {}, inputs


def call(op, inputs, tensors, state=None):
    return OPS[op](ATTRIBUTES.get(op, {}), tensors, inputs, state or {})


def test_every_operation_of_the_format_has_a_reference():
    assert OPS.keys() == graph.OPS.keys()
    for op, needs in graph.OPS.items():
        assert ATTRIBUTES.get(op, {}).keys() == set(needs.attributes)
        assert example(op)[0].keys() == set(needs.tensors)


@pytest.mark.parametrize("op", OPS)
def test_frames_one_by_one_give_what_all_at_once_give(op):
    tensors, inputs = example(op)
    whole, last = call(op, inputs, tensors)
    state, parts = {}, []
    unit = HOP if op == "stft" else 1
    for frame in range(7):
        part = [x[:, frame * unit : (frame + 1) * unit] for x in inputs]
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


@pytest.mark.parametrize("op", OPS)
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


@pytest.mark.parametrize(
    ("op", "name"),
    [("log1p", "log1p"), ("relu", "relu"), ("sigmoid", "sigmoid"), ("mul", "mul"), ("div", "div")],
)
def test_elementwise_operations_agree_with_torch(op, name):
    torch = pytest.importorskip("torch")
    inputs = [normal(2, 7, 5, seed=seed) for seed in range(graph.OPS[op].inputs)]
    if op == "log1p":
        inputs = [np.abs(inputs[0])]
    expected = getattr(torch, name)(*map(torch.from_numpy, inputs)).numpy()
    np.testing.assert_allclose(call(op, inputs, {})[0], expected, rtol=1e-6, atol=1e-7)


def test_linear_agrees_with_torch():
    torch = pytest.importorskip("torch")
    tensors, inputs = example("linear")
    given = map(torch.from_numpy, (inputs[0], tensors["weight"], tensors["bias"]))
    expected = torch.nn.functional.linear(*given).numpy()
    np.testing.assert_allclose(call("linear", inputs, tensors)[0], expected, rtol=1e-5, atol=1e-6)


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
