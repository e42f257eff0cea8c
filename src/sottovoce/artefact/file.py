"""An artefact as bytes and back; docs/format.md has it byte by byte. Data only, nothing in it is run."""

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact import Artefact
from sottovoce.artefact.coding import ALPHABET, decode_symbols, encode_symbols
from sottovoce.artefact.graph import OPS, Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Sparse, Stored
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.files import write_bytes

MAGIC = b"SOTT"
VERSION = 1
PREAMBLE = struct.Struct("<4sHHIII")     # magic, version, 0, bytes of header, of its JSON, checksum
ALIGNMENT = 8
MAX_HEADER = 1 << 22                     # bytes of JSON
MAX_ELEMENTS = 1 << 28                   # of all tensors together
MAX_DIMENSIONS = 8
RANGES: dict[str, tuple[float, float]] = {        # of attributes; those with whole limits are whole
    "n_fft": (1, 1 << 16), "hop": (1, 1 << 16), "hidden": (1, 1 << 16),
    "decay": (1e-30, 1.0), "floor": (1e-30, 1e30), "window_energy": (1e-30, 1e30),
}
META: dict[str, type] = {                # what others rely on when they read it; each may be absent
    "name": str, "model": str, "config": dict, "task": str, "sample_rate": int, "parameters": int,
    "not_compressed": dict, "rows": list, "recipe": str,
}


def encode(artefact: Artefact) -> bytes:
    """The file of an artefact; equal artefacts give equal bytes.

    Raises SottovoceError for what no reader would take, naming the tensor or field: values that are not
    finite, places that do not fit the values, a graph that asks for what is not there.
    """
    blobs = {name: _blob(name, stored) for name, stored in artefact.tensors.items()}
    entries: dict[str, Any] = {}
    offset = 0                           # from the end of the header
    for name, blob in blobs.items():
        place = {"offset": offset, "bytes": len(blob), "crc32": zlib.crc32(blob)}
        entries[name] = {**_entry(artefact.tensors[name]), **place}
        offset += _aligned(len(blob))
    header = {"graph": _graph_record(artefact.graph), "tensors": entries, "meta": artefact.meta}
    try:
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise SottovoceError(f"graph and meta: expected JSON values only ({error})") from None
    _parsed(text)
    packed = zlib.compress(text, 9)
    preamble = PREAMBLE.pack(MAGIC, VERSION, 0, len(packed), len(text), zlib.crc32(packed))
    return b"".join([_padded(preamble + packed), *map(_padded, blobs.values())])


def decode(data: bytes, name: str = "model") -> Artefact:
    """The artefact in the bytes of a file; `name` stands for the file in messages.

    Raises FormatError for anything that `encode` would not write: damaged, cut short, of a later version, no
    model. What is allocated is in proportion to the file.
    """
    try:
        return _decode(data)
    except FormatError as error:
        raise FormatError(f"{name}: {_printable(str(error))}") from None
    except (RecursionError, MemoryError):
        raise FormatError(f"{name}: nested too deeply or too large for this machine") from None


def save(artefact: Artefact, path: Path) -> None:
    """Write the file in one move."""
    write_bytes(path, encode(artefact))


