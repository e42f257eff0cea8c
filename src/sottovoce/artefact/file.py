"""An artefact as bytes and back. docs/format.md describes the file byte by byte; data only, nothing in it is run."""

import json
import math
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.coding import ALPHABET, decode_symbols, encode_symbols
from sottovoce.artefact.graph import OPS, Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Sparse, Stored
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.files import write_bytes

MAGIC = b"SOTT"
VERSION = 1
PREAMBLE = struct.Struct("<4sHHIII")     # magic, version, zero, header as stored, header as JSON, checksum of it as stored
ALIGNMENT = 8
MAX_HEADER = 1 << 24                     # bytes of JSON
MAX_ELEMENTS = 1 << 28                   # of all tensors together
ELEMENTS_PER_BYTE = 1 << 18              # no more are believed of a coded blob, however empty


def encode(artefact: Artefact) -> bytes:
    """The file of an artefact; equal artefacts give equal bytes.

    Raises SottovoceError naming a tensor that holds a value which is not finite.
    """
    blobs = {name: _blob(name, stored) for name, stored in artefact.tensors.items()}
    entries: dict[str, Any] = {}
    offset = 0                           # from the end of the header
    for name, blob in blobs.items():
        entries[name] = {**_entry(artefact.tensors[name]), "offset": offset, "bytes": len(blob), "crc32": zlib.crc32(blob)}
        offset += _aligned(len(blob))
    header = {"graph": _graph_record(artefact.graph), "tensors": entries, "meta": artefact.meta}
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    if len(text) > MAX_HEADER:
        raise SottovoceError(f"header: expected at most {MAX_HEADER} bytes of JSON, got {len(text)}")
    packed = zlib.compress(text, 9)
    preamble = PREAMBLE.pack(MAGIC, VERSION, 0, len(packed), len(text), zlib.crc32(packed))
    return b"".join([_padded(preamble + packed), *map(_padded, blobs.values())])


def decode(data: bytes, name: str = "model") -> Artefact:
    """The artefact in the bytes of a file; `name` stands for the file in messages.

    Raises FormatError for anything that `encode` did not write: damaged, cut short, of a later version, not a model.
    """
    try:
        return _decode(data)
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from None


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


# ---- tensors ---------------------------------------------------------------------------------------------------------


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
    return bytes(np.ascontiguousarray(values).astype(values.dtype.newbyteorder("<")).tobytes()) + coded


def _coded(name: str, stored: Stored) -> tuple[Any, bytes]:
    if isinstance(stored, Sparse):
        return stored.values, encode_symbols(stored.keep.flatten().astype(np.uint8), 2)
    assert isinstance(stored, Codebook)
    if not 1 <= len(stored.table) <= ALPHABET or stored.table[0] != 0:
        raise SottovoceError(f"{name}: expected a table of 1..{ALPHABET} values, the first 0, got {len(stored.table)}")
    return stored.table, encode_symbols(stored.codes.flatten(), len(stored.table))


def _tensor(name: str, entry: Mapping[str, Any], blob: bytes) -> Stored:
    shape = tuple(entry["shape"])
    count = math.prod(shape)
    if entry["form"] == "dense":
        kind = {"float32": "<f4", "float16": "<f2"}[entry["type"]]
        _expect(len(blob) == count * np.dtype(kind).itemsize, f"{name}: {shape} does not fill {len(blob)} bytes")
        values = np.frombuffer(blob, kind).reshape(shape)
        _expect(bool(np.isfinite(values).all()), f"{name}: a value is not finite")
        return Dense(values.astype(values.dtype.newbyteorder("=")))
    _expect(count <= ELEMENTS_PER_BYTE * len(blob), f"{name}: {count} elements cannot come from {len(blob)} bytes")
    size = 4 * entry["values"]
    _expect(len(blob) >= size, f"{name}: {entry['values']} values do not fit in {len(blob)} bytes")
    values = np.frombuffer(blob, "<f4", entry["values"]).astype(np.float32)
    _expect(bool(np.isfinite(values).all()), f"{name}: a value is not finite")
    if entry["form"] == "sparse":
        keep = decode_symbols(blob[size:], count, 2).astype(np.bool_).reshape(shape)
        _expect(int(keep.sum()) == len(values), f"{name}: {int(keep.sum())} positions for {len(values)} values")
        return Sparse(keep, values)
    _expect(1 <= len(values) <= ALPHABET and values[0] == 0, f"{name}: a table should begin with zero")
    codes = decode_symbols(blob[size:], count, len(values)).reshape(shape)
    return Codebook(codes if len(values) > 256 else codes.astype(np.uint8), values)


