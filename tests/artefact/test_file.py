"""A file gives back what went in, bit for bit; anything else is refused in one line that names the file."""

import copy
import errno
import json
import os
import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from artefacts import (
    BINS,
    HIDDEN,
    closed,
    closed_text,
    codebook,
    convolver,
    enhancer,
    extractor,
    levels,
    opened,
    recognizer,
    sparse,
    wire,
)

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import ALIGNMENT, MAX_ELEMENTS, MAX_HEADER, PREAMBLE, VERSION, decode, encode, load, save
from sottovoce.artefact.graph import OPS, Graph
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.runtime.session import Session

RANDOM = np.random.default_rng(5)
SPECIAL = [0.0, -0.0, 1e-45, -1e-40, 3.4e38, -3.4e38, 1.0, np.pi]
HALF_SPECIAL = [0.0, -0.0, 6e-8, -5e-5, 65504, -65504, 1.0, np.pi]

STORED: dict[str, Stored] = {
    "float32": Dense(RANDOM.standard_normal((7, 3)).astype(np.float32)),
    "float32, special": Dense(np.array(SPECIAL, np.float32)),
    "float16": Dense(RANDOM.standard_normal((5, 2, 2)).astype(np.float16)),
    "float16, special": Dense(np.array(HALF_SPECIAL, np.float16)),
    "float32, not in C order": Dense(np.asfortranarray(RANDOM.standard_normal((4, 6)).astype(np.float32))),
    "float32, big-endian": Dense(np.arange(5, dtype=">f4")),
    "float32, scalar": Dense(np.array(2.5, np.float32)),
    "float32, empty": Dense(np.zeros((0, 4), np.float32)),
    "sparse": sparse(RANDOM, (9, 11)),
    "sparse, special": Sparse(np.tile([True, False], 8), np.array(SPECIAL, np.float32)),
    "sparse, transposed": Sparse(np.eye(4, 7, dtype=bool).T, np.arange(4, dtype=np.float32)),
    "sparse, all zero": Sparse(np.zeros((6, 6), bool), np.zeros(0, np.float32)),
    "sparse, full": Sparse(np.ones((3, 5), bool), np.arange(15, dtype=np.float32)),
    "sparse, scalar": Sparse(np.array(True), np.array([1.5], np.float32)),
    "sparse, empty": Sparse(np.zeros((2, 0, 3), bool), np.zeros(0, np.float32)),
    "codebook": codebook(RANDOM, (13, 17), 15),
    "codebook of 255": codebook(RANDOM, (40, 40), 255),
    "codebook of 256": codebook(RANDOM, (40, 40), 256),
    "codebook of 4095": codebook(RANDOM, (40, 40), 4095),
    "codebook, transposed": Codebook(codebook(RANDOM, (6, 9), 4).codes.T, np.arange(5, dtype=np.float32)),
    "codebook, all zero": Codebook(np.zeros((20, 20), np.uint8), np.array([0, 1, 2], np.float32)),
    "codebook, only zero": Codebook(np.zeros((20, 20), np.uint8), np.zeros(1, np.float32)),
    "codebook, no zero": Codebook(np.full((5, 5), 1, np.uint8), np.array([0, -3], np.float32)),
    "codebook, subnormal": Codebook(np.array([0, 1, 2], np.uint8), np.array([0, 1e-45, -1e-40], np.float32)),
    "codebook, scalar": Codebook(np.array(1, np.uint8), np.array([0, 7], np.float32)),
    "codebook, empty": Codebook(np.zeros((0, 3), np.uint8), np.zeros(1, np.float32)),
    "codebook, many": codebook(RANDOM, (300, 301), 15),
    **{f"levels of {bits} bits": levels(RANDOM, (13, 17), bits) for bits in range(1, 9)},
    "levels, a scale for each row": levels(RANDOM, (13, 4, 3), 3, axis=0),
    "levels, a scale for each column": levels(RANDOM, (13, 4, 3), 8, axis=1),
    "levels, negative scale": Levels(np.array([[0, 1, -1]], np.int8), np.full((1, 1), -0.5, np.float32), 1),
    "levels, fewer than their bits": Levels(np.array([0, 2, -1], np.int8), np.ones(1, np.float32), 8),
    "levels, all zero": Levels(np.zeros((4, 5), np.int8), np.ones((1, 1), np.float32), 3),
    "levels, scalar": Levels(np.array(1, np.int8), np.array(0.5, np.float32), 1),
    "levels, empty": Levels(np.zeros((0, 3), np.int8), np.ones((1, 1), np.float32), 2),
    "levels, no scales": Levels(np.zeros((0, 3), np.int8), np.ones((0, 1), np.float32), 2),
}


