"""docs/format.md says enough to read a file: a reader written from it alone reads what the package writes."""

import re
from pathlib import Path

import numpy as np
import pytest
from artefacts import codebook, enhancer, opened, sparse, wire
from plain_reader import read
from test_file import STORED

from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.graph import OPS
from sottovoce.artefact.records import META, RANGES
from sottovoce.artefact.stored import Codebook, Dense, Stored
from sottovoce.runtime import reference

PAGE = (Path(__file__).parents[2] / "docs" / "format.md").read_text()


def uneven(rows: int, columns: int, seed: int) -> Codebook:
    """Rows and columns of very different density."""
    random = np.random.default_rng(seed)
    density = np.exp(random.normal(-2, 1.5, (rows, 1)) + random.normal(0, 1.5, columns))
    codes = random.integers(1, 9, (rows, columns)) * (random.random((rows, columns)) < density)
    return Codebook(codes.astype(np.uint8), EIGHT)


def in_runs(rows: int, columns: int, seed: int) -> Codebook:
    """Weights whose sign, or whether they are there at all, seldom changes along a row."""
    random = np.random.default_rng(seed)
    kind = np.cumsum(random.random((rows, columns)) < 0.08, axis=1) % 3          # zero, negative, positive
    codes = np.where(kind, random.integers(1, 5, (rows, columns)) + 4 * (kind - 1), 0)
    return Codebook(codes.astype(np.uint8), EIGHT)


EIGHT = np.array([0, -4, -3, -2, -1, 1, 2, 3, 4], np.float32)
MANY = {
    "uneven": uneven(60, 80, 1),
    "uneven, in three axes": Codebook(uneven(60, 80, 3).codes.reshape(60, 8, 10), EIGHT),
    "in runs": in_runs(40, 90, 1),
    "in runs, transposed": Codebook(in_runs(40, 90, 2).codes.T, EIGHT),
    "in runs, uneven": Codebook(in_runs(40, 90, 3).codes * (uneven(40, 90, 4).codes > 0), EIGHT),
    "several lanes": codebook(np.random.default_rng(4), (90, 100), 15),
    "sparse in several lanes": sparse(np.random.default_rng(5), (200, 201)),
    "codebook of 300": codebook(np.random.default_rng(6), (31, 17), 300),
    "floats by planes": Dense(np.random.default_rng(7).normal(0, 0.1, 4000).astype(np.float32)),
    "halves by planes": Dense(np.random.default_rng(8).normal(0, 0.1, 4000).astype(np.float16)),
}


@pytest.mark.parametrize("form", STORED | MANY)
def test_a_plain_reader_reads_the_same(form: str) -> None:
    stored: Stored = (STORED | MANY)[form]
    data = encode(wire(tensor=stored))
    header, tensors = read(data)
    again = decode(data).tensors["tensor"]
    assert tuple(header["tensors"]["tensor"]["shape"]) == stored.shape
    values = again.values if isinstance(again, Dense) else again.to_array()
    assert b"".join(tensors["tensor"]) == values.astype(values.dtype.newbyteorder("<")).tobytes()


def test_every_part_of_the_format_is_read() -> None:
    """The cases above use every flag, planes and their absence, several lanes and low bits."""
    flags, planes, lanes = 0, set(), set()
    for stored in (STORED | MANY).values():
        header, blobs = opened(encode(wire(tensor=stored)))
        entry, blob = header["tensors"]["tensor"], blobs["tensor"]
        if entry["form"] != "codebook":
            planes.add(entry.get("planes", False))
        elif stored.codes.size:
            coded = blob[4 * entry["values"] :]
            flags |= coded[0]
            lanes.add(1 if coded[0] & 4 else int.from_bytes(coded[1:3], "little"))
    assert flags == 7
    assert planes == {True, False}
    assert lanes > {1}


def test_a_plain_reader_reads_a_model() -> None:
    artefact = enhancer()
    header, tensors = read(encode(artefact))
    assert header["meta"] == artefact.meta
    assert [node[1] for node in header["graph"]["nodes"]] == [node.name for node in artefact.graph.nodes]
    assert list(tensors) == list(artefact.tensors)
