"""Channels picked out of others become zeros in the matrices beside, and nothing that is heard changes."""

from typing import Any

import numpy as np
import pytest

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import FEATURES, Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored
from sottovoce.export.picks import placed, without_picks
from sottovoce.export.recognizer import FILTER_BANKS
from sottovoce.runtime import Session

RANDOM = np.random.default_rng(0)
WEIGHTS = {"first": (10, 80), "eight": (5, 8), "three": (5, 3), "norm": (10,)}
EIGHT, FILLED, TURNED = [0, 1, 2, 4, 5, 7, 8, 9], [3, -1, 0, 1, 2, -1, 4, 5, 6, 7, 8, 9], [*range(9, -1, -1)]


def linear(name: str, of: str, weight: str) -> Node:
    return Node("linear", name, (of,), {"weight": weight, "bias": f"{weight}.bias"})


def take(of: str, channels: list[int]) -> Node:
    return Node("take", "pick", (of,), attributes={"channels": channels})


def times(of: str, scale: float, shift: float) -> Node:
    return Node("affine", "times", (of,), attributes={"scale": scale, "shift": shift})


NORM = Node("layer_norm", "norm", ("first",), {"weight": "norm", "bias": "norm.bias"}, {"eps": 1e-5})
CASES = {                                # what follows a first matrix of ten channels, and the takes that are left
    "before a matrix": ([NORM, take("norm", EIGHT), linear("last", "pick", "eight")], 0),
    "before two": ([NORM, take("norm", EIGHT), linear("one", "pick", "eight"), linear("two", "pick", "eight"),
                    Node("mul", "last", ("one", "two"))], 0),
    "behind one": ([take("first", FILLED)], 0),
    "behind one, and before one": ([take("first", EIGHT), linear("last", "pick", "eight")], 0),
    "behind a factor": ([times("first", 0.5, 0), take("times", FILLED), Node("tanh", "last", ("pick",))], 0),
    "behind a shift": ([times("first", 0.5, 1), take("times", FILLED)], 1),
    "before what is no matrix": ([NORM, take("norm", EIGHT), Node("tanh", "last", ("pick",))], 1),
    "a channel twice": ([NORM, take("norm", [0, *EIGHT[:-1]]), linear("last", "pick", "eight")], 1),
    "few of many": ([NORM, take("norm", [1, 5, 6]), linear("last", "pick", "three")], 1),
    "many of few": ([take("first", [-1, -1, -1, -1, *FILLED])], 1),
    "of what others read": ([take("first", TURNED), Node("add", "last", ("first", "pick"))], 1),
}  # fmt: skip


def model(after: list[Node]) -> Artefact:
    tensors: dict[str, Stored] = {}
    for name, shape in WEIGHTS.items():
        tensors[name] = Dense(RANDOM.normal(0, 0.2, shape).astype(np.float32))
        tensors[f"{name}.bias"] = Dense(RANDOM.normal(0, 0.2, shape[:1]).astype(np.float32))
    nodes = (Node(FEATURES, "banks", ("waveform",), attributes=FILTER_BANKS), linear("first", "banks", "first"), *after)
    return Artefact(Graph(("waveform",), (nodes[-1].name,), nodes), tensors, {"sample_rate": 16_000})


@pytest.mark.parametrize("case", CASES)
def test_what_is_heard_stays_the_same(case: str) -> None:
    after, left = CASES[case]
    before = model(after)
    merged = without_picks(before)
    waveform = RANDOM.normal(0, 0.1, 16_000).astype(np.float32)
    np.testing.assert_allclose(Session(merged).run(waveform), Session(before).run(waveform), rtol=1e-5, atol=1e-5)
    assert [node.op for node in merged.graph.nodes].count("take") == left


CODES = np.arange(12).reshape(3, 4)
FORMS = {
    "float32": Dense(CODES.astype(np.float32) - 5),
    "float16": Dense(CODES.astype(np.float16) - 5),
    "sparse": Sparse(CODES % 3 > 0, np.arange(1, 9, dtype=np.float32)),
    "codebook": Codebook((CODES % 4).astype(np.uint8), np.array([0, -2, 0.5, 3], np.float32)),
    "levels": Levels((CODES - 6).astype(np.int8), np.full((1, 1), 0.25, np.float32), 4),
    "levels by row": Levels((CODES - 6).astype(np.int8), np.array([[1], [2], [3]], np.float32), 4),
    "levels by column": Levels((CODES - 6).astype(np.int8), np.array([[1, 2, 3, 4]], np.float32), 4),
}


@pytest.mark.parametrize("axis, places", [(0, [2, -1, 0]), (1, [-1, 3, 0, 1, 2, -1])])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_kept(form: str, axis: int, places: Any) -> None:
    stored = FORMS[form]
    wide = np.concatenate([stored.to_array(), np.zeros_like(stored.to_array().take([0], axis))], axis)
    found = placed(stored, axis, places)
    assert type(found) is type(stored)
    np.testing.assert_array_equal(found.to_array(), wide.take(places, axis))
