"""Shrinking: the same output, really smaller tensors, and nothing taken that somebody needs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import toy
from artefacts import levels
from sketch import BINS, Sketch, holes, in_forms

from sottovoce.artefact import Artefact
from sottovoce.artefact.features import RULES
from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.graph import GATES, OPS, Node
from sottovoce.artefact.shrink import shrink
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse
from sottovoce.packing import pack
from sottovoce.runtime import Session


def shapes(artefact: Artefact) -> dict[str, tuple[int, ...]]:
    return {name: stored.shape for name, stored in artefact.tensors.items()}


def same(before: Artefact, after: Artefact) -> bool:
    """Whether two models say the same, offline and frame by frame, after a round trip through the file."""
    random, conditions = np.random.default_rng(9), [np.ones(999, np.float32)] * (len(before.graph.inputs) - 1)
    session = Session(decode(encode(after))).given(*conditions)
    hop, delay = session.hop, session.delay
    waveform = random.normal(0, 1, (2, 20 * hop)).astype(np.float32)
    wanted = Session(before).given(*conditions).run(waveform)
    if not session.causal:
        return bool(np.abs(session.run(waveform) - wanted).max() < 1e-5)
    frames = [session.step(waveform[:, start : start + hop]) for start in range(0, 20 * hop, hop)]
    streamed = np.concatenate([*frames, session.step(np.zeros((2, delay), np.float32))], 1)[:, delay:]
    return bool(np.abs(session.run(waveform) - wanted).max() < 1e-5 and np.abs(streamed - wanted).max() < 1e-5)


def test_every_operation_has_its_rule() -> None:
    assert RULES.keys() == OPS.keys()


def test_a_column_that_reads_nothing_takes_the_row_that_made_it() -> None:
    sketch = Sketch()
    hidden = sketch.add("relu", sketch.linear("magnitude", sketch.normal(7, BINS)))
    artefact = sketch.gain(sketch.linear(hidden, holes(sketch.normal(BINS, 7), columns=[1, 4, 5])))
    small = shrink(artefact)
    assert sorted(shapes(small).values()) == [(4,), (4, 5), (5,), (5, 4)]
    assert same(artefact, small)
    assert small.meta["removed"] == {
        "linear2.weight": [[7, 5], [4, 5]], "linear2.bias": [[7], [4]], "linear4.weight": [[5, 7], [5, 4]],
    }


def test_what_only_the_removed_read_goes_too() -> None:
    sketch = Sketch()
    first = sketch.linear("magnitude", sketch.normal(6, BINS))
    second = sketch.normal(4, 6)
    second[1:, 2] = 0                                  # unit 2 is read by unit 0 alone, which nobody reads
    hidden = sketch.linear(first, second)
    artefact = sketch.gain(sketch.linear(hidden, holes(sketch.normal(BINS, 4), columns=[0])))
    small = shrink(artefact)
    assert shapes(small)["linear2.weight"] == (5, BINS) and shapes(small)["linear3.weight"] == (3, 5)
    assert same(artefact, small)


def test_units_of_an_lstm_that_only_feed_each_other_go() -> None:
    sketch = Sketch()
    weight_hh = sketch.normal(4, 6, 6)
    weight_hh[:, [0, 1, 2, 3], 4:] = 0                 # 4 and 5 read all and each other, the rest read neither
    lower = sketch.lstm("magnitude", sketch.normal(24, BINS), weight_hh.reshape(24, 6))
    upper = sketch.lstm(lower, holes(sketch.normal(12, 6), columns=[4, 5]), sketch.normal(12, 3))
    artefact = sketch.mask(upper, 3)
    small = shrink(artefact)
    assert shapes(small)["lstm2.weight_ih"] == (16, BINS) and shapes(small)["lstm2.weight_hh"] == (16, 4)
    assert shapes(small)["lstm2.bias_hh"] == (16,) and shapes(small)["lstm3.weight_ih"] == (12, 4)
    assert small.graph.nodes[2].attributes == {"hidden": 4}
    assert same(artefact, small)
    assert {name: array.shape for name, array in stepped(small).items() if "lstm2" in name} == {
        "lstm2.hidden": (1, 4), "lstm2.cell": (1, 4),
    }


def test_units_of_a_gru_go_with_their_three_gates() -> None:
    sketch = Sketch()
    weight_hh = sketch.normal(3, 5, 5)
    weight_hh[:, [0, 2, 3], 1] = weight_hh[:, [0, 2, 3], 4] = 0        # 1 and 4 feed each other alone
    lower = sketch.recurrent("gru", "magnitude", sketch.normal(15, BINS), weight_hh.reshape(15, 5))
    artefact = sketch.gain(sketch.linear(lower, holes(sketch.normal(BINS, 5), columns=[1, 4])))
    small = shrink(artefact)
    assert shapes(small)["gru2.weight_ih"] == (9, BINS) and shapes(small)["gru2.weight_hh"] == (9, 3)
    assert small.graph.nodes[2].attributes == {"hidden": 3} and same(artefact, small)
    assert stepped(small)["gru2.hidden"].shape == (1, 3)


def stepped(artefact: Artefact) -> dict[str, np.ndarray]:
    session = Session(artefact)
    session.step(np.ones(4, np.float32))
    return session.state


def test_a_unit_that_a_needed_one_reads_stays() -> None:
    sketch = Sketch()
    weight_hh = np.zeros((16, 4))
    weight_hh[6, 3] = 0.5                              # gate f of unit 2 reads unit 3, gate i of unit 3 reads unit 1
    weight_hh[3, 1] = 0.5
    lower = sketch.lstm("magnitude", sketch.normal(16, BINS), weight_hh)
    artefact = sketch.gain(sketch.linear(lower, holes(sketch.normal(BINS, 4), columns=[0, 1, 3])))
    small = shrink(artefact)
    assert shapes(small)["lstm2.weight_hh"] == (12, 3) and same(artefact, small)


def test_channels_of_convolutions_go_with_their_norms() -> None:
    sketch = Sketch()
    x = sketch.add("unsqueeze", "magnitude")
    x = sketch.conv("conv2d", x, sketch.normal(6, 1, 2, 3), stride=2, pad=1)                  # [3, 6]
    x = sketch.add("scale_shift", x, tensors={"scale": sketch.normal(6), "shift": sketch.normal(6)})
    x = sketch.add("prelu", x, tensors={"weight": sketch.normal(6)})
    kernels = holes(sketch.normal(4, 6, 1, 3), columns=[0, 2])
    x = sketch.conv("conv2d", x, kernels, stride=2, pad=1)                                    # [2, 4]
    x = sketch.add("prelu", x, tensors={"weight": sketch.normal(1)})
    x = sketch.conv("conv_transpose2d", x, holes(sketch.normal(4, 3, 2, 3), rows=[3]), stride=2, pad=1, extra=0)
    x = sketch.conv("conv_transpose2d", x, holes(sketch.normal(3, 1, 1, 3), rows=[1]), stride=2, pad=1, extra=0)
    artefact = sketch.gain(sketch.add("flatten", x))
    small = shrink(artefact)
    assert [shape for name, shape in shapes(small).items() if not name.endswith("bias")] == [
        (4, 1, 2, 3), (4,), (4,), (4,), (3, 4, 1, 3), (1,), (3, 2, 2, 3), (2, 1, 1, 3),
    ]
    assert same(artefact, small)


def test_a_gate_goes_with_what_it_gates() -> None:
    sketch = Sketch()
    x = sketch.add("unsqueeze", "magnitude")
    gate, value = (sketch.conv("conv2d", x, sketch.normal(5, 1, 1, 3), stride=2, pad=0) for _ in range(2))
    x = sketch.add("elu", sketch.add("mul", value, sketch.add("sigmoid", gate)))              # [2, 5]
    x = sketch.add("flatten", sketch.add("transpose", x))                                     # channels outside
    artefact = sketch.mask(sketch.lstm(x, holes(sketch.normal(12, 10), columns=[2, 3, 7]), sketch.normal(12, 3)), 3)
    small = shrink(artefact)
    assert shapes(small)["conv2d3.weight"] == shapes(small)["conv2d4.weight"] == (4, 1, 1, 3)
    assert shapes(small)["lstm10.weight_ih"] == (12, 8)                 # column 7 stays: channel 3 is read by column 6
    assert same(artefact, small)


def test_both_sides_of_a_sum_keep_what_one_of_them_needs() -> None:
    sketch = Sketch()
    trunk = sketch.linear("magnitude", sketch.normal(4, BINS))
    branch = sketch.linear(trunk, holes(sketch.normal(4, 4), columns=[0, 1]))
    total = sketch.add("add", trunk, branch)
    artefact = sketch.gain(sketch.linear(total, holes(sketch.normal(BINS, 4), columns=[1, 2])))
    small = shrink(artefact)                           # the sum needs 0 and 3, the branch reads 2 and 3 of the trunk
    assert shapes(small)["linear2.weight"] == (3, BINS) and shapes(small)["linear3.weight"] == (3, 3)
    assert same(artefact, small)


def test_pieces_are_found_again_after_joining_and_cutting() -> None:
    sketch = Sketch()
    one, two = (sketch.linear("magnitude", sketch.normal(4, BINS)) for _ in range(2))
    mixed = sketch.add("flatten", sketch.add("stack", one, two))                              # 1 2 1 2 ...
    joined = sketch.add("concat", mixed, two)                                                 # 12
    cut = sketch.add("slice", joined, start=3, stop=11)
    artefact = sketch.gain(sketch.linear(cut, holes(sketch.normal(BINS, 8), columns=[1, 2, 4, 6])))
    small = shrink(artefact)                           # 1: 2 and 3 are read, 2: 1 and 3 (mixed) and 0 and 2 (alone)
    assert same(artefact, small)
    untied = sketch_of_two_halves()
    assert shapes(shrink(untied))["linear2.weight"] == (3, BINS) and same(untied, shrink(untied))


def test_channels_that_are_taken_are_counted_again() -> None:
    sketch = Sketch()
    x = sketch.add("tanh", sketch.linear("magnitude", sketch.normal(7, BINS)))
    taken = sketch.add("take", x, channels=[6, -1, 2, 4, 2])
    artefact = sketch.gain(sketch.linear(taken, holes(sketch.normal(BINS, 5), columns=[3])))
    small = shrink(artefact)
    (node,) = (node for node in small.graph.nodes if node.op == "take")
    assert node.attributes == {"channels": [1, 0, 0]} and shapes(small)["linear2.weight"] == (2, BINS)
    assert same(artefact, small)


def sketch_of_two_halves() -> Artefact:
    """A layer whose halves are read by a layer each; units 1 and 3 of the first half and 4 of the second are not."""
    sketch = Sketch()
    x = sketch.add("tanh", sketch.linear("magnitude", sketch.normal(6, BINS)))
    halves = [sketch.add("slice", x, start=start, stop=start + 3) for start in (0, 3)]
    made = [sketch.linear(half, holes(sketch.normal(2, 3), columns=columns))
            for half, columns in zip(halves, ([1, 2], [1]), strict=True)]
    return sketch.mask(sketch.add("concat", *made), 4)


@pytest.mark.parametrize(("norm", "needs_all"), [("layer_norm", True), ("time_norm", False), ("", False)])
def test_a_norm_over_channels_needs_all(norm: str, needs_all: bool) -> None:
    sketch = Sketch()
    x = sketch.lstm("magnitude", sketch.normal(16, BINS), holes(sketch.normal(16, 4), columns=[1]))
    if norm:
        of = {"weight": sketch.normal(4), "bias": sketch.normal(4)} if needs_all else {}
        x = sketch.add(norm, x, tensors=of, eps=1e-5)
    artefact = sketch.gain(sketch.linear(x, holes(sketch.normal(BINS, 4), columns=[1])))
    small = shrink(artefact)
    assert (small is artefact) == needs_all and same(artefact, small)


def test_filters_of_single_channels_go_with_their_channel() -> None:
    sketch = Sketch()
    x = sketch.conv("conv1d", "magnitude", sketch.normal(6, BINS, 1), dilation=1, groups=1)
    x = sketch.conv("conv1d", x, sketch.normal(6, 1, 3), dilation=2, groups=6)
    artefact = sketch.gain(sketch.conv("conv1d", x, holes(sketch.normal(BINS, 6, 1), columns=[0, 5]), dilation=1,
                                       groups=1))
    small = shrink(artefact)
    assert shapes(small)["conv1d2.weight"] == (4, BINS, 1) and shapes(small)["conv1d3.weight"] == (4, 1, 3)
    assert small.graph.nodes[3].attributes["groups"] == 4 and same(artefact, small)


# ---- constants --------------------------------------------------------------------------------------------------


def test_a_row_of_zeros_moves_into_the_next_bias() -> None:
    sketch = Sketch()
    hidden = sketch.add("tanh", sketch.linear("magnitude", holes(sketch.normal(6, BINS), rows=[2, 3])))
    upper = sketch.linear(hidden, sketch.normal(4, 6))
    artefact = sketch.mask(upper, 4)
    small = shrink(artefact)
    assert shapes(small)["linear2.weight"] == (4, BINS) and small.meta["folded"] == ["linear4.bias"]
    assert same(artefact, small)


def test_what_reads_only_constants_is_constant() -> None:
    sketch = Sketch()
    lower = sketch.linear("magnitude", holes(sketch.normal(3, BINS), rows=[0]))
    weight = sketch.normal(3, 3)
    weight[1] = [0.7, 0, 0]
    middle = sketch.add("sigmoid", sketch.linear(lower, weight))
    artefact = sketch.mask(sketch.lstm(middle, sketch.normal(12, 3), sketch.normal(12, 3)), 3)
    small = shrink(artefact)
    assert shapes(small)["linear3.weight"] == (2, 2) and shapes(small)["lstm5.weight_ih"] == (12, 2)
    assert small.meta["folded"] == ["linear3.bias", "lstm5.bias_ih"] and same(artefact, small)


def test_a_constant_before_an_edge_stays_unless_it_is_zero() -> None:
    def through(op: str, kernel: tuple[int, int], bias: float, **attributes: int) -> Artefact:
        sketch = Sketch()
        x = sketch.add("unsqueeze", "magnitude")
        weight, biases = holes(sketch.normal(3, 1, 1, 1), rows=[1]), sketch.normal(3)
        biases[1] = bias
        x = sketch.add("conv2d", x, tensors={"weight": weight, "bias": biases}, stride=1, pad=0)
        x = sketch.conv(op, sketch.add("relu", x), sketch.normal(*(2, 3)[:: 1 if op == "conv2d" else -1], *kernel),
                        stride=1, **attributes)
        size = {"conv2d": BINS + 2 * attributes["pad"] - kernel[1] + 1}.get(op, BINS + kernel[1] - 1)
        return sketch.mask(sketch.add("flatten", x), 2 * size)

    cases = [("conv2d", (1, 3), {"pad": 0}), ("conv2d", (1, 3), {"pad": 1}), ("conv2d", (2, 1), {"pad": 0}),
             ("conv_transpose2d", (1, 3), {"pad": 0, "extra": 0})]
    for bias in (0.5, -0.5):
        shrinks = []
        for op, kernel, attributes in cases:
            artefact = through(op, kernel, bias, **attributes)
            small = shrink(artefact)
            assert same(artefact, small)
            shrinks.append(shapes(small)["conv2d3.weight"][0] == 2)
        assert shrinks == ([True, False, False, False] if bias > 0 else [True] * 4)


def test_a_layer_without_a_bias_takes_up_nothing_but_zeros() -> None:
    sketch = Sketch()
    weight, bias = holes(sketch.normal(6, BINS), rows=[2, 3]), sketch.normal(6)
    bias[3] = 0
    hidden = sketch.add("tanh", sketch.linear("magnitude", weight, bias))
    artefact = sketch.mask(sketch.add("linear", hidden, tensors={"weight": sketch.normal(4, 6)}), 4)
    small = shrink(artefact)
    assert shapes(small)["linear2.weight"] == (5, BINS) and not small.meta["folded"] and same(artefact, small)


def test_a_bias_of_16_bits_becomes_wider_only_where_it_has_to() -> None:
    sketch = Sketch()
    hidden = sketch.add("tanh", sketch.linear("magnitude", holes(sketch.normal(6, BINS), rows=[2])))
    artefact = sketch.gain(sketch.linear(hidden, sketch.normal(BINS, 6)))
    artefact = Artefact(artefact.graph, in_forms(artefact.tensors, sketch.random), artefact.meta)
    small = shrink(artefact)
    kinds = {name: stored.values.dtype for name, stored in small.tensors.items() if name.endswith("bias")}
    assert kinds == {"linear2.bias": np.float16, "linear4.bias": np.float32} and same(artefact, small)


# ---- all of it --------------------------------------------------------------------------------------------------


def test_a_part_of_a_tensor_keeps_its_form() -> None:
    sketch = Sketch()
    x = sketch.linear("magnitude", holes(sketch.normal(9, BINS), columns=[2]))
    artefact = sketch.gain(sketch.linear(x, holes(sketch.normal(BINS, 9), columns=[1, 6])))
    random = np.random.default_rng(1)
    codes = random.integers(1, 300, (BINS, 9)).astype(np.uint16)
    codes[:, [1, 6]] = 0
    table = np.append(0, random.normal(0, 1, 299)).astype(np.float32)
    forms = in_forms(artefact.tensors, random) | {"linear3.weight": Codebook(codes, table)}
    artefact = Artefact(artefact.graph, forms, artefact.meta)
    small = shrink(artefact)
    left = [0, 2, 3, 4, 5, 7, 8]
    for name, stored in small.tensors.items():
        assert type(stored) is type(artefact.tensors[name])
    kernel, book = small.tensors["linear2.weight"], small.tensors["linear3.weight"]
    assert isinstance(kernel, Sparse) and isinstance(book, Codebook)
    np.testing.assert_array_equal(kernel.to_array(), artefact.tensors["linear2.weight"].to_array()[left])
    np.testing.assert_array_equal(book.to_array(), artefact.tensors["linear3.weight"].to_array()[:, left])
    assert len(book.table) < 40 and book.codes.dtype == np.uint8 and same(artefact, small)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_a_part_of_levels_keeps_its_scales(axis: int | None) -> None:
    sketch = Sketch()
    x = sketch.linear("magnitude", sketch.normal(9, BINS))
    artefact = sketch.gain(sketch.linear(x, sketch.normal(BINS, 9)))
    held = levels(np.random.default_rng(2), (BINS, 9), 3, axis)
    held.levels[:, [1, 6]] = 0
    artefact = Artefact(artefact.graph, artefact.tensors | {"linear3.weight": held}, artefact.meta)
    small = shrink(artefact)
    part = small.tensors["linear3.weight"]
    assert isinstance(part, Levels) and part.scale.size == {None: 1, 0: BINS, 1: 7}[axis]
    np.testing.assert_array_equal(part.to_array(), held.to_array()[:, [0, 2, 3, 4, 5, 7, 8]])
    assert same(artefact, small)


def test_nodes_that_nothing_reads_go_with_their_tensors() -> None:
    sketch = Sketch()
    sketch.lstm("magnitude", sketch.normal(8, BINS), sketch.normal(8, 2))
    artefact = sketch.mask("magnitude", BINS)
    noted = artefact.meta | {"not_compressed": {"lstm2.bias_ih": "a bias", "linear3.bias": "a bias"}}
    small = shrink(Artefact(artefact.graph, artefact.tensors, noted))
    assert small.tensors.keys() == {"linear3.weight", "linear3.bias"} and same(artefact, small)
    assert small.meta["removed"]["lstm2.weight_hh"] == [[8, 2], None]
    assert small.meta["not_compressed"] == {"linear3.bias": "a bias"}


def test_a_layer_of_zeros_leaves_one_unit() -> None:
    sketch = Sketch()
    x = sketch.lstm("magnitude", sketch.normal(12, BINS), np.zeros((12, 3)))
    artefact = sketch.gain(sketch.linear(x, np.zeros((BINS, 3))))
    small = shrink(artefact)
    assert shapes(small)["lstm2.weight_hh"] == (4, 1) and same(artefact, small)
    assert shrink(small) is small


def test_tensors_that_two_nodes_share_stay_whole_for_both() -> None:
    sketch = Sketch()
    one = sketch.linear("magnitude", sketch.normal(4, BINS))
    two = sketch.linear(one, np.zeros((1, 4)))
    shared = {role: "linear2." + role for role in ("weight", "bias")}
    sketch.nodes[3] = Node("linear", two, ("magnitude",), shared)
    outputs = [sketch.linear(x, holes(sketch.normal(2, 4), columns=columns))
               for x, columns in ((one, [0, 1]), (two, [1, 2]))]
    artefact = sketch.mask(sketch.add("concat", *outputs), 4)
    small = shrink(artefact)
    assert shapes(small)["linear2.weight"] == (3, BINS) and same(artefact, small)


def test_a_bias_that_two_nodes_share_takes_up_nothing() -> None:
    sketch = Sketch()
    one = sketch.linear("magnitude", holes(sketch.normal(3, BINS), rows=[1]))
    upper = [sketch.linear(x, sketch.normal(3, size)) for x, size in ((one, 3), ("magnitude", BINS))]
    roles = {"weight": f"{upper[1]}.weight", "bias": f"{upper[0]}.bias"}
    sketch.nodes[-1] = Node("linear", upper[1], ("magnitude",), roles)
    artefact = sketch.mask(sketch.add("concat", *upper), 6)
    small = shrink(artefact)
    assert shapes(small)["linear2.weight"] == (3, BINS) and same(artefact, small)


@pytest.mark.parametrize(("name", "settings"), toy.MODEL_CASES)
def test_models_with_holes(name: str, settings: dict[str, Any]) -> None:
    random, tensors = np.random.default_rng(0), {}
    artefact = pack(toy.built(name, settings), {"sample_rate": 16_000})
    for tensor, stored in artefact.tensors.items():
        values = stored.to_array().copy()
        if values.ndim > 1:
            gone = random.random(values.shape[: 1 + (values.ndim > 2)]) < 0.3
            values[gone] = 0
            values[:, random.random(values.shape[1]) < 0.6] = 0
        tensors[tensor] = Dense(values)
    pruned = Artefact(artefact.graph, tensors, artefact.meta)
    assert shrink(pruned) is not pruned and same(pruned, shrink(pruned))


def linear_block(sketch: Sketch, x: str, size: int) -> tuple[str, int]:
    made = int(sketch.random.integers(2, 7))
    function = sketch.random.choice(["relu", "tanh", "elu", "sigmoid"])
    return sketch.add(function, sketch.linear(x, pruned(sketch, made, size))), made


def recurrent_block(sketch: Sketch, x: str, size: int) -> tuple[str, int]:
    made = int(sketch.random.integers(2, 6))
    op = sketch.random.choice([*GATES])
    rows = GATES[op] * made
    return sketch.recurrent(op, x, pruned(sketch, rows, size), pruned(sketch, rows, made)), made


def residual_block(sketch: Sketch, x: str, size: int) -> tuple[str, int]:
    inner, made = linear_block(sketch, x, size)
    return sketch.add(sketch.random.choice(["add", "sub"]), x, sketch.linear(inner, pruned(sketch, size, made))), size


def depthwise_block(sketch: Sketch, x: str, size: int) -> tuple[str, int]:
    x = sketch.conv("conv1d", x, pruned(sketch, 6, size, 1), dilation=1, groups=1)
    x = sketch.add("prelu", x, tensors={"weight": sketch.normal(6)})
    x = sketch.conv("conv1d", x, pruned(sketch, 6, 1, 3), dilation=int(sketch.random.integers(1, 3)), groups=6)
    return sketch.conv("conv1d", x, pruned(sketch, 3, 6, 2), dilation=1, groups=1), 3


def convolution_block(sketch: Sketch, x: str, size: int) -> tuple[str, int]:
    pad = int(sketch.random.integers(0, 2))
    deep = int(sketch.random.integers(1, 3))
    x = sketch.add("unflatten", sketch.linear(x, pruned(sketch, 7 * deep, size)), size=deep)
    x = sketch.conv("conv2d", x, pruned(sketch, 4, deep, 2, 3), stride=2, pad=1)             # [4, 4]
    skip = sketch.add("scale_shift", x, tensors={"scale": sketch.normal(4), "shift": sketch.normal(4)})
    x = sketch.conv("conv2d", sketch.add("elu", skip), pruned(sketch, 3, 4, 1, 1 + 2 * pad), stride=1, pad=pad)
    x = sketch.add("concat", x, skip)                                                        # [4, 7]
    x = sketch.conv("conv_transpose2d", x, pruned(sketch, 7, 2, 1, 3), stride=2, pad=1, extra=1)
    order = [x] if sketch.random.random() < 0.5 else [sketch.add("transpose", x)]
    return sketch.add("flatten", *order), 16


def interleaved_block(sketch: Sketch, x: str, size: int) -> tuple[str, int]:
    half = [sketch.linear(x, pruned(sketch, 3, size)) for _ in range(2)]
    x = sketch.add("flatten", sketch.add("stack", *half))
    if sketch.random.random() < 0.3:
        x = sketch.add("layer_norm", x, tensors={"weight": sketch.normal(6), "bias": sketch.normal(6)}, eps=1e-5)
    start = int(sketch.random.integers(0, 3))
    return sketch.add("slice", x, start=start, stop=5), 5 - start


def taking_block(sketch: Sketch, x: str, size: int) -> tuple[str, int]:
    inner, made = linear_block(sketch, x, size)
    channels = sketch.random.permutation(made)
    channels[sketch.random.random(made) < sketch.most_holes / 2] = -1
    taken = sketch.add("take", inner, channels=channels.tolist())
    return sketch.add("add", inner, taken) if sketch.random.random() < 0.5 else taken, made


BLOCKS: list[Callable[[Sketch, str, int], tuple[str, int]]] = [
    linear_block, recurrent_block, residual_block, depthwise_block, convolution_block, interleaved_block, taking_block,
]


def pruned(sketch: Sketch, *shape: int) -> np.ndarray:
    """Weights without some kernels, some rows and some columns."""
    weight, share = sketch.normal(*shape), sketch.most_holes * sketch.random.random()
    for axes in ([0], [1], [0, 1]):
        gone = sketch.random.random([shape[axis] if axis in axes else 1 for axis in range(2)]) < share
        weight *= ~gone.reshape(*gone.shape, *[1] * (len(shape) - 2))
    return weight


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_with_random_holes(seed: int) -> None:
    sketch = Sketch(seed)
    x, size = "magnitude", BINS
    for number in sketch.random.integers(0, len(BLOCKS), 3):
        x, size = BLOCKS[number](sketch, x, size)
    artefact = sketch.mask(x, size)
    if seed % 2:
        artefact = Artefact(artefact.graph, in_forms(artefact.tensors, sketch.random), artefact.meta)
    small = shrink(artefact)
    assert same(artefact, small)
    assert shrink(small) is small
    for name, shape in shapes(small).items():
        assert all(new <= old for new, old in zip(shape, artefact.tensors[name].shape, strict=True))


def test_nothing_goes_of_a_dense_model() -> None:
    for seed, block in enumerate(BLOCKS):
        sketch = Sketch(seed)
        sketch.most_holes = 0.0
        artefact = sketch.mask(*block(sketch, "magnitude", BINS))
        assert shrink(artefact) is artefact, block