# ---- the whole file --------------------------------------------------------------------------------------------------


def _decode(data: bytes) -> Artefact:
    header, start = _header(data)
    graph = _graph(_field(header, "graph", dict, "header"))
    entries = _field(header, "tensors", dict, "header")
    meta = _field(header, "meta", dict, "header")
    total, offset = 0, 0
    for name, entry in entries.items():
        _check_entry(name, entry)
        total += math.prod(entry["shape"])
        _expect(entry["offset"] == offset, f"{name}: should lie at {offset}, not {entry['offset']}")
        offset += _aligned(entry["bytes"])
    _expect(total <= MAX_ELEMENTS, f"{total} elements, {MAX_ELEMENTS} at most are read")
    _expect(len(data) == start + offset, f"expected {start + offset} bytes, got {len(data)}: cut short or added to")
    tensors = {}
    for name, entry in entries.items():
        first, last = start + entry["offset"], start + entry["offset"] + entry["bytes"]
        _expect(zlib.crc32(data[first:last]) == entry["crc32"], f"{name}: checksum does not fit, the file is damaged")
        _expect(not any(data[last : start + entry["offset"] + _aligned(entry["bytes"])]), f"{name}: padding is not zero")
        tensors[name] = _tensor(name, entry, data[first:last])
    _check_references(graph, tensors)
    return Artefact(graph, tensors, meta)


def _header(data: bytes) -> tuple[dict[str, Any], int]:
    """The header, and where the blobs begin."""
    _expect(data[:4] == MAGIC, f"expected a .sotto file, which begins with {MAGIC!r}, got {data[:4]!r}")
    _expect(len(data) >= PREAMBLE.size, f"expected {PREAMBLE.size} bytes at least, got {len(data)}: cut short")
    _, version, zero, stored, plain, checksum = PREAMBLE.unpack_from(data)
    _expect(version == VERSION and zero == 0, f"expected format version {VERSION}, got {version}: made by a later sottovoce?")
    end = PREAMBLE.size + stored
    _expect(len(data) >= _aligned(end), f"expected a header of {stored} bytes, got {len(data) - PREAMBLE.size}: cut short")
    packed = data[PREAMBLE.size : end]
    _expect(zlib.crc32(packed) == checksum, "header: checksum does not fit, the file is damaged")
    _expect(plain <= MAX_HEADER, f"header: {plain} bytes of JSON, {MAX_HEADER} at most are read")
    _expect(not any(data[end : _aligned(end)]), "header: padding is not zero")
    try:
        reader = zlib.decompressobj()
        text = reader.decompress(packed, plain + 1)
        _expect(len(text) == plain and reader.eof and not reader.unused_data, "header: length does not fit")
        header = json.loads(text)
    except (zlib.error, ValueError, RecursionError) as error:
        raise FormatError(f"header: not JSON ({error})") from None
    _expect(isinstance(header, dict), "header: expected an object")
    return header, _aligned(end)