def load(path: Path) -> Artefact:
    """The artefact in the file at `path`. Raises FormatError, also when there is no such file."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: expected a .sotto file, got: {error.strerror}") from None
    return decode(data, str(path))


# ---- tensors -----------------------------------------------------------------------------------------------


def _entry(stored: Stored) -> dict[str, Any]:
    shape = list(stored.shape)
    if isinstance(stored, Dense):
        return {"form": "dense", "shape": shape, "type": stored.values.dtype.name}
    if isinstance(stored, Sparse):
        return {"form": "sparse", "shape": shape, "values": len(stored.values)}
    if isinstance(stored, Codebook):
        return {"form": "codebook", "shape": shape, "values": len(stored.table)}
    raise SottovoceError(f"no place in the file for a {type(stored).__name__}")


def _blob(name: str, stored: Stored) -> bytes:
    """Bytes of a tensor: values first, then the coded positions or codes."""
    values, coded = (stored.values, b"") if isinstance(stored, Dense) else _coded(name, stored)
    if not np.isfinite(values).all():
        raise SottovoceError(f"{name}: expected finite values, got NaN or infinity")
    return bytes(values.astype(values.dtype.newbyteorder("<")).tobytes()) + coded


def _coded(name: str, stored: Stored) -> tuple[NDArray[np.float32], bytes]:
    if isinstance(stored, Sparse):
        if (places := np.count_nonzero(stored.keep)) != len(stored.values):
            raise SottovoceError(f"{name}: expected {places} values, one a place, got {len(stored.values)}")
        return stored.values, encode_symbols(stored.keep.flatten().astype(np.uint8), 2)
    assert isinstance(stored, Codebook)
    size = len(stored.table)
    if not 1 <= size <= ALPHABET or stored.table[0] != 0:
        raise SottovoceError(f"{name}: expected a table of 1..{ALPHABET} values, the first 0, got {size}")
    if (highest := stored.codes.max(initial=0)) >= size:
        raise SottovoceError(f"{name}: expected codes below {size}, got {highest}")
    return stored.table, encode_symbols(stored.codes.flatten(), size)


def _tensor(name: str, entry: Mapping[str, Any], blob: bytes) -> Stored:
    shape = tuple(entry["shape"])
    count = math.prod(shape)
    if entry["form"] == "dense":
        kind = np.dtype({"float32": "<f4", "float16": "<f2"}[entry["type"]])
        _expect(len(blob) == count * kind.itemsize, f"{name}: {shape} does not fill {len(blob)} bytes")
        return Dense(_finite(name, np.frombuffer(blob, kind)).reshape(shape))
    size = 4 * entry["values"]
    _expect(len(blob) >= size, f"{name}: {entry['values']} values do not fit in {len(blob)} bytes")
    values = _finite(name, np.frombuffer(blob[:size], "<f4"))
    if entry["form"] == "sparse":
        keep = decode_symbols(blob[size:], count, 2).astype(np.bool_).reshape(shape)
        _expect(int(keep.sum()) == len(values), f"{name}: {int(keep.sum())} places for {len(values)} values")
        return Sparse(keep, values)
    _expect(1 <= len(values) <= ALPHABET and values[0] == 0, f"{name}: a table should begin with zero")
    codes = decode_symbols(blob[size:], count, len(values)).reshape(shape)
    return Codebook(codes if len(values) > 256 else codes.astype(np.uint8), values)


def _finite(name: str, values: NDArray[Any]) -> NDArray[Any]:
    """The values in the byte order of this machine."""
    _expect(bool(np.isfinite(values).all()), f"{name}: a value is not finite")
    return values.astype(values.dtype.newbyteorder("="))


# ---- the whole file ----------------------------------------------------------------------------------------


def _decode(data: bytes) -> Artefact:
    text, start = _header(data)
    graph, entries, meta = _parsed(text)
    end = start + sum(_aligned(entry["bytes"]) for entry in entries.values())
    _expect(len(data) == end, f"cut short or added to: expected {end} bytes, got {len(data)}")
    tensors = {}
    for name, entry in entries.items():
        first = start + entry["offset"]
        last = first + entry["bytes"]
        _expect(zlib.crc32(data[first:last]) == entry["crc32"], f"{name}: damaged, its checksum does not fit")
        _expect(not any(data[last : start + _aligned(last - start)]), f"{name}: its padding is not zero")
        tensors[name] = _tensor(name, entry, data[first:last])
    return Artefact(graph, tensors, meta)


def _header(data: bytes) -> tuple[bytes, int]:
    """The JSON of the header, and where the blobs begin."""
    _expect(data[:4] == MAGIC, f"expected a .sotto file, which begins with {MAGIC!r}, got {data[:4]!r}")
    _expect(len(data) >= PREAMBLE.size, f"cut short: expected {PREAMBLE.size} bytes or more, got {len(data)}")
    _, version, zero, stored, plain, checksum = PREAMBLE.unpack_from(data)
    _expect(version == VERSION, f"expected format version {VERSION}, got {version}: of a later sottovoce?")
    _expect(zero == 0, f"header: expected 0 after the version, got {zero}")
    end = PREAMBLE.size + stored
    _expect(len(data) >= _aligned(end), f"cut short: expected {_aligned(end)} bytes or more, got {len(data)}")
    packed = data[PREAMBLE.size : end]
    _expect(zlib.crc32(packed) == checksum, "header: damaged, its checksum does not fit")
    _expect(not any(data[end : _aligned(end)]), "header: its padding is not zero")
    _expect(plain <= MAX_HEADER, f"header: {plain} bytes of JSON, {MAX_HEADER} at most are read")
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(packed, plain + 1)
    except zlib.error as error:
        raise FormatError(f"header: does not unpack ({error})") from None
    whole = len(text) == plain and reader.eof and not reader.unused_data
    _expect(whole, f"header: does not unpack to {plain} bytes of JSON")
    return text, _aligned(end)


def _parsed(text: bytes) -> tuple[Graph, dict[str, Any], dict[str, Any]]:
    """Graph, entries of the tensors and meta of a header. Raises FormatError unless all fits together."""
    _expect(len(text) <= MAX_HEADER, f"header: {len(text)} bytes of JSON, {MAX_HEADER} at most are read")
    try:
        header = json.loads(
            text.decode(), parse_constant=_number, parse_float=_number, object_pairs_hook=_object
        )
    except ValueError as error:
        raise FormatError(f"header: not JSON ({error})") from None
    _check_keys("header", header, {"graph", "tensors", "meta"})
    graph, entries, meta = _graph(header["graph"]), header["tensors"], header["meta"]
    _check_entries(entries)
    _check_references(graph, {name: tuple(entry["shape"]) for name, entry in entries.items()})
    _check_meta(meta)
    return graph, entries, meta


def _check_entries(entries: Any) -> None:
    _expect(isinstance(entries, dict), "header: tensors should be an object")
    elements, offset = 0, 0
    for name, entry in entries.items():
        _check_entry(name, entry)
        _expect(entry["offset"] == offset, f"{name}: should lie at {offset}, not {entry['offset']}")
        offset += _aligned(entry["bytes"])
        elements += math.prod(entry["shape"])
    _expect(elements <= MAX_ELEMENTS, f"{elements} elements in all, {MAX_ELEMENTS} at most are read")


def _check_entry(name: str, entry: Any) -> None:
    form = entry.get("form") if isinstance(entry, dict) else None
    _expect(form in ("dense", "sparse", "codebook"), f"{name}: unknown form {form!r}")
    extra = "type" if form == "dense" else "values"
    _check_keys(name, entry, {"form", "shape", "offset", "bytes", "crc32", extra})
    shape = entry["shape"]
    whole = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS and all(map(_whole, shape))
    # Sizes of 0 count as 1, or numpy would stumble over the others.
    fits = whole and math.prod(max(1, size) for size in shape) <= MAX_ELEMENTS
    _expect(fits, f"{name}: expected a shape of {MAX_ELEMENTS} elements at most, got {shape!r}")
    for key in entry.keys() & {"offset", "bytes", "crc32", "values"}:
        _expect(_whole(entry[key]), f"{name}: {key} should be a whole number, got {entry[key]!r}")
    kind = entry.get("type", "float32")
    _expect(kind in ("float32", "float16"), f"{name}: unknown type {kind!r}")


def _check_meta(meta: Any) -> None:
    _expect(isinstance(meta, dict), "header: meta should be an object")
    for key in META.keys() & meta.keys():
        _expect(type(meta[key]) is META[key], f"meta: {key} should be of type {META[key].__name__}")
    reasons, rows = meta.get("not_compressed", {}).values(), meta.get("rows", [])
    _expect(all(isinstance(reason, str) for reason in reasons), "meta: not_compressed should hold texts")
    _expect(all(isinstance(row, dict) for row in rows), "meta: rows should hold objects")


# ---- the graph ---------------------------------------------------------------------------------------------


def _graph_record(graph: Graph) -> dict[str, Any]:
    nodes = [[node.op, node.name, list(node.inputs), node.tensors, node.attributes] for node in graph.nodes]
    return {"inputs": list(graph.inputs), "outputs": list(graph.outputs), "nodes": nodes}


def _graph(record: Any) -> Graph:
    _check_keys("graph", record, {"inputs", "outputs", "nodes"})
    inputs, outputs, nodes = record["inputs"], record["outputs"], record["nodes"]
    lists = _texts(inputs) and _texts(outputs) and isinstance(nodes, list)
    _expect(lists, "graph: expected lists of names and of nodes")
    return Graph(tuple(inputs), tuple(outputs), tuple(_node(fields) for fields in nodes))


def _node(fields: Any) -> Node:
    kinds = [type(field) for field in fields] if isinstance(fields, list) else []
    _expect(kinds == [str, str, list, dict, dict], "graph: a node is [op, name, inputs, tensors, attributes]")
    op, name, inputs, tensors, attributes = fields
    _expect(_texts(inputs) and _texts(list(tensors.values())), f"graph: {name}: names should be texts")
    _expect(op in OPS, f"graph: {name}: unknown operation {op!r}: of a later sottovoce?")
    kind = OPS[op]
    _expect(len(inputs) == kind.inputs, f"graph: {name}: {op} takes {kind.inputs} inputs, got {len(inputs)}")
    _check_keys(f"graph: {name}: tensors of {op}", tensors, set(kind.tensors))
    _check_keys(f"graph: {name}: attributes of {op}", attributes, set(kind.attributes))
    for key, value in attributes.items():
        _expect(_fits_range(key, value), f"graph: {name}: {key} cannot be {value!r}")
    return Node(op, name, tuple(inputs), tensors, attributes)


def _fits_range(key: str, value: Any) -> bool:
    if key not in RANGES:
        return isinstance(value, str)
    low, high = RANGES[key]
    return type(value) in {int, type(low)} and bool(low <= value <= high)


def _check_references(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> None:
    known = set(graph.inputs)
    _expect(len(known) == len(graph.inputs), "graph: two inputs of one name")
    for node in graph.nodes:
        for name in node.inputs:
            _expect(name in known, f"graph: {node.name}: its input {name!r} does not come before it")
        for name in node.tensors.values():
            _expect(name in shapes, f"graph: {node.name}: its tensor {name!r} is not in the file")
        its = {role: shapes[name] for role, name in node.tensors.items()}
        _expect(_fit(node, its), f"graph: {node.name}: tensors of shapes {its} do not make one {node.op}")
        _expect(node.name not in known, f"graph: {node.name}: a value of that name is already there")
        known.add(node.name)
    for name in graph.outputs:
        _expect(name in known, f"graph: the output {name!r} is no value of it")


def _fit(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether the shapes of a node's tensors are those of the table in graph.py."""
    if node.op == "linear":
        return len(shapes["weight"]) == 2 and shapes["bias"] == shapes["weight"][:1]
    if node.op == "lstm":
        hidden = node.attributes["hidden"]
        inputs = shapes["weight_ih"][1:]
        wanted = {"weight_ih": inputs, "weight_hh": (hidden,), "bias_ih": (), "bias_hh": ()}
        return len(inputs) == 1 and shapes == {role: (4 * hidden, *rest) for role, rest in wanted.items()}
    return True


