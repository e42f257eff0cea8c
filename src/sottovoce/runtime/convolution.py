"""Convolutions over [B, T, ..., channels], causal but for one: a matrix product each, and sums that are shifted.

They are torch's (cross-correlations, weights as there) with zeros before the first frame; what later frames need of
earlier ones is their state.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from sottovoce.runtime.operation import Array, Attributes, Outcome, State, Tensors, expect, product, zeros


def conv1d(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[B, T, O] of [B, T, I]: output t sees inputs up to t + after, `dilation` apart, each group its own channels.

    `after` is 0 where it is not given; else all frames have to come at once.
    """
    (x,) = inputs
    weight, bias = tensors["weight"], tensors["bias"]
    dilation, groups = attributes["dilation"], attributes["groups"]
    outputs, taken, width = weight.shape
    expect(x.shape[2:] == (groups * taken,), f"conv1d of {groups * taken} channels over values {x.shape}")
    frames = x.shape[1]
    past, after = (width - 1) * dilation, attributes.get("after", 0)
    x, kept = (np.pad(x, ((0, 0), (past - after, after), (0, 0))), {}) if after else _after_past(x, state, past)
    taps = [x[:, k * dilation : k * dilation + frames] for k in range(width)]
    if groups == outputs and taken == 1:
        value = sum((tap * weight[:, 0, k] for k, tap in enumerate(taps)), start=bias)
        return value, kept
    parts = []
    for group, of_group in enumerate(np.split(weight, groups)):
        slices = [tap[..., group * taken : (group + 1) * taken] for tap in taps]
        matrix = of_group.transpose(2, 1, 0).reshape(width * taken, outputs // groups)
        parts.append(product(np.concatenate(slices, axis=2), matrix))
    return np.concatenate(parts, axis=2) + bias, kept


def conv2d(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[B, T, F', O] of [B, T, F, I]: KT frames up to this one, KF bins every `stride`, `pad` zeros at both ends."""
    (x,) = inputs
    weight, bias = tensors["weight"], tensors["bias"]
    stride, pad = attributes["stride"], attributes["pad"]
    outputs, channels, times, bins = weight.shape
    expect(x.ndim == 4 and x.shape[3] == channels, f"conv2d of {channels} channels over values {x.shape}")
    frames = x.shape[1]
    x, kept = _after_past(x, state, times - 1)
    if pad:
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (0, 0)))
    windows = sliding_window_view(x, bins, axis=2)[:, :, ::stride].swapaxes(3, 4)            # [B, T, F', KF, I]
    matrix = weight.transpose(3, 1, 2, 0).reshape(bins * channels, times * outputs)
    parts = product(windows.reshape(*windows.shape[:3], len(matrix)), matrix)
    value = parts[:, :frames, :, :outputs] + bias
    for t in range(1, times):
        value += parts[:, t : t + frames, :, t * outputs : (t + 1) * outputs]
    return value, kept


def conv_transpose2d(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """[B, T, F', O] of [B, T, F, I]: each value spreads over KT frames from this one on and KF bins.

    F' = (F - 1) stride + KF + extra - 2 pad: `pad` bins are cut off at both ends after `extra` are put at the last.
    """
    (x,) = inputs
    weight, bias = tensors["weight"], tensors["bias"]
    stride, pad, extra = (attributes[name] for name in ("stride", "pad", "extra"))
    channels, outputs, times, bins = weight.shape
    expect(x.ndim == 4 and x.shape[3] == channels, f"conv_transpose2d of {channels} channels over values {x.shape}")
    batch, frames, places = x.shape[:3]
    size = (places - 1) * stride + bins + extra - 2 * pad
    expect(places > 0 and size > 0, f"conv_transpose2d to {size} bins")
    matrix = weight.transpose(0, 2, 3, 1).reshape(channels, times * bins * outputs)
    spread = product(x, matrix).reshape(batch, frames, places, times, bins, outputs)
    # Bins as [cell, stride]: what falls on one cell from one place lies there side by side.
    cells = places - 1 + math.ceil((bins + extra) / stride)
    sums = zeros(x, frames + times - 1, cells, stride, outputs)
    for t in range(times):
        for first in range(0, bins, stride):
            part, cell = spread[:, :, :, t, first : first + stride], first // stride
            sums[:, t : t + frames, cell : cell + places, : part.shape[3]] += part
    cut = sums.reshape(batch, frames + times - 1, cells * stride, outputs)[:, :, pad : pad + size]
    if times == 1:
        return cut + bias, {}
    cut[:, : times - 1] += state.get("overlap", np.float32(0))
    return cut[:, :frames] + bias, {"overlap": cut[:, frames:].copy()}


def _after_past(x: Array, state: State, count: int) -> Outcome:
    """x [B, T, ...] behind the `count` frames before it, zeros before the first; and what the next call needs."""
    if not count:
        return x, {}
    both = np.concatenate([state.get("past", zeros(x, count, *x.shape[2:])), x], axis=1)
    return both, {"past": both[:, x.shape[1] :].copy()}