def refused(data: bytes, name: str = "noisy.sotto") -> str:
    """The message with which the bytes are refused: one line that names the file."""
    with pytest.raises(FormatError) as caught:
        decode(data, name)
    message = str(caught.value)
    assert message.startswith(f"{name}: ") and message.isprintable() and len(message) < 500
    return message


# ---- what goes in comes out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", STORED)
def test_tensors_come_back_bit_for_bit(form: str) -> None:
    stored = STORED[form]
    (back,) = decode(encode(wire(tensor=stored))).tensors.values()
    assert type(back) is type(stored) and back.shape == stored.shape
    assert back.to_array().tobytes() == stored.to_array().tobytes()
    assert back.to_array().dtype == np.float32
    if isinstance(stored, Dense):
        assert isinstance(back, Dense) and back.values.dtype == stored.values.dtype.newbyteorder("=")
    if isinstance(stored, Codebook):
        assert isinstance(back, Codebook) and back.codes.dtype == stored.codes.dtype
        assert back.table.tobytes() == stored.table.tobytes()
    if isinstance(stored, Levels):
        assert isinstance(back, Levels) and (back.bits, back.levels.tolist()) == (stored.bits, stored.levels.tolist())
        assert back.scale.shape == stored.scale.shape and back.scale.tobytes() == stored.scale.tobytes()


MODELS = {"spectra": enhancer, "samples": convolver, "two waveforms": extractor, "features": recognizer}


@pytest.mark.parametrize("model", MODELS)
def test_all_of_a_model_comes_back(model: str) -> None:
    artefact = MODELS[model]()
    back = decode(encode(artefact))
    assert back.graph == artefact.graph
    assert back.meta == artefact.meta
    assert list(back.tensors) == list(artefact.tensors)
    for name, stored in artefact.tensors.items():
        assert back.tensors[name].to_array().tobytes() == stored.to_array().tobytes()
    Session(back)


@pytest.mark.parametrize("meta", [{}, {"recipe": "a = 1\n# ü 漢 \x00"}, {"config": {"x": [1, -2.5, None, True, {}]}}])
def test_meta_comes_back(meta: dict[str, Any]) -> None:
    assert decode(encode(Artefact(wire().graph, {}, meta))).meta == meta


def test_every_operation_is_in_one_of_these_models() -> None:
    assert {node.op for make in MODELS.values() for node in make().graph.nodes} == OPS.keys()


def test_a_file_is_of_the_first_version_that_has_its_forms() -> None:
    versions = {form: PREAMBLE.unpack_from(encode(wire(tensor=stored)))[1] for form, stored in STORED.items()}
    assert {form for form, version in versions.items() if version == 2} == {
        form for form, stored in STORED.items() if isinstance(stored, Levels)
    }
    assert set(versions.values()) == {1, VERSION}


@pytest.mark.parametrize("form", [form for form, stored in STORED.items() if isinstance(stored, Levels)])
def test_levels_take_no_more_bytes_than_a_codebook_of_the_same_codes(form: str) -> None:
    stored = STORED[form]
    assert isinstance(stored, Levels)
    (one,), (other,) = (opened(encode(wire(w=of)))[1].values() for of in (stored, stored.as_codebook()))
    assert len(one) - stored.scale.nbytes == len(other) - stored.as_codebook().table.nbytes


def test_equal_artefacts_give_equal_bytes() -> None:
    assert encode(enhancer()) == encode(enhancer()) == encode(decode(encode(enhancer())))


def test_blobs_lie_at_multiples_of_eight() -> None:
    data = encode(enhancer())
    assert len(data) % ALIGNMENT == 0
    _, blobs = opened(data)
    for name, blob in blobs.items():
        assert data.index(blob) % ALIGNMENT == 0, name


# ---- what does not go in -------------------------------------------------------------------------------------

NAN = np.array([1, np.nan], np.float32)
UNFIT: dict[str, Stored] = {
    "NaN": Dense(NAN),
    "infinite half": Dense(np.array([np.inf], np.float16)),
    "NaN in sparse": Sparse(np.ones(2, bool), NAN),
    "infinity in table": Codebook(np.zeros(3, np.uint8), np.array([0, -np.inf], np.float32)),
    "more places than values": Sparse(np.ones(3, bool), np.ones(2, np.float32)),
    "code beyond the table": Codebook(np.array([0, 2], np.uint8), np.array([0, 1], np.float32)),
    "no zero in the table": Codebook(np.array([0, 1], np.uint8), np.array([2, 1], np.float32)),
    "level beyond its bits": Levels(np.array([2], np.int8), np.ones(1, np.float32), 2),
    "levels of nine bits": Levels(np.array([2], np.int8), np.ones(1, np.float32), 9),
    "infinite scale": Levels(np.array([1], np.int8), np.full(1, np.inf, np.float32), 2),
    "two axes of scales": Levels(np.ones((2, 3), np.int8), np.ones((2, 3), np.float32), 2),
    "scales of another axis": Levels(np.ones((2, 3), np.int8), np.ones((3, 1), np.float32), 2),
    "no table": Codebook(np.zeros(0, np.uint8), np.zeros(0, np.float32)),
}