# ---- small things ------------------------------------------------------------------------------------------


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise FormatError(message)


def _check_keys(where: str, record: Any, wanted: set[str]) -> None:
    came = sorted(record) if isinstance(record, dict) else type(record).__name__
    _expect(came == sorted(wanted), f"{where}: expected {sorted(wanted)}, got {came}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    _expect(len(record) == len(pairs), "header: a key comes twice in one object")
    return record


def _number(text: str) -> float:
    _expect(math.isfinite(float(text)), f"header: {text} is not a finite number")
    return float(text)


def _texts(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _printable(message: str) -> str:
    """A message with names out of a damaged file, as one line that no terminal trips over."""
    return "".join(char if char.isprintable() else "?" for char in message[:300])


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _padded(data: bytes) -> bytes:
    return data + bytes(_aligned(len(data)) - len(data))


@dataclass(frozen=True)
class Layout:
    """Where the bytes of a file go."""

    header: int                          # preamble, header and padding
    tensors: dict[str, int]              # bytes of each tensor, with its padding


def layout(artefact: Artefact) -> Layout:
    """The bytes that an artefact's header and tensors take; they add up to the length of the file."""
    text, start = _header(encode(artefact))
    _, entries, _ = _parsed(text)
    return Layout(start, {name: _aligned(entry["bytes"]) for name, entry in entries.items()})