def _check_entry(name: str, entry: Any) -> None:
    _expect(isinstance(entry, dict), f"{name}: expected an object")
    form = entry.get("form")
    keys = {"dense": {"type"}, "sparse": {"values"}, "codebook": {"values"}}.get(form) if isinstance(form, str) else None
    _expect(keys is not None, f"{name}: form should be dense, sparse or codebook, got {form!r}")
    assert keys is not None
    wanted = {"form", "shape", "offset", "bytes", "crc32"} | keys
    _expect(set(entry) == wanted, f"{name}: expected the fields {sorted(wanted)}, got {sorted(entry)}")
    shape = entry["shape"]
    _expect(isinstance(shape, list) and len(shape) <= 8 and all(map(_whole, shape)), f"{name}: bad shape {shape!r}")
    _expect(math.prod(shape) <= MAX_ELEMENTS, f"{name}: {shape} is more than {MAX_ELEMENTS} elements")
    for key in ("offset", "bytes", "crc32", *(keys - {"type"})):
        _expect(_whole(entry[key]), f"{name}: {key} should be a whole number, got {entry[key]!r}")
    _expect(entry.get("type", "float32") in ("float32", "float16"), f"{name}: unknown type {entry.get('type')!r}")


# ---- the graph -------------------------------------------------------------------------------------------------------


def _graph_record(graph: Graph) -> dict[str, Any]:
    nodes = [[node.op, node.name, list(node.inputs), node.tensors, node.attributes] for node in graph.nodes]
    return {"inputs": list(graph.inputs), "outputs": list(graph.outputs), "nodes": nodes}


def _graph(record: dict[str, Any]) -> Graph:
    inputs, outputs, nodes = (_field(record, key, list, "graph") for key in ("inputs", "outputs", "nodes"))
    _expect(all(isinstance(name, str) for name in [*inputs, *outputs]), "graph: names should be texts")
    return Graph(tuple(inputs), tuple(outputs), tuple(_node(fields) for fields in nodes))


def _node(fields: Any) -> Node:
    _expect(
        isinstance(fields, list) and [type(field) for field in fields] == [str, str, list, dict, dict]
        and all(isinstance(name, str) for name in [*fields[2], *fields[3].values()]),
        f"graph: not a node: {str(fields)[:80]}",
    )
    op, name, inputs, tensors, attributes = fields
    _expect(op in OPS, f"graph: {name}: unknown operation {op!r}, made by a later sottovoce?")
    kind = OPS[op]
    _expect(len(inputs) == kind.inputs, f"graph: {name}: {op} takes {kind.inputs} inputs, got {len(inputs)}")
    _expect(set(tensors) == set(kind.tensors), f"graph: {name}: {op} takes the tensors {kind.tensors}, got {list(tensors)}")
    _expect(
        set(attributes) == set(kind.attributes),
        f"graph: {name}: {op} takes the attributes {kind.attributes}, got {list(attributes)}",
    )
    for key, value in attributes.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        _expect(isinstance(value, str) or number, f"graph: {name}: {key} should be a text or positive, got {value!r}")
    return Node(op, name, tuple(inputs), tensors, attributes)


def _check_references(graph: Graph, tensors: Mapping[str, Stored]) -> None:
    known = set(graph.inputs)
    for node in graph.nodes:
        for name in node.inputs:
            _expect(name in known, f"graph: {node.name}: its input {name!r} does not come before it")
        for name in node.tensors.values():
            _expect(name in tensors, f"graph: {node.name}: its tensor {name!r} is not in the file")
        _expect(node.name not in known, f"graph: {node.name}: a value of that name is already there")
        known.add(node.name)
    for name in graph.outputs:
        _expect(name in known, f"graph: the output {name!r} is no value of it")


# ---- small things ----------------------------------------------------------------------------------------------------


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise FormatError(message)


def _field(record: dict[str, Any], key: str, kind: type, where: str) -> Any:
    _expect(isinstance(record.get(key), kind), f"{where}: expected {key} to be a {kind.__name__}")
    return record[key]


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


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
    tensors = {name: _aligned(len(_blob(name, stored))) for name, stored in artefact.tensors.items()}
    return Layout(len(encode(artefact)) - sum(tensors.values()), tensors)
