"""An artefact as bytes and back; docs/format.md has it byte by byte. Data only, nothing in it is run."""

import json
import math
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sottovoce.artefact import Artefact
from sottovoce.artefact.blobs import MAX_ELEMENTS, check_entry, from_blob, to_blob
from sottovoce.artefact.graph import Graph
from sottovoce.artefact.records import check_keys, check_meta, expect, graph_of, graph_record
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.files import write_bytes

MAGIC = b"SOTT"
VERSION = 2                              # the latest that is read
PREAMBLE = struct.Struct("<4sHHIII")     # magic, version, 0, bytes of header, of its JSON, checksum
ALIGNMENT = 8
MAX_HEADER = 1 << 22                     # bytes of JSON
SINCE = {"levels": 2}                    # the version that brought a form; the others were there from the first


@dataclass(frozen=True)
class Layout:
    """Where the bytes of a file go; they add up to its length."""

    header: int                          # preamble, header and padding
    tensors: dict[str, int]              # bytes of each tensor, with its padding


def encode(artefact: Artefact) -> bytes:
    """The file of an artefact; equal artefacts give equal bytes.

    Raises SottovoceError for what no reader would take, naming the tensor or field: values that are not
    finite, places that do not fit the values, a graph that asks for what is not there.
    """
    header, blobs = _parts(artefact)
    return b"".join([header, *blobs.values()])


def layout(artefact: Artefact) -> Layout:
    """The bytes that an artefact's header and tensors take in its file."""
    header, blobs = _parts(artefact)
    return Layout(len(header), {name: len(blob) for name, blob in blobs.items()})


def decode(data: bytes, name: str = "model") -> Artefact:
    """The artefact in the bytes of a file; `name` stands for the file in messages.

    Raises FormatError for anything that `encode` would not write: damaged, cut short, of a later version, no
    model. What is allocated is in proportion to the file.
    """
    with _named(name):
        return _decode(data)


def read_header(data: bytes, name: str = "model") -> tuple[Graph, dict[str, Any]]:
    """Graph and meta in the bytes of a file, without the time that reading its tensors takes. Raises as `decode`."""
    with _named(name):
        graph, _, meta = _parsed(_header(data)[0])
        return graph, meta


def save(artefact: Artefact, path: Path) -> None:
    """Write the file in one move. Raises SottovoceError, also when the disk does not take it."""
    write_bytes(path, encode(artefact))


