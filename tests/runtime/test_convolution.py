"""Convolutions of every stride, dilation and grouping: against torch's own, and in blocks as at once."""

from itertools import pairwise

import numpy as np
import pytest

from sottovoce.runtime.reference import OPS

FRAMES, BINS = 9, 11
CASES = {
    "conv1d of one frame": ("conv1d", (6, 4, 1), {"dilation": 1, "groups": 1}),
    "conv1d": ("conv1d", (4, 6, 3), {"dilation": 1, "groups": 1}),
    "conv1d, dilated": ("conv1d", (4, 6, 3), {"dilation": 4, "groups": 1}),
    "conv1d, depthwise": ("conv1d", (6, 1, 3), {"dilation": 2, "groups": 6}),
    "conv1d, depthwise to more": ("conv1d", (12, 1, 3), {"dilation": 2, "groups": 6}),
    "conv1d, centred": ("conv1d", (4, 6, 3), {"dilation": 2, "groups": 1, "after": 2}),
    "conv1d, depthwise, all of it ahead": ("conv1d", (6, 1, 3), {"dilation": 2, "groups": 6, "after": 4}),
    "conv1d, in groups": ("conv1d", (9, 2, 2), {"dilation": 3, "groups": 3}),
    "conv1d, beyond the frames there are": ("conv1d", (4, 6, 5), {"dilation": 16, "groups": 1}),
    "conv2d of one frame": ("conv2d", (4, 3, 1, 3), {"stride": 2, "pad": 0}),
    "conv2d of one value": ("conv2d", (4, 3, 1, 1), {"stride": 1, "pad": 0}),
    "conv2d": ("conv2d", (4, 3, 2, 5), {"stride": 1, "pad": 2}),
    "conv2d of one channel, strided": ("conv2d", (4, 1, 2, 5), {"stride": 2, "pad": 1}),
    "conv2d of three frames": ("conv2d", (1, 3, 3, 4), {"stride": 3, "pad": 3}),
    "conv2d of all bins": ("conv2d", (4, 3, 2, BINS), {"stride": 5, "pad": 0}),
    "transposed, of one frame": ("conv_transpose2d", (3, 4, 1, 3), {"stride": 2, "pad": 0, "extra": 0}),
    "transposed": ("conv_transpose2d", (3, 4, 2, 5), {"stride": 1, "pad": 2, "extra": 0}),
    "transposed, strided": ("conv_transpose2d", (3, 4, 2, 5), {"stride": 2, "pad": 1, "extra": 1}),
    "transposed to one channel": ("conv_transpose2d", (3, 1, 3, 4), {"stride": 3, "pad": 3, "extra": 2}),
    "transposed, with gaps": ("conv_transpose2d", (3, 2, 2, 2), {"stride": 5, "pad": 1, "extra": 4}),
    "transposed, of one value": ("conv_transpose2d", (3, 2, 1, 1), {"stride": 1, "pad": 0, "extra": 0}),
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def example(case):
    """Operation, attributes, tensors and a value to work on."""
    op, shape, attributes = CASES[case]
    outputs = shape[1] if op == "conv_transpose2d" else shape[0]
    tensors = {"weight": normal(*shape, seed=1), "bias": normal(outputs, seed=2)}
    if op == "conv1d":
        return op, attributes, tensors, normal(2, FRAMES, shape[1] * attributes["groups"])
    return op, attributes, tensors, normal(2, FRAMES, BINS, shape[0] if op == "conv_transpose2d" else shape[1])


@pytest.mark.parametrize("case", CASES)
def test_it_agrees_with_torch(case):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    op, of, tensors, x = example(case)
    weight, bias = map(torch.from_numpy, tensors.values())
    channels_first = torch.from_numpy(x).movedim(-1, 1)
    if op == "conv1d":
        after = of.get("after", 0)
        padded = functional.pad(channels_first, ((weight.shape[2] - 1) * of["dilation"] - after, after))
        expected = functional.conv1d(padded, weight, bias, dilation=of["dilation"], groups=of["groups"])
    elif op == "conv2d":
        padded = functional.pad(channels_first, (of["pad"], of["pad"], weight.shape[2] - 1, 0))
        expected = functional.conv2d(padded, weight, bias, stride=(1, of["stride"]))
    else:
        more = {"stride": (1, of["stride"]), "padding": (0, of["pad"]), "output_padding": (0, of["extra"])}
        expected = functional.conv_transpose2d(channels_first, weight, bias, **more)[:, :, :FRAMES]
    value, _ = OPS[op](of, tensors, [x], {})
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, expected.movedim(1, -1).numpy(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cuts", [range(FRAMES + 1), [0, 4, 4, 5, FRAMES], [0, 0, 1, FRAMES]], ids=str)
@pytest.mark.parametrize("case", [case for case, (_, _, of) in CASES.items() if "after" not in of])
def test_in_blocks_it_gives_what_it_gives_at_once(case, cuts):
    op, of, tensors, x = example(case)
    whole, last = OPS[op](of, tensors, [x], {})
    state, parts = {}, []
    for start, stop in pairwise(cuts):
        value, state = OPS[op](of, tensors, [x[:, start:stop]], state)
        parts.append(value)
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-5, atol=1e-5)
    assert state.keys() == last.keys()
    for name in state:
        np.testing.assert_allclose(state[name], last[name], rtol=1e-5, atol=1e-5)
