"""What inspect and the report say of a file is what lies in it."""

import numpy as np
import pytest
from artefacts import codebook, enhancer, levels, wire

from sottovoce.artefact.describe import describe, header_bytes, paper_bytes
from sottovoce.artefact.file import encode
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored

KEEP = np.array([[True, False, True], [False, False, True]])


def test_bytes_add_up_to_the_file() -> None:
    artefact = enhancer()
    assert header_bytes(artefact) + sum(row.bytes for row in describe(artefact)) == len(encode(artefact))


def test_a_row_says_what_a_tensor_is() -> None:
    rows = {row.name: row for row in describe(enhancer())}
    assert list(rows) == list(enhancer().tensors)
    for name, stored in enhancer().tensors.items():
        row, values = rows[name], stored.to_array()
        assert (row.shape, row.elements) == (values.shape, values.size)
        assert row.nonzeros == np.count_nonzero(values)
        assert row.bits_per_weight == 8 * row.bytes / values.size
    assert rows["ih"].form == "codebook of 6 + zero"
    assert rows["b1"].form == "dense float16"
    assert rows["hh"].form == "sparse float32"
    assert {name: row.note for name, row in rows.items() if row.note} == {"bias": "a bias"}


def test_a_row_says_how_many_bits_and_scales_levels_have() -> None:
    random = np.random.default_rng(0)
    forms = {"one": levels(random, (4, 5), 1), "rows": levels(random, (4, 5), 3, axis=0)}
    assert [row.form for row in describe(wire(**forms))] == ["levels of 1 bit, one scale", "levels of 3 bits, 4 scales"]


def test_a_row_of_an_empty_tensor() -> None:
    (row,) = describe(wire(nothing=Dense(np.zeros((0, 3), np.float32))))
    assert (row.elements, row.nonzeros, row.bytes, row.bits_per_weight) == (0, 0, 0, 0)


PAPER: dict[str, tuple[Stored, int]] = {
    "float32, zeros are free": (Dense(np.array([1, 0, 2], np.float32)), 8),
    "float16": (Dense(np.array([1, 0, 2], np.float16)), 4),
    "sparse": (Sparse(KEEP, np.ones(3, np.float32)), 12),
    "five values: 3 bits for each of 12 weights": (Codebook(np.arange(18, dtype=np.uint8) % 6 * (np.arange(18) < 15),
                                                            np.arange(6, dtype=np.float32)), 25),
    "one value: no bits at all": (Codebook(KEEP.astype(np.uint8), np.array([0, 3], np.float32)), 4),
    "levels of 3 bits: so many for every weight, and a scale": (
        Levels(np.array([[0, 1], [-3, 0], [1, 0], [0, 0]], np.int8), np.ones((1, 1), np.float32), 3), 7),
    "levels of 1 bit: a scale for each row": (Levels(np.ones((2, 8), np.int8), np.ones((2, 1), np.float32), 1), 10),
    "only zeros": (Codebook(np.zeros(9, np.uint8), np.zeros(1, np.float32)), 0),
}


@pytest.mark.parametrize("case", PAPER)
def test_paper_bytes_as_published(case: str) -> None:
    stored, expected = PAPER[case]
    assert paper_bytes(wire(w=stored)) == expected


def test_paper_bytes_do_not_depend_on_places() -> None:
    stored = codebook(np.random.default_rng(2), (20, 30), 15)
    moved = Codebook(np.sort(stored.codes, axis=None).reshape(20, 30), stored.table)
    assert paper_bytes(wire(w=stored)) == paper_bytes(wire(w=moved))
