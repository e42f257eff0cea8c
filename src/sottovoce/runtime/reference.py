"""What every operation computes, a numpy function each: plain to read, and what faster engines must equal.

An operation takes its node's attributes and tensors, its inputs of any number of frames, and the state it
left behind last time; it gives its value and the new state. An empty state is a fresh start. What is given is
left as it is.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sottovoce.runtime import convolution, frontend
from sottovoce.runtime.attention import attention
from sottovoce.runtime.fbank import fbank
from sottovoce.runtime.operation import Array, Attributes, Operation, Outcome, State, Tensors, expect, product, zeros

__all__ = ["OPS", "Array", "State"]


def affine(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """scale * x + shift."""
    return inputs[0] * np.float32(attributes["scale"]) + np.float32(attributes["shift"]), {}


def scale_shift(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """scale * x + shift with a scale and a shift for every channel of [..., C]: a batch norm after training."""
    (x,) = inputs
    _expect_channels(x, len(tensors["scale"]))
    return x * tensors["scale"] + tensors["shift"], {}


def layer_norm(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[..., C] with mean 0 and biased variance 1 over its channels, times a weight plus a bias for each."""
    (x,) = inputs
    _expect_channels(x, len(tensors["weight"]))
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + np.float32(attributes["eps"]))
    return centred / deviation * tensors["weight"] + tensors["bias"], {}


