"""What every operation computes, a numpy function each: plain to read, and what faster engines must equal.

An operation takes its node's attributes and tensors, its inputs of any number of frames, and the state it
left behind last time; it gives its value and the new state. An empty state is a fresh start. What is given is
left as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Attributes = Mapping[str, Any]
Tensors = Mapping[str, Array]
State = dict[str, Array]
Outcome = tuple[Array, State]                                        # value and new state
Operation = Callable[[Attributes, Tensors, Sequence[Array], State], Outcome]

WINDOWS: dict[str, Callable[[int], NDArray[np.float64]]] = {
    "hamming": np.hamming,                                     # symmetric: first and last value are equal
    "hann_sqrt": lambda n: np.sqrt(np.hanning(n + 1)[:-1]),    # root of the periodic Hann
}


def stft(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Spectrum [B, T, F, 2] of T hops [B, T * hop]: unscaled DFT of the windows that end with each."""
    (waveform,) = inputs
    n_fft, hop = attributes["n_fft"], attributes["hop"]
    past = state.get("samples", _zeros(waveform, n_fft - hop))                 # [B, n_fft - hop]
    samples = np.concatenate([past, waveform], axis=1)
    hops = samples.reshape(len(samples), -1, hop)
    frames = hops.shape[1] - n_fft // hop + 1
    windows = np.concatenate([hops[:, i : i + frames] for i in range(n_fft // hop)], axis=2)
    spectrum = np.fft.rfft(windows * _window(attributes["window"], n_fft)).astype(np.complex64)
    value = np.stack([spectrum.real, spectrum.imag], axis=-1)
    return value, {"samples": samples[:, samples.shape[1] - past.shape[1] :]}


def istft(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """T hops [B, T * hop] of a spectrum [B, T, F, 2], n_fft - hop samples late: weighted overlap-add.

    Each frame is windowed again, added, and divided by the sum of squared windows (Griffin and Lim 1984,
    eq. 6).
    """
    (spectrum,) = inputs
    n_fft, hop = attributes["n_fft"], attributes["hop"]
    batch, count = spectrum.shape[:2]
    window, overlaps = _window(attributes["window"], n_fft), n_fft // hop
    frames = np.fft.irfft(spectrum[..., 0] + 1j * spectrum[..., 1], n_fft).astype(np.float32) * window
    parts = frames.reshape(batch, count, overlaps, hop)
    sums = np.zeros((batch, count + overlaps - 1, hop), np.float32)
    sums[:, : overlaps - 1] = state.get("overlap", 0.0)
    for i in range(overlaps):
        sums[:, i : i + count] += parts[:, :, i]
    norm = np.square(window).reshape(overlaps, hop).sum(axis=0)
    return (sums[:, :count] / norm).reshape(batch, count * hop), {"overlap": sums[:, count:].copy()}


def magnitude(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Magnitude [B, T, F] of a spectrum [B, T, F, 2], never quite zero, so that one may divide by it."""
    (spectrum,) = inputs
    return np.sqrt(np.square(spectrum).sum(axis=-1) + np.float32(1e-12)), {}


def running_rms(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Level [B, T, 1] so far of a spectrum [B, T, F, 2]: root of its exponentially weighted mean power."""
    (spectrum,) = inputs
    decay = np.float32(attributes["decay"])
    power = np.square(spectrum).sum(axis=-1).mean(axis=-1) / np.float32(attributes["window_energy"])
    total, weight = state.get("power", _zeros(power)), state.get("weight", _zeros(power))      # [B]
    mean = np.empty_like(power)
    for t in range(power.shape[1]):
        total = decay * total + power[:, t]
        weight = decay * weight + np.float32(1)
        mean[:, t] = total / weight
    level = np.maximum(np.sqrt(mean), np.float32(attributes["floor"]))
    return level[:, :, None], {"power": total, "weight": weight}


def affine(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """scale * x + shift."""
    return inputs[0] * np.float32(attributes["scale"]) + np.float32(attributes["shift"]), {}


def linear(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Weighted sums [..., O] of [..., I]."""
    (x,) = inputs
    return x @ tensors["weight"].T + tensors["bias"], {}


def lstm(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Hidden values [B, T, H] of one LSTM layer over [B, T, I]; gates in torch's order i, f, g, o."""
    (x,) = inputs
    batch, frames = x.shape[:2]
    size = tensors["weight_hh"].shape[1]
    hidden = state.get("hidden", _zeros(x, size))                              # [B, H]
    cell = state.get("cell", _zeros(x, size)).copy()
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


def _elementwise(function: Callable[..., Any]) -> Operation:
    """The operation that applies a numpy function to its inputs and keeps no state."""

    def operation(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
        return function(*inputs), {}

    return operation


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


@cache
def _window(name: str, n_fft: int) -> Array:
    return WINDOWS[name](n_fft).astype(np.float32)


def _zeros(like: Array, *shape: int) -> Array:
    """Zeros [B, *shape] for the batch of `like`."""
    return np.zeros((like.shape[0], *shape), np.float32)


OPS: dict[str, Operation] = {
    "stft": stft,
    "istft": istft,
    "magnitude": magnitude,
    "running_rms": running_rms,
    "mul": _elementwise(np.multiply),
    "div": _elementwise(np.divide),
    "affine": affine,
    "log1p": _elementwise(np.log1p),
    "relu": _elementwise(lambda x: np.maximum(x, np.float32(0))),
    "sigmoid": _elementwise(_sigmoid),
    "unsqueeze": _elementwise(lambda x: x[..., None]),
    "linear": linear,
    "lstm": lstm,
}