@pytest.mark.parametrize("case", UNFIT)
def test_encode_names_the_tensor_that_it_refuses(case: str) -> None:
    with pytest.raises(SottovoceError, match=r"^layer\.weight: expected "):
        encode(wire(**{"layer.weight": UNFIT[case]}))


@pytest.mark.parametrize("meta", [{"rows": [{"pesq": float("nan")}]}, {"config": {"path": Path()}}, {"rows": 3}])
def test_encode_refuses_meta_that_is_not_json(meta: dict[str, Any]) -> None:
    with pytest.raises(SottovoceError, match="meta"):
        encode(Artefact(wire().graph, {}, meta))


def test_encode_refuses_a_graph_that_no_reader_takes() -> None:
    with pytest.raises(SottovoceError, match="missing"):
        encode(Artefact(Graph(("a",), ("missing",), ()), {}))


# ---- damaged files -------------------------------------------------------------------------------------------

TINY = encode(wire(w=codebook(np.random.default_rng(1), (3, 5), 3), b=Dense(np.arange(3, dtype=np.float16))))


def test_every_truncation_is_refused() -> None:
    for length in range(len(TINY)):
        refused(TINY[:length])


def test_every_flipped_bit_is_refused() -> None:
    for place in range(8 * len(TINY)):
        damaged = bytearray(TINY)
        damaged[place // 8] ^= 1 << place % 8
        refused(bytes(damaged))


@pytest.mark.parametrize("added", [b"\0", b"\0" * 8, b"SOTT", TINY])
def test_bytes_after_the_end_are_refused(added: bytes) -> None:
    assert "cut short or added to" in refused(TINY + added)


def test_other_files_are_refused() -> None:
    assert "expected a .sotto file" in refused(b"")
    assert "expected a .sotto file" in refused(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    assert "expected a .sotto file" in refused(b"Dear Sir or Madam,\nsotto voce\n")
    assert "expected a .sotto file" in refused(bytes(1000))


def test_a_later_version_is_refused() -> None:
    header, blobs = opened(TINY)
    later = closed_text(json.dumps(header).encode(), blobs, version=VERSION + 1)
    assert f"expected format version 1 to {VERSION}, got {VERSION + 1}" in refused(later)


def test_load_names_the_path(tmp_path: Path) -> None:
    path = tmp_path / "model.sotto"
    for content in (None, b"", TINY[:-1]):
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(FormatError, match=rf"^{path}: [^\n]*$"):
            load(path)
    with pytest.raises(FormatError, match=rf"^{tmp_path}: [^\n]*directory$"):
        load(tmp_path)


# ---- files that lie ------------------------------------------------------------------------------------------
# Each case changes the header or the blobs of a good file; the checksums are made right again.

Change = Callable[[Any, dict[str, bytes]], object]
CODED, SPARSE, HALF, FULL = "ih", "hh", "b1", "b2"


def entry(name: str, **fields: Any) -> Change:
    return lambda header, blobs: header["tensors"][name].update(fields)


def attribute(node: int, **fields: Any) -> Change:
    return lambda header, blobs: header["graph"]["nodes"][node][4].update(fields)


def node(number: int, field: int, value: Any) -> Change:
    return lambda header, blobs: header["graph"]["nodes"][number].__setitem__(field, value)


def role(number: int, **tensors: str) -> Change:
    return lambda header, blobs: header["graph"]["nodes"][number][3].update(tensors)


def graph(**fields: Any) -> Change:
    return lambda header, blobs: header["graph"].update(fields)


def meta(**fields: Any) -> Change:
    return lambda header, blobs: header["meta"].update(fields)


def top(**fields: Any) -> Change:
    return lambda header, blobs: header.update(fields)


def without(*path: Any) -> Change:
    def change(header: Any, blobs: dict[str, bytes]) -> None:
        for key in path[:-1]:
            header = header[key]
        del header[path[-1]]

    return change


def blob(name: str, replaced: Callable[[bytes], bytes]) -> Change:
    def change(header: Any, blobs: dict[str, bytes]) -> None:
        blobs[name] = replaced(blobs[name])
        header["tensors"][name]["bytes"] = len(blobs[name])

    return change


LIES: dict[str, Change] = {
    "shape too large": entry(FULL, shape=[13]),
    "shape too small": entry(FULL, shape=[11]),
    "another shape of as many": entry(FULL, shape=[3, 4]),
    "coded shape too large": entry(CODED, shape=[12, 6]),
    "coded shape too small": entry(CODED, shape=[12, 4]),
    "sparse shape too large": entry(SPARSE, shape=[12, 4]),
    "shape of a tensor that no node takes": entry(CODED, shape=[5, 12]),
    "huge shape": entry(CODED, shape=[MAX_ELEMENTS, 1]),
    "more than huge shape": entry(CODED, shape=[1 << 39] * 8),
    "nine dimensions": entry(FULL, shape=[12, 1, 1, 1, 1, 1, 1, 1, 1]),
    "negative shape": entry(FULL, shape=[-12]),
    "two negative sizes": entry(FULL, shape=[-3, -4]),
    "float shape": entry(FULL, shape=[12.0]),
    "true shape": entry(FULL, shape=[12, True]),
    "text shape": entry(FULL, shape="12"),
    "no shape": entry(FULL, shape=None),
    "nested shape": entry(FULL, shape=[[12]]),
    "number of 4000 digits": entry(FULL, shape=[10**4000]),
    "negative bytes": entry(FULL, bytes=-48),
    "float bytes": entry(FULL, bytes=48.0),
    "too many bytes": entry(FULL, bytes=56),
    "too few bytes": entry(FULL, bytes=40),
    "huge bytes": entry(FULL, bytes=1 << 39),
    "negative values": entry(SPARSE, values=-1),
    "too few values": entry(SPARSE, values=0),
    "too many values": entry(SPARSE, values=36),
    "huge values": entry(SPARSE, values=1 << 39),
    "empty table": entry(CODED, values=0),
    "too small table": entry(CODED, values=6),
    "too large table": entry(CODED, values=8),
    "float values": entry(CODED, values=7.0),
    "unknown form": entry(FULL, form="diagonal"),
    "form of another": entry(FULL, form="sparse"),
    "form that cannot be hashed": entry(FULL, form=["dense"]),
    "unknown type": entry(FULL, type="float64"),
    "type of another": entry(FULL, type="float16"),
    "type that cannot be hashed": entry(FULL, type={"float32": 1}),
    "unknown field": entry(FULL, colour="blue"),
    "missing field": without("tensors", FULL, "bytes"),
    "entry is a list": lambda header, blobs: header["tensors"].update({FULL: []}),
    "missing tensor": lambda header, blobs: (header["tensors"].pop("bias"), blobs.pop("bias")),
    "tensor too much": lambda header, blobs: header["tensors"].update(more=dict(header["tensors"]["bias"])),
    "tensors are a list": top(tensors=[]),
    "graph is a list": top(graph=[]),
    "meta is a list": top(meta=[]),
    "no graph": without("graph"),
    "no meta": without("meta"),
    "unknown part": top(code="import os"),
    "no nodes": without("graph", "nodes"),
    "unknown part of the graph": graph(code="import os"),
    "unknown operation": node(4, 0, "exp"),
    "operation is a list": node(4, 0, ["log1p"]),
    "node is an object": lambda header, blobs: header["graph"]["nodes"].__setitem__(4, {}),
    "node too short": lambda header, blobs: header["graph"]["nodes"][4].pop(),
    "node too long": lambda header, blobs: header["graph"]["nodes"][4].append(0),
    "too many inputs": node(4, 2, ["levelled", "levelled"]),
    "too few inputs": node(3, 2, ["magnitude"]),
    "input of a later node": node(4, 2, ["clean"]),
    "input of itself": node(4, 2, ["features"]),
    "input that is not there": node(4, 2, ["nothing"]),
    "input is a number": node(4, 2, [3]),
    "input that cannot be hashed": node(4, 2, [["levelled"]]),
    "one name twice": node(4, 1, "levelled"),
    "name of the input": node(4, 1, "noisy"),
    "two inputs of one name": graph(inputs=["noisy", "noisy"]),
    "inputs are a text": graph(inputs="noisy"),
    "output that is not there": graph(outputs=["nothing"]),
    "output that cannot be hashed": graph(outputs=[{}]),
    "tensor that is not there": node(6, 3, {"weight": "nothing", "bias": "bias"}),
    "tensor that cannot be hashed": node(6, 3, {"weight": ["out"], "bias": "bias"}),
    "role too much": node(6, 3, {"weight": "out", "bias": "bias", "scale": "bias"}),
    "role missing": node(6, 3, {"bias": "bias"}),
    "weight and bias swapped": node(6, 3, {"weight": "bias", "bias": "out"}),
    "bias of another size": node(6, 3, {"weight": "out", "bias": "b2"}),
    "weights of the LSTM swapped": role(5, weight_ih="hh", weight_hh="ih"),
    "bias of the LSTM too short": role(5, bias_ih="bias"),
    "an LSTM's gates in a GRU": node(5, 0, "gru"),
    "hidden does not fit": attribute(5, hidden=4),
    "hidden is true": attribute(5, hidden=True),
    "hidden is a text": attribute(5, hidden="3"),
    "attribute too much": attribute(5, size=3),
    "attribute missing": without("graph", "nodes", 5, 4, "hidden"),
    "attribute of an operation without": node(4, 4, {"base": 2}),
    "n_fft of zero": attribute(0, n_fft=0),
    "n_fft negative": attribute(0, n_fft=-8),
    "n_fft not whole": attribute(0, n_fft=8.0),
    "n_fft huge": attribute(0, n_fft=1 << 40),
    "n_fft endless": attribute(0, n_fft=10**400),
    "n_fft a text": attribute(0, n_fft="8"),
    "window a number": attribute(0, window=2),
    "decay above one": attribute(1, decay=1.5),
    "decay a text": attribute(1, decay="0.9"),
    "floor of zero": attribute(1, floor=0),
    "floor endless": attribute(1, floor=10**400),
    "floor so small that it is zero": attribute(1, floor=1e-60),
    "window_energy null": attribute(1, window_energy=None),
    "sample rate a text": meta(sample_rate="16000"),
    "reasons a list": meta(not_compressed=[]),
    "reason a number": meta(not_compressed={"bias": 1}),
    "rows of numbers": meta(rows=[1]),
    "name a number": meta(model=3),
    "blob of nothing": blob(CODED, lambda old: b""),
    "blob cut short": blob(CODED, lambda old: old[:-4]),
    "blob with more at its end": blob(CODED, lambda old: old + b"\0\0\0\0"),
    "floats with more at their end": blob(FULL, lambda old: old + b"\0\0\0\0"),
    "table without a zero": blob(CODED, lambda old: b"\0\0\x80\x3f" + old[4:]),
    "NaN in a table": blob(CODED, lambda old: old[:4] + b"\xff\xff\xff\xff" + old[8:]),
    "NaN among floats": blob(FULL, lambda old: b"\xff\xff\xff\xff" + old[4:]),
    "infinite half": blob(HALF, lambda old: b"\x00\x7c" + old[2:]),
    "infinite sparse value": blob(SPARSE, lambda old: b"\0\0\x80\x7f" + old[4:]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(lie: str) -> None:
    header, blobs = opened(encode(enhancer()))
    LIES[lie](header, blobs)
    refused(closed(header, blobs))


def of(name: str, **attributes: Any) -> Change:
    """Other attributes for the node of that name."""
    return lambda header, blobs: named(header, name)[4].update(attributes)


def having(name: str, **tensors: str) -> Change:
    """Other tensors for the node of that name."""
    return lambda header, blobs: named(header, name)[3].update(tensors)


def named(header: Any, name: str) -> Any:
    return next(node for node in header["graph"]["nodes"] if node[1] == name)


CONVOLUTION_LIES: dict[str, Change] = {
    "power of zero": of("soft", power=0),
    "power endless": of("soft", power=10**400),
    "power a text": of("soft", power="0.5"),
    "stride of zero": of("image", stride=0),
    "stride not whole": of("image", stride=1.0),
    "stride huge": of("image", stride=1 << 40),
    "pad negative": of("image", pad=-1),
    "pad beyond the kernel": of("image", pad=3),
    "pad true": of("image", pad=True),
    "kernel of other axes": having("image", weight="grouped"),
    "kernel and bias swapped": having("image", weight="three", bias="kernel"),
    "bias of another convolution": having("image", bias="six"),
    "dilation of zero": of("few", dilation=0),
    "dilation huge": of("few", dilation=1 << 40),
    "after negative": of("few", after=-1),
    "after beyond the kernel": of("few", after=3),
    "groups of zero": of("few", groups=0),
    "groups that do not divide": of("few", groups=4),
    "groups a list": of("few", groups=[3]),
    "conv1d with another kernel": having("few", weight="kernel"),
    "conv1d with another bias": having("few", bias="three"),
    "transposed pad beyond the kernel": of("larger", pad=3),
    "extra as large as the stride": of("larger", extra=1),
    "extra negative": of("larger", extra=-1),
    "transposed bias of the inputs": having("larger", bias="three"),
    "transposed kernel of other axes": having("larger", weight="grouped"),
    "stop before start": of("half", stop=1),
    "stop at start": of("half", stop=2),
    "start negative": of("half", start=-2),
    "stop huge": of("half", stop=1 << 40),
    "size of zero": of("pairs", size=0),
    "size negative": of("pairs", size=-1),
    "eps of zero": of("even", eps=0),
    "eps negative": of("even", eps=-1e-5),
    "norm of two sizes": having("even", bias="three"),
    "scale and shift of two sizes": having("scaled", shift="six"),
    "scale of many axes": having("scaled", scale="kernel", shift="kernel"),
    "slopes of many axes": having("bent", weight="kernel"),
    "bits of zero": of("coarse", bits=0),
    "bits of a float": of("coarse", bits=17),
    "low above high": of("coarse", low=2.0),
    "high endless": of("coarse", high=1e31),
    "level of no bits": entry("spread", bits=0),
    "level of nine bits": entry("spread", bits=9),
    "level beyond its bits": entry("spread", bits=2),
    "larger than the largest level": entry("spread", largest=2),
    "largest level that is not there": entry("spread", bits=8, largest=4),
    "scales for another axis": entry("spread", axis=0),
    "scales for an axis that is not there": entry("spread", axis=4),
    "scales for no axis": entry("spread", axis=None),
    "one scale for all": without("tensors", "spread", "axis"),
    "infinite scale": blob("spread", lambda old: b"\0\0\x80\x7f" + old[4:]),
    "levels as values": entry("spread", values=3),
    "nothing to join": lambda header, blobs: named(header, "joined").__setitem__(2, []),
    "nothing to stack": lambda header, blobs: named(header, "twice").__setitem__(2, []),
    "one term of two": lambda header, blobs: named(header, "sum").__setitem__(2, ["product"]),
    "empty kernel": lambda header, blobs: (blobs.update(kernel=b""), header["tensors"].update(
        kernel={"form": "dense", "type": "float32", "shape": [3, 2, 0, 3], "bytes": 0, "crc32": 0})),
}


@pytest.mark.parametrize("lie", CONVOLUTION_LIES)
def test_a_convolution_that_lies_is_refused(lie: str) -> None:
    header, blobs = opened(encode(convolver()))
    CONVOLUTION_LIES[lie](header, blobs)
    refused(closed(header, blobs))


CHANNEL_LIES: dict[str, Change] = {
    "no channels": of("others", channels=[]),
    "channel below -1": of("others", channels=[0, -2]),
    "channel huge": of("others", channels=[1 << 40]),
    "channel not whole": of("others", channels=[1.0]),
    "channel a list": of("others", channels=[[1]]),
    "channels a number": of("others", channels=1),
    "chunk of nothing": of("mixed", chunk=0),
    "chunk that sees frames after it": of("mixed", chunk=4, after=1),
    "chunk that sees all before it": lambda header, blobs: [
        of("mixed", chunk=4)(header, blobs), named(header, "mixed")[4].pop("before")],
}


@pytest.mark.parametrize("lie", CHANNEL_LIES)
def test_channels_and_chunks_that_lie_are_refused(lie: str) -> None:
    header, blobs = opened(encode(recognizer()))
    CHANNEL_LIES[lie](header, blobs)
    refused(closed(header, blobs))


def test_a_channel_that_is_not_there_is_a_format_error() -> None:
    header, blobs = opened(encode(recognizer()))
    of("others", channels=[5, 0, -1, 2, 2, 6])(header, blobs)
    artefact = decode(closed(header, blobs))
    with pytest.raises(FormatError, match=r"^model: .*channel 6 of values"):
        Session(artefact)


MISFITS: dict[str, Change] = {          # well-formed each for itself; together no model
    "slice past the end": of("half", start=8, stop=13),
    "size that does not divide": of("pairs", size=3),
    "size of other frames": of("channels", size=2),
    "groups of too many channels": of("few", groups=6),
    "stride that leaves too little": of("image", stride=4),
    "pad that cuts too much": of("larger", pad=2),
    "stride to more than there was": of("larger", stride=3),
    "one slope for other channels": having("bent", weight="six"),
    "scales for other channels": having("scaled", scale="six", shift="six"),
    "norm of other channels": having("even", weight="three", bias="three"),
    "an unknown window": lambda header, blobs: [named(header, name)[4].update(window="kaiser")
                                                for name in ("framed", "clean")],
    "other settings at the end": of("clean", window="hamming"),
    "frames of no whole hops": lambda header, blobs: [named(header, name)[4].update(hop=3)
                                                      for name in ("framed", "clean")],
    "a spectrum at the end": lambda header, blobs: named(header, "clean").__setitem__(0, "istft"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_model_that_cannot_run_is_a_format_error(misfit: str) -> None:
    header, blobs = opened(encode(convolver()))
    MISFITS[misfit](header, blobs)
    artefact = decode(closed(header, blobs))
    with pytest.raises(FormatError, match=r"^model: "):
        Session(artefact)


def test_a_file_put_together_again_is_good() -> None:
    good = encode(enhancer())
    assert encode(decode(closed(*opened(good)))) == good


@pytest.mark.parametrize("form", ["float32, empty", "sparse, empty", "codebook, empty"])
def test_nothing_times_huge_is_refused(form: str) -> None:
    header, blobs = opened(encode(wire(w=STORED[form])))
    header["tensors"]["w"]["shape"] = [0, 1 << 39, 1 << 39]
    refused(closed(header, blobs))


def test_low_bits_beyond_the_table_are_refused() -> None:
    """The highest code there may be, and low bits that would make it one more: 0 again in 16 bits."""
    stored = Codebook(np.array([65535], np.uint16), np.arange(65536, dtype=np.float32))
    header, blobs = opened(encode(wire(w=stored)))
    assert blobs["w"][-1] == 0xFE
    refused(closed(header, {"w": blobs["w"][:-1] + b"\xff"}))


HEADERS: dict[str, bytes] = {
    "nothing": b"",
    "not JSON": b"{",
    "a number": b"3",
    "NaN": b'{"graph":NaN}',
    "a number beyond floats": b'{"meta":{"x":1e999}}',
    "a number of 9999 digits": b"9" * 9999,
    "not UTF-8": b'{"\xff":1}',
    "UTF-16": '{"graph":{},"tensors":{},"meta":{}}'.encode("utf-16"),
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "deep where a node should be": b'{"graph":{"inputs":[],"outputs":[],"nodes":[' + b"[" * 900 + b"]" * 900
                                   + b']},"tensors":{},"meta":{}}',
    "a key twice": b'{"graph":{"inputs":[],"outputs":[],"nodes":[]},"tensors":{},"meta":{},"meta":{}}',
    "a name of two lines": json.dumps({"graph": {"inputs": [], "outputs": [], "nodes": []},
                                       "tensors": {"\x1b[31m\nERROR \ud800": 1}, "meta": {}}).encode(),
    "a name without end": json.dumps({"graph": {"inputs": [], "outputs": [], "nodes": []},
                                      "tensors": {"x" * 100_000: 1}, "meta": {}}).encode(),
    "larger than is read": b" " * (MAX_HEADER + 1),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_is_none_is_refused(case: str) -> None:
    refused(closed_text(HEADERS[case], {}))


def test_a_header_of_another_length_than_stated_is_refused() -> None:
    header, _ = opened(encode(wire()))
    text = json.dumps(header).encode()
    packed = zlib.compress(text)
    for stated, stored in [(len(text) - 1, packed), (len(text) + 1, packed), (len(text), packed + b"\0"),
                           (len(text), packed[:-1]), (0, packed), (MAX_HEADER + 1, packed), (len(text), text)]:
        preamble = PREAMBLE.pack(b"SOTT", VERSION, 0, len(stored), stated, zlib.crc32(stored))
        refused(preamble + stored + bytes(-(PREAMBLE.size + len(stored)) % ALIGNMENT))


# ---- memory --------------------------------------------------------------------------------------------------

BOMBS: dict[str, Callable[[], bytes]] = {
    "a million elements of one code": lambda: one_code(1 << 20),
    "as many as there may be": lambda: one_code(MAX_ELEMENTS),
    "a header of spaces": lambda: closed_text(b" " * (64 << 20), {}),
    "a file that ends after its preamble": lambda: PREAMBLE.pack(b"SOTT", VERSION, 0, 1 << 31, 1 << 31, 0),
    "a million values": lambda: lying(SPARSE, values=1 << 20),
    "dense without bytes": lambda: lying(FULL, shape=[MAX_ELEMENTS]),
    "four values that inflate to 80 million bytes": lambda: inflating(20_000_000),
}


def one_code(elements: int) -> bytes:
    """A file whose coded tensor claims so many elements, all of them zero: they cost nothing to code."""
    header, blobs = opened(encode(wire(w=Codebook(np.zeros((2, 2), np.uint8), np.zeros(1, np.float32)))))
    header["tensors"]["w"]["shape"] = [elements // 2, 2]
    return closed(header, blobs)


def inflating(values: int) -> bytes:
    """A file of a sparse tensor of four elements whose planes claim and hold so many values."""
    header, blobs = opened(encode(wire(w=Sparse(np.ones(4, bool), np.ones(4, np.float32)))))
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    plane = deflate.compress(bytes(values)) + deflate.flush()
    blobs["w"] = (struct.pack("<I", len(plane)) + plane) * 4
    header["tensors"]["w"] |= {"values": values, "planes": True, "bytes": len(blobs["w"])}
    return closed(header, blobs)


def lying(name: str, **fields: Any) -> bytes:
    header, blobs = opened(encode(enhancer()))
    header["tensors"][name] |= fields
    return closed(header, blobs)


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_few_bytes_do_not_fill_the_memory(bomb: str) -> None:
    data = BOMBS[bomb]()
    tracemalloc.start()
    try:
        refused(data)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["sparse", "codebook"])
def test_reading_takes_little_more_memory_than_the_weights(form: str) -> None:
    make = {"sparse": lambda: sparse(RANDOM, (256, 1024)), "codebook": lambda: codebook(RANDOM, (256, 1024), 15)}
    stored = make[form]()
    data = encode(wire(w=stored))
    tracemalloc.start()
    try:
        decode(data)
        assert tracemalloc.get_traced_memory()[1] < 16 * 256 * 1024
    finally:
        tracemalloc.stop()


# ---- anything at all -----------------------------------------------------------------------------------------

JUNK = [
    None, True, False, 0, 1, -1, 2, 7, 255, 65536, 1 << 31, 1 << 39, 1 << 63, 10**400, 0.5, -0.0, 1e-300, 1e300,
    "", "x", "noisy", "spectrum", "features", "ih", "bias", "dense", "sparse", "codebook", "float16", "hann_sqrt",
    [], {}, [1], [[]], ["noisy"], {"x": 1}, [0], [3, 4], [12], [1 << 20, 1 << 20], "\n", "\ud800",
]


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) within a JSON value."""
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from places(value[key])


def spoilt(dice: random.Random, header: Any) -> Any:
    """The header with one to three things in it replaced, dropped, repeated or swapped."""
    header = copy.deepcopy(header)
    for _ in range(dice.randint(1, 3)):
        every = list(places(header))
        container, key = dice.choice(every)
        act = dice.randrange(5)
        if act == 0:
            del container[key]
        elif act == 1 and isinstance(container, list):
            container.insert(key, container[key])
        elif act == 2:
            other, place = dice.choice(every)
            container[key] = copy.deepcopy(other[place])
        elif act == 3 and type(container[key]) is int:
            container[key] += dice.choice([-1, 1, 8, -8, 1000])
        else:
            container[key] = dice.choice(JUNK)
    return header


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", range(4))
def test_no_header_makes_anything_but_a_model_or_a_format_error(seed: int, model: str) -> None:
    dice = random.Random(seed)
    header, blobs = opened(encode(MODELS[model]()))
    taken = 0
    for _ in range(600):
        data = closed(spoilt(dice, header), blobs)
        taken += a_model_or_a_format_error(data)
    assert taken < 300


@pytest.mark.parametrize("seed", range(4))
def test_no_blob_makes_anything_but_a_model_or_a_format_error(seed: int) -> None:
    dice = random.Random(seed)
    header, blobs = opened(encode(enhancer()))
    for _ in range(400):
        changed = dict(blobs)
        name = dice.choice([CODED, SPARSE, "out"])
        content = bytearray(changed[name])
        for _ in range(dice.randint(1, 4)):
            content[dice.randrange(len(content))] = dice.randrange(256)
        changed[name] = bytes(content)
        a_model_or_a_format_error(closed(header, changed))


def a_model_or_a_format_error(data: bytes) -> bool:
    """Whether the bytes are a model, which then can be written again; nothing but FormatError may escape."""
    try:
        artefact = decode(data)
    except FormatError as error:
        assert str(error).isprintable()
        return False
    assert decode(encode(artefact)).graph == artefact.graph
    try:
        Session(artefact)
    except FormatError:
        pass
    return True


# ---- saving --------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.sotto"
    save(enhancer(), path)
    assert path.read_bytes() == encode(enhancer())
    assert load(path).graph == enhancer().graph
    assert list(path.parent.iterdir()) == [path]


def test_a_full_disk_leaves_the_old_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "model.sotto"
    save(wire(), path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SottovoceError, match="No space left"):
        save(enhancer(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_model_that_cannot_be_stored_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.sotto"
    save(wire(), path)
    before = path.read_bytes()
    with pytest.raises(SottovoceError):
        save(wire(w=UNFIT["NaN"]), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_shapes_that_no_operation_takes_are_refused_before_the_first_step() -> None:
    artefact = enhancer()
    wrong = artefact.tensors | {"ih": codebook(RANDOM, (4 * HIDDEN, BINS + 1), 3)}
    with pytest.raises(FormatError):
        Session(decode(encode(Artefact(artefact.graph, wrong, artefact.meta))))