def quantize(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """The nearest of 2^bits values, evenly spaced from low to high."""
    low, high = np.float32(attributes["low"]), np.float32(attributes["high"])
    return _rounded(inputs[0].clip(low, high), low, high, attributes["bits"]), {}


def quantize_dynamic(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """As `quantize`, from the least to the greatest value that each [...] of [B, ...] has."""
    (x,) = inputs
    if not x.size:
        return x, {}
    axes = tuple(range(1, x.ndim))
    return _rounded(x, x.min(axes, keepdims=True), x.max(axes, keepdims=True), attributes["bits"]), {}


def global_norm(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[B, T, C] with mean 0 and biased variance 1 over all frames and channels, times a weight plus a bias for each."""
    (x,) = inputs
    _expect_channels(x, len(tensors["weight"]))
    axes = tuple(range(1, x.ndim))
    value: Array = x - x.mean(axes, keepdims=True)
    value /= np.sqrt(np.square(value).mean(axes, keepdims=True) + np.float32(attributes["eps"]))
    value *= tensors["weight"]
    value += tensors["bias"]
    return value, {}


def time_norm(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[B, T, ...] with mean 0 and biased variance 1 of every channel over all frames."""
    (x,) = inputs
    if not x.size:
        return x, {}
    value: Array = x - x.mean(axis=1, keepdims=True)
    value /= np.sqrt(np.square(value).mean(axis=1, keepdims=True) + np.float32(attributes["eps"]))
    return value, {}


def prelu(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """x where it is positive, else weight * x; one weight, or one for every channel of [..., C]."""
    (x,), weight = inputs, tensors["weight"]
    if len(weight) > 1:
        _expect_channels(x, len(weight))
    return np.maximum(x, np.float32(0)) + np.minimum(x, np.float32(0)) * weight, {}


def concat(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Values [..., C1], [..., C2] ... side by side on the last axis."""
    _expect_features(inputs[0], 1)
    return np.concatenate(inputs, axis=-1), {}


def slice_(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Places start to stop - 1 of the last axis."""
    (x,) = inputs
    _expect_features(x, 1)
    expect(attributes["stop"] <= x.shape[-1], f"slice up to {attributes['stop']} of values {x.shape}")
    return x[..., attributes["start"] : attributes["stop"]], {}


def take(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """The channels of these numbers, in their order, of [..., C]; a zero for -1."""
    (x,), channels = inputs, attributes["channels"]
    _expect_features(x, 1)
    expect(max(channels) < x.shape[-1], f"channel {max(channels)} of values {x.shape}")
    return np.take(np.concatenate([x, np.zeros_like(x[..., :1])], axis=-1), channels, axis=-1), {}


def transpose(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[..., Q, P] of [..., P, Q]."""
    (x,) = inputs
    _expect_features(x, 2)
    return x.swapaxes(-2, -1), {}


def flatten(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[..., P * Q] of [..., P, Q]."""
    (x,) = inputs
    _expect_features(x, 2)
    return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1]), {}


def unflatten(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[..., P, size] of [..., P * size]."""
    (x,), size = inputs, attributes["size"]
    _expect_features(x, 1)
    expect(x.shape[-1] % size == 0, f"unflatten by {size} of values {x.shape}")
    return x.reshape(*x.shape[:-1], x.shape[-1] // size, size), {}


def fold(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[B, T div size, ..., size C] of [B, T, ..., C]: frames side by side, the earliest first; the rest is dropped."""
    (x,), size = inputs, attributes["size"]
    _expect_features(x, 1)
    whole = x[:, : x.shape[1] // size * size]
    return np.concatenate([whole[:, first::size] for first in range(size)], axis=-1), {}


def log_softmax(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[..., C] less the logarithm of the sum of its exponentials over the channels."""
    (x,) = inputs
    _expect_features(x, 1)
    expect(x.shape[-1] > 0, f"log_softmax of values {x.shape}")
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True)), {}


def linear(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Weighted sums [..., O] of [..., I]."""
    value = product(inputs[0], tensors["weight"].T)
    return value + tensors["bias"] if "bias" in tensors else value, {}


def lstm(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Hidden values [B, T, H] of one LSTM layer over [B, T, I]; gates in torch's order i, f, g, o."""
    (x,) = inputs
    batch, frames = x.shape[:2]
    size = tensors["weight_hh"].shape[1]
    hidden = state.get("hidden", zeros(x, size))                              # [B, H]
    cell = state.get("cell", zeros(x, size)).copy()
    recurrent = tensors["weight_hh"]
    given = x @ tensors["weight_ih"].T + (tensors["bias_ih"] + tensors["bias_hh"])
    by_time = np.ascontiguousarray(given.swapaxes(0, 1))                       # [T, B, 4H]
    value = np.empty((frames, batch, size), np.float32)
    fed_back = np.empty((batch, 4 * size), np.float32)
    for gates, after in zip(by_time, value, strict=True):
        # For a few waveforms a matrix-vector product each is up to twice as fast as one matrix product.
        if batch <= 4:
            np.matmul(recurrent, hidden[:, :, None], out=fed_back[:, :, None])
        else:
            np.matmul(hidden, recurrent.T, out=fed_back)
        gates += fed_back
        new = gates[:, 2 * size : 3 * size]
        _sigmoid_in_place(gates[:, : 2 * size])
        np.tanh(new, out=new)
        _sigmoid_in_place(gates[:, 3 * size :])
        cell *= gates[:, size : 2 * size]
        cell += np.multiply(gates[:, :size], new, out=new)
        hidden = np.multiply(np.tanh(cell, out=after), gates[:, 3 * size :], out=after)
    return value.swapaxes(0, 1), {"hidden": hidden.copy(), "cell": cell}


def gru(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Hidden values [B, T, H] of one GRU layer over [B, T, I]; gates in torch's order r, z, n."""
    (x,) = inputs
    size = tensors["weight_hh"].shape[1]
    hidden = state.get("hidden", zeros(x, size))                              # [B, H]
    recurrent, bias = tensors["weight_hh"].T, tensors["bias_hh"]
    given = x @ tensors["weight_ih"].T + tensors["bias_ih"]
    value = np.empty((*x.shape[:2], size), np.float32)
    for t in range(x.shape[1]):
        fed_back = hidden @ recurrent + bias
        gates = given[:, t, : 2 * size] + fed_back[:, : 2 * size]
        _sigmoid_in_place(gates)
        reset, update = gates[:, :size], gates[:, size:]
        # A reset acts on what is fed back, its bias too, and not on what comes in.
        new = np.tanh(given[:, t, 2 * size :] + reset * fed_back[:, 2 * size :])
        value[:, t] = hidden = new + update * (hidden - new)
    return value, {"hidden": hidden.copy()}


def _elementwise(function: Callable[..., Any]) -> Operation:
    """The operation that applies a numpy function to its inputs and keeps no state."""

    def operation(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
        return function(*inputs), {}

    return operation


def _rounded(x: Array, low: Any, high: Any, bits: int) -> Array:
    # Of one value alone the range is nothing, and any step gives that value.
    step: Array = np.maximum((high - low) / np.float32(2**bits - 1), np.finfo(np.float32).tiny)
    places: Array = np.rint((x - low) / step)
    value: Array = places * step + low
    return value


def _elu(x: Array) -> Array:
    # exp(x) - 1 >= x, and 0 where x was positive: the larger is the one wanted on both sides.
    y = np.minimum(x, np.float32(0))
    np.exp(y, out=y)
    y -= np.float32(1)
    return np.maximum(x, y, out=y)


def _sigmoid(x: Array) -> Array:
    y = x.copy()
    _sigmoid_in_place(y)
    return y


def _sigmoid_in_place(x: Array) -> None:
    # By tanh, which never overflows, unlike exp.
    x *= np.float32(0.5)
    np.tanh(x, out=x)
    x += np.float32(1)
    x *= np.float32(0.5)


def _expect_features(x: Array, count: int) -> None:
    """Raise ValueError unless x has so many axes or more beyond batch and time."""
    expect(x.ndim >= 2 + count, f"at least {count} axes of features wanted, got values {x.shape}")


def _expect_channels(x: Array, count: int) -> None:
    """Raise ValueError unless the last axis of x holds so many features."""
    _expect_features(x, 1)
    expect(x.shape[-1] == count, f"{count} channels wanted, got values {x.shape}")


OPS: dict[str, Operation] = {
    "stft": frontend.stft,
    "istft": frontend.istft,
    "frames": frontend.frames,
    "overlap_add": frontend.overlap_add,
    "fbank": fbank,
    "magnitude": frontend.magnitude,
    "power_law": frontend.power_law,
    "running_rms": frontend.running_rms,
    "complex_mul": frontend.complex_mul,
    "add": _elementwise(np.add),
    "sub": _elementwise(np.subtract),
    "mul": _elementwise(np.multiply),
    "div": _elementwise(np.divide),
    "affine": affine,
    "scale_shift": scale_shift,
    "layer_norm": layer_norm,
    "global_norm": global_norm,
    "time_norm": time_norm,
    "quantize": quantize,
    "quantize_dynamic": quantize_dynamic,
    "log1p": _elementwise(np.log1p),
    "relu": _elementwise(lambda x: np.maximum(x, np.float32(0))),
    "elu": _elementwise(_elu),
    "sigmoid": _elementwise(_sigmoid),
    "tanh": _elementwise(np.tanh),
    "log_softmax": log_softmax,
    "prelu": prelu,
    "concat": concat,
    "stack": _elementwise(lambda *parts: np.stack(parts, axis=-1)),
    "slice": slice_,
    "take": take,
    "transpose": transpose,
    "flatten": flatten,
    "unflatten": unflatten,
    "unsqueeze": _elementwise(lambda x: x[..., None]),
    "time_mean": _elementwise(lambda x: x.mean(axis=1, keepdims=True)),
    "reverse": _elementwise(lambda x: x[:, ::-1]),
    "fold": fold,
    "linear": linear,
    "conv1d": convolution.conv1d,
    "conv2d": convolution.conv2d,
    "conv_transpose2d": convolution.conv_transpose2d,
    "attention": attention,
    "lstm": lstm,
    "gru": gru,
}