def load(path: Path) -> Artefact:
    """The artefact in the file at `path`. Raises FormatError, also when there is no such file."""
    return decode(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """The bytes of the file at `path`. Raises FormatError when there is no such file."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FormatError(f"{path}: expected a .sotto file, got: {error.strerror}") from None


# ---- writing -----------------------------------------------------------------------------------------------


def _parts(artefact: Artefact) -> tuple[bytes, dict[str, bytes]]:
    """Everything before the tensors, and the blob of each tensor; all padded."""
    entries, blobs = {}, {}
    for name, stored in artefact.tensors.items():
        entry, blob = to_blob(name, stored)
        entries[name] = {**entry, "bytes": len(blob), "crc32": zlib.crc32(blob)}
        blobs[name] = _padded(blob)
    header = {"graph": graph_record(artefact.graph), "tensors": entries, "meta": artefact.meta}
    try:
        text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise SottovoceError(f"graph and meta: expected JSON values only ({error})") from None
    _parsed(text)
    packed = zlib.compress(text, 9)
    version = max((SINCE.get(entry["form"], 1) for entry in entries.values()), default=1)
    preamble = PREAMBLE.pack(MAGIC, version, 0, len(packed), len(text), zlib.crc32(packed))
    return _padded(preamble + packed), blobs


# ---- reading -----------------------------------------------------------------------------------------------


def _decode(data: bytes) -> Artefact:
    text, start = _header(data)
    graph, entries, meta = _parsed(text)
    end = start + sum(_aligned(entry["bytes"]) for entry in entries.values())
    expect(len(data) == end, f"cut short or added to: expected {end} bytes, got {len(data)}")
    tensors = {}
    for name, entry in entries.items():
        blob, start = _checked(data, start, entry["bytes"], entry["crc32"], name)
        tensors[name] = from_blob(name, entry, blob)
    return Artefact(graph, tensors, meta)


def _header(data: bytes) -> tuple[bytes, int]:
    """The JSON of the header, and where the blobs begin."""
    expect(data[:4] == MAGIC, f"expected a .sotto file, which begins with {MAGIC!r}, got {data[:4]!r}")
    expect(len(data) >= PREAMBLE.size, f"cut short: expected {PREAMBLE.size} bytes or more, got {len(data)}")
    _, version, zero, stored, plain, checksum = PREAMBLE.unpack_from(data)
    expect(1 <= version <= VERSION, f"expected format version 1 to {VERSION}, got {version}: of a later sottovoce?")
    expect(zero == 0, f"header: expected 0 after the version, got {zero}")
    end = _aligned(PREAMBLE.size + stored)
    expect(len(data) >= end, f"cut short: expected {end} bytes or more, got {len(data)}")
    packed, start = _checked(data, PREAMBLE.size, stored, checksum, "header")
    expect(plain <= MAX_HEADER, f"header: {plain} bytes of JSON, {MAX_HEADER} at most are read")
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(packed, plain + 1)
    except zlib.error as error:
        raise FormatError(f"header: does not unpack ({error})") from None
    whole = len(text) == plain and inflate.eof and not inflate.unused_data
    expect(whole, f"header: does not unpack to {plain} bytes of JSON")
    return text, start


def _parsed(text: bytes) -> tuple[Graph, dict[str, Any], dict[str, Any]]:
    """Graph, entries of the tensors and meta of a header. Raises FormatError unless all fits together."""
    expect(len(text) <= MAX_HEADER, f"header: {len(text)} bytes of JSON, {MAX_HEADER} at most are read")
    try:
        header = json.loads(
            text.decode(), parse_constant=_number, parse_float=_number, object_pairs_hook=_object
        )
    except ValueError as error:
        raise FormatError(f"header: not JSON ({error})") from None
    check_keys("header", header, {"graph", "tensors", "meta"})
    entries, meta = header["tensors"], header["meta"]
    expect(isinstance(entries, dict), "header: tensors should be an object")
    for name, entry in entries.items():
        check_entry(name, entry)
    elements = sum(math.prod(entry["shape"]) for entry in entries.values())
    expect(elements <= MAX_ELEMENTS, f"{elements} elements in all, {MAX_ELEMENTS} at most are read")
    graph = graph_of(header["graph"], {name: tuple(entry["shape"]) for name, entry in entries.items()})
    check_meta(meta)
    return graph, entries, meta


def _checked(data: bytes, start: int, length: int, checksum: int, name: str) -> tuple[bytes, int]:
    """A part of the file, and where the next one begins."""
    end = start + length
    part = data[start:end]
    found = zlib.crc32(part)
    expect(found == checksum, f"{name}: damaged, expected the checksum {checksum:08x}, got {found:08x}")
    expect(not any(data[end : _aligned(end)]), f"{name}: damaged, its padding is not zero")
    return part, _aligned(end)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    expect(len(record) == len(pairs), "header: a key comes twice in one object")
    return record


def _number(text: str) -> float:
    expect(math.isfinite(float(text)), f"header: {text[:40]} is not a finite number")
    return float(text)


# ---- small things ------------------------------------------------------------------------------------------


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Puts what a file is called before what is wrong with it."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{name}: {_printable(str(error))}") from None
    except (RecursionError, MemoryError):
        raise FormatError(f"{name}: nested too deeply or too large for this machine") from None


def _printable(message: str) -> str:
    """A message with names out of a damaged file, as one line that no terminal trips over."""
    return "".join(char if char.isprintable() else "?" for char in message[:300])


def _aligned(length: int) -> int:
    return -(-length // ALIGNMENT) * ALIGNMENT


def _padded(data: bytes) -> bytes:
    return data + bytes(_aligned(len(data)) - len(data))
