"""docs/format.md says enough to read a file: a reader written from it alone reads what the package writes."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from artefacts import codebook, convolver, enhancer, extractor, opened, sparse, wire
from plain_reader import decoded, frequencies, read
from test_file import STORED

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.graph import OPS
from sottovoce.artefact.records import META, RANGES
from sottovoce.artefact.stored import Codebook, Dense, Stored
from sottovoce.runtime import reference
from sottovoce.runtime.frontend import WINDOWS

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
        if entry["form"] in ("dense", "sparse"):
            planes.add(entry.get("planes", False))
        elif math.prod(stored.shape):
            coded = blob[4 * entry["values"] :] if entry["form"] == "codebook" else blob[stored.scale.nbytes :]
            flags |= coded[0]
            lanes.add(1 if coded[0] & 4 else int.from_bytes(coded[1:3], "little"))
    assert flags == 7
    assert planes == {True, False}
    assert lanes > {1}


@pytest.mark.parametrize("model", [enhancer, convolver, extractor])
def test_a_plain_reader_reads_a_model(model: Callable[[], Artefact]) -> None:
    artefact = model()
    header, tensors = read(encode(artefact))
    assert header["meta"] == artefact.meta
    assert [node[1] for node in header["graph"]["nodes"]] == [node.name for node in artefact.graph.nodes]
    assert list(tensors) == list(artefact.tensors)


# ---- the page itself -----------------------------------------------------------------------------------------


def table_below(heading: str) -> list[list[str]]:
    """The cells of the first table after these words, without its two lines of heading."""
    lines = PAGE.split(heading, 1)[1].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


EXAMPLE = Codebook(np.array([[0, 2, 0, 0], [1, 2, 0, 0]], np.uint8), np.array([0, -0.5, 0.25], np.float32))


def example_bytes() -> bytes:
    (block,) = re.findall(r"```hex\n(.*?)```", PAGE, re.DOTALL)
    return b"".join(bytes.fromhex(re.split(r" {3,}", line)[0]) for line in block.splitlines())


def test_the_bytes_of_the_example_are_those_of_the_file() -> None:
    _, blobs = opened(encode(wire(w=EXAMPLE)))
    assert example_bytes() == blobs["w"]


def test_the_numbers_of_the_example_are_right() -> None:
    levels = example_bytes()[19:22]
    table = frequencies(levels)
    assert f"levels {levels[0]}, {levels[1]}, {levels[2]}" in PAGE
    assert f"{table[0]}, {table[1]}, {table[2]}." in PAGE
    state = int.from_bytes(example_bytes()[22:], "little")
    trace = [[int(cell) for cell in row] for row in table_below("The only lane then goes")]
    for element, row in enumerate(trace):
        symbol, after = decoded(state, table)
        assert row == [element, state, state % 32768, symbol, after]
        state = after
    assert [row[3] for row in trace] == list(EXAMPLE.codes.ravel())
    assert state == 65536


INPUTS = {"one or more": 0, "a, b": 2, "query, key, value": 3}           # how the page says how many there are


def test_the_page_lists_the_operations_there_are() -> None:
    listed = {}
    for names, inputs, tensors, attributes in table_below("## Operations"):
        for name in quoted(names):
            count = next((many for words, many in INPUTS.items() if inputs.startswith(words)), 1)
            listed[name] = (count, tuple(quoted(tensors)), tuple(quoted(attributes)))
    assert listed == {name: (op.inputs, op.tensors, op.attributes) for name, op in OPS.items()}
    assert listed.keys() == reference.OPS.keys()


def test_the_page_states_the_ranges_of_attributes() -> None:
    stated = {
        name: tuple(float(number) for number in re.findall(r"-?\d[\d.e-]*", limits))
        for names, limits in table_below("These are the attributes:")
        for name in quoted(names)
        if name != "window"
    }
    assert stated == RANGES


def test_every_attribute_has_a_range() -> None:
    assert {name for op in OPS.values() for name in op.attributes} == RANGES.keys() | {"window"}


@pytest.mark.parametrize("window", WINDOWS)
def test_the_page_says_what_the_windows_are(window: str) -> None:
    n, n_fft = np.arange(320), 320
    formulas = {
        "0.54 - 0.46 cos(2 pi n / (n_fft - 1))": 0.54 - 0.46 * np.cos(2 * np.pi * n / (n_fft - 1)),
        "sin(pi n / n_fft)": np.sin(np.pi * n / n_fft),
        "1": np.ones(n_fft),
    }
    (formula,) = re.findall(rf'`"{window}"`: w\[n\] = (.*?)(?:\. | \|)', PAGE)
    np.testing.assert_allclose(WINDOWS[window](n_fft), formulas[formula], atol=1e-12)


def test_the_page_names_the_fields_of_meta() -> None:
    paragraph = re.search(r"\*\*`meta`\*\*.*?\n\n", PAGE, re.DOTALL)
    assert paragraph and set(quoted(paragraph[0])) == META.keys() | {"meta"}
