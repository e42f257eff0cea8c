"""Multiply-adds: counted by hand, as torch's shapes say, and against the totals that were published."""

import pytest
from sketch import BINS, Sketch, holes

from sottovoce.artefact import Artefact
from sottovoce.artefact.cost import costs, frame_rate, multiply_adds
from sottovoce.artefact.graph import Graph
from sottovoce.artefact.shrink import shrink
from sottovoce.errors import FormatError
from sottovoce.models import build
from sottovoce.packing import pack

FRAMES_OF_4_S = 4.01                     # seconds: Tan and Wang have 401 frames for 4 s


def test_a_weight_counts_once_for_every_place_where_it_is_used() -> None:
    sketch = Sketch()
    x = sketch.lstm("magnitude", sketch.normal(12, BINS), sketch.normal(12, 3))
    x = sketch.recurrent("gru", x, sketch.normal(9, 3), sketch.normal(9, 3))
    x = sketch.conv("conv1d", x, sketch.normal(3, 1, 2), dilation=1, groups=3)
    x = sketch.add("unsqueeze", x)                                                           # [3, 1]
    x = sketch.conv("conv2d", x, sketch.normal(4, 1, 2, 3), stride=2, pad=1)                 # [2, 4]
    x = sketch.conv("conv_transpose2d", x, sketch.normal(4, 2, 1, 3), stride=2, pad=0, extra=0)      # [5, 2]
    x = sketch.linear(x, sketch.normal(1, 2))                                                # [5, 1]
    artefact = sketch.gain(sketch.add("flatten", x))
    assert {row.op: row.dense for row in costs(artefact)} == {
        "lstm": 12 * (BINS + 3), "gru": 9 * (3 + 3), "conv1d": 3 * 2, "conv2d": 2 * (4 * 2 * 3),
        "conv_transpose2d": 5 * (4 * 2 * 3), "linear": 5 * 2,
    }
    assert [row.nonzero for row in costs(artefact)] == [row.dense for row in costs(artefact)]


def test_zeros_cost_nothing_and_what_was_removed_not_even_as_dense() -> None:
    sketch = Sketch()
    weight = sketch.normal(6, BINS)
    weight[0, 0] = 0
    upper = holes(sketch.normal(BINS, 6), columns=[3])
    artefact = sketch.gain(sketch.linear(sketch.linear("magnitude", weight), upper))
    assert [(row.dense, row.nonzero) for row in costs(artefact)] == [(30, 29), (30, 25)]
    assert [(row.dense, row.nonzero) for row in costs(shrink(artefact))] == [(25, 24), (25, 25)]
    assert multiply_adds(artefact) == (60 * 4000, 54 * 4000)             # 16 kHz, hop 4
    assert multiply_adds(artefact, seconds=0.25) == (60_000, 54_000)


def test_what_depends_on_conditions_alone_costs_nothing() -> None:
    sketch = Sketch()
    x = sketch.add("frames", "voice", n_fft=6, hop=2, window="rect")
    gain = sketch.linear(sketch.add("time_mean", x), sketch.normal(BINS, 6))
    artefact = sketch.mask(sketch.add("mul", "magnitude", gain), BINS)
    given = Artefact(Graph(("noisy", "voice"), artefact.graph.outputs, artefact.graph.nodes), artefact.tensors,
                     artefact.meta)
    assert [row.dense for row in costs(given)] == [BINS * BINS]
    assert multiply_adds(given) == (BINS * BINS * 4000,) * 2             # the hop of the stream


def test_a_model_without_a_sample_rate_has_no_rate_of_frames() -> None:
    artefact = Sketch().mask("magnitude", BINS)
    with pytest.raises(FormatError, match="expected a sample_rate in Hz and frames, got None"):
        frame_rate(Artefact(artefact.graph, artefact.tensors, {}))


def test_tensors_that_do_not_fit_are_named_with_their_node() -> None:
    sketch = Sketch()
    with pytest.raises(FormatError, match=r"linear2: its inputs and tensors do not fit .*\(linear2.weight: 7 against"):
        costs(sketch.gain(sketch.linear("magnitude", sketch.normal(BINS, 7))))


@pytest.mark.parametrize("doublings", [10, 40])
def test_a_graph_that_asks_for_too_much_is_refused(doublings: int) -> None:
    sketch, x = Sketch(), "magnitude"
    for _ in range(doublings):
        x = sketch.add("concat", x, x)
    artefact = sketch.gain(sketch.add("slice", x, start=0, stop=BINS))
    if doublings < 20:
        assert costs(artefact) == []
    else:
        with pytest.raises(FormatError, match="an axis of"):
            costs(artefact)


PUBLISHED = {        # of Tan and Wang 2021, Table III, in 10^9 for 4 s, and by how much they count more
    "fdnn": (3.63, 0.0005), "lstm": (12.13, 0.0022), "tcnn": (4.80, 0.0114), "gcrn": (9.61, 0.0064),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_totals(name: str) -> None:
    total, more = PUBLISHED[name]
    artefact = pack(build(name), {"sample_rate": 16_000})
    dense, nonzero = multiply_adds(artefact, FRAMES_OF_4_S)
    assert total * 1e9 == pytest.approx((1 + more) * dense, rel=1e-4) and nonzero == pytest.approx(dense, rel=1e-6)
    assert shrink(artefact) is artefact
