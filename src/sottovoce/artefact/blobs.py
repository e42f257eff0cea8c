"""A tensor as an entry of the header and a blob of bytes, and back; bytes are never believed."""

import math
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact.coding import decode_codes, encode_codes
from sottovoce.artefact.records import check_keys, expect
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored, level_table, top_level
from sottovoce.errors import FormatError, SottovoceError

TABLE = 1 << 16                          # most values of a codebook
MAX_ELEMENTS = 1 << 28                   # of all tensors together
MAX_DIMENSIONS = 8
BITS = 8                                 # most of a level
KEPT = np.arange(2, dtype=np.uint8)      # kinds of the codes of a Sparse: zero, kept
FIELDS = {                               # of an entry, beside the usual
    "dense": {"type"}, "sparse": {"values"}, "codebook": {"values"}, "levels": {"bits", "largest"},
}
OPTIONAL: dict[str, set[str]] = {"dense": {"planes"}, "sparse": {"planes"}, "codebook": set(), "levels": {"axis"}}
LENGTH = struct.Struct("<I")

Floats = NDArray[Any]


def to_blob(name: str, stored: Stored) -> tuple[dict[str, Any], bytes]:
    """What the header says of a tensor, and its bytes.

    Raises SottovoceError naming a tensor that cannot be stored: values that are not finite, places that do
    not fit the values.
    """
    if isinstance(stored, Dense):
        return _smaller({"form": "dense", **_shape(stored), "type": stored.values.dtype.name},
                        _finite(name, stored.values))
    if isinstance(stored, Sparse):
        places, count = np.count_nonzero(stored.keep), len(stored.values)
        if places != count:
            raise SottovoceError(f"{name}: expected {places} values, one a place, got {count}")
        entry, blob = _smaller({"form": "sparse", **_shape(stored), "values": count},
                               _finite(name, stored.values))
        return entry, blob + encode_codes(stored.keep, KEPT)
    if isinstance(stored, Codebook):
        table, highest = _finite(name, stored.table), stored.codes.max(initial=0)
        if not 1 <= len(table) <= TABLE or not _is_zero(table[0]):
            raise SottovoceError(f"{name}: expected 1..{TABLE} values, the first 0, got {len(table)}")
        if highest >= len(table):
            raise SottovoceError(f"{name}: expected codes below {len(table)}, got {highest}")
        entry = {"form": "codebook", **_shape(stored), "values": len(table)}
        return entry, table.astype("<f4").tobytes() + encode_codes(stored.codes, _signs(table))
    if isinstance(stored, Levels):
        scale, axes = _finite(name, stored.scale), _long_axes(stored)
        if not 1 <= stored.bits <= BITS or stored.largest > top_level(stored.bits):
            raise SottovoceError(f"{name}: expected levels of 1..{BITS} bits, got {stored.largest} of {stored.bits}")
        if scale.shape != _scale_shape(stored.shape, axes[0] if axes else None):
            raise SottovoceError(f"{name}: expected a scale for {list(stored.shape)}, got {list(scale.shape)}")
        entry = {"form": "levels", **_shape(stored), "bits": stored.bits, "largest": stored.largest}
        book = stored.as_codebook()
        return (entry | {"axis": axes[0]} if axes else entry,
                scale.astype("<f4").tobytes() + encode_codes(book.codes, _signs(book.table)))
    raise SottovoceError(f"{name}: a {type(stored).__name__} has no place in the file format yet")


def from_blob(name: str, entry: Mapping[str, Any], blob: bytes) -> Stored:
    """The tensor that a checked entry and its bytes describe. Raises FormatError naming the tensor."""
    try:
        return _from_blob(entry, blob)
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from None


def check_entry(name: str, entry: Any) -> None:
    """Raise FormatError unless the entry has the fields of its form, each of its type and range."""
    form = entry.get("form") if isinstance(entry, dict) else None
    if not isinstance(form, str) or form not in FIELDS:
        raise FormatError(f"{name}: unknown form {str(form)[:40]!r}: of a later sottovoce?")
    check_keys(name, entry, {"form", "shape", "bytes", "crc32"} | FIELDS[form] | OPTIONAL[form] & entry.keys())
    shape = entry["shape"]
    whole = isinstance(shape, list) and len(shape) <= MAX_DIMENSIONS and all(map(_is_count, shape))
    # Sizes of 0 count as 1, or numpy would stumble over the others.
    fits = whole and math.prod(max(1, size) for size in shape) <= MAX_ELEMENTS
    expect(fits, f"{name}: expected a shape of {MAX_ELEMENTS} elements at most, got {str(shape)[:80]}")
    for key in entry.keys() & {"bytes", "crc32", "values", "bits", "largest", "axis"}:
        expect(_is_count(entry[key]), f"{name}: {key} should be a whole number, got {str(entry[key])[:40]!r}")
    # What planes inflate to is known by this number alone.
    expect(form != "sparse" or entry["values"] <= math.prod(shape), f"{name}: more values than elements")
    kind = entry.get("type", "float32")
    expect(kind in ("float32", "float16"), f"{name}: unknown type {str(kind)[:40]!r}")
    expect(entry.get("planes", True) is True, f"{name}: planes should be true if it is there")
    if form == "levels":
        bits, largest = entry["bits"], entry["largest"]
        expect(1 <= bits <= BITS and largest <= top_level(bits), f"{name}: no level {largest} is of {bits} bits")
        expect(entry.get("axis", -1) < len(shape), f"{name}: no axis {entry.get('axis')} in the shape {shape}")


def _from_blob(entry: Mapping[str, Any], blob: bytes) -> Stored:
    shape = tuple(entry["shape"])
    planes = "planes" in entry
    if entry["form"] == "dense":
        values, used = _values(blob, math.prod(shape), "<f4" if entry["type"] == "float32" else "<f2", planes)
        if used != len(blob):
            raise FormatError(f"expected {used} bytes for the shape {list(shape)}, got {len(blob)}")
        return Dense(values.reshape(shape))
    if entry["form"] == "levels":
        return _levels(entry, shape, blob)
    values, used = _values(blob, entry["values"], "<f4", planes)
    if entry["form"] == "sparse":
        keep = decode_codes(blob[used:], shape, KEPT).astype(np.bool_)
        if np.count_nonzero(keep) != len(values):
            raise FormatError(f"expected {len(values)} positions, got {np.count_nonzero(keep)}")
        return Sparse(keep, values)
    if not 1 <= len(values) <= TABLE or not _is_zero(values[0]):
        raise FormatError(f"expected a table of 1..{TABLE} values, the first 0, got {len(values)}")
    codes = decode_codes(blob[used:], shape, _signs(values))
    return Codebook(codes.astype(np.uint8) if len(values) <= 256 else codes, values)


def _levels(entry: Mapping[str, Any], shape: tuple[int, ...], blob: bytes) -> Levels:
    scales, table = _scale_shape(shape, entry.get("axis")), level_table(entry["largest"])
    scale, used = _values(blob, math.prod(scales), "<f4", False)
    codes = decode_codes(blob[used:], shape, _signs(table))
    levels = Levels(table[codes].astype(np.int8), scale.reshape(scales), entry["bits"])
    if levels.largest != entry["largest"]:
        raise FormatError(f"expected {entry['largest']} as the largest level, got {levels.largest}")
    return levels


def _scale_shape(shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    """Of the scales of levels of that shape, with an axis of their own or one for all."""
    return tuple(size if place == axis else 1 for place, size in enumerate(shape))


def _long_axes(stored: Levels) -> list[int]:
    """The axes with scales of their own."""
    return [axis for axis, size in enumerate(stored.scale.shape) if size != 1]


# ---- floats ---------------------------------------------------------------------------------------------


def _smaller(entry: dict[str, Any], values: Floats) -> tuple[dict[str, Any], bytes]:
    """The values as they are, or by planes where that takes fewer bytes; the entry says which."""
    plain = values.astype(values.dtype.newbyteorder("<")).tobytes()
    # The sign and exponent of weights take few values and shrink well, most of the mantissa does not.
    planes = b"".join(map(_plane, np.frombuffer(plain, np.uint8).reshape(-1, values.itemsize).T))
    return ({**entry, "planes": True}, planes) if len(planes) < len(plain) else (entry, plain)


def _plane(plane: NDArray[np.uint8]) -> bytes:
    """One byte of every value, deflated if that makes it smaller, and its length before it."""
    plain = plane.tobytes()
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, strategy=zlib.Z_HUFFMAN_ONLY)
    stored = min(plain, deflate.compress(plain) + deflate.flush(), key=len)
    return LENGTH.pack(len(stored)) + stored


def _values(blob: bytes, count: int, kind: str, planes: bool) -> tuple[Floats, int]:
    """So many finite floats from the beginning of a blob, and the bytes that they took."""
    size = np.dtype(kind).itemsize
    if not planes:
        used = count * size
        if len(blob) < used:
            raise FormatError(f"expected {used} bytes for {count} values, got {len(blob)}")
        bits = np.frombuffer(blob, np.uint8, used)
    else:
        parts, used = [], 0
        for _ in range(size):
            plane, length = _read_plane(blob[used:], count)
            parts.append(plane)
            used += length
        bits = np.stack(parts, 1)
    values = np.frombuffer(bits.tobytes(), kind)
    if not np.isfinite(values).all():
        raise FormatError("expected finite values, got NaN or infinity")
    return values.astype(values.dtype.newbyteorder("=")), used


def _read_plane(data: bytes, count: int) -> tuple[NDArray[np.uint8], int]:
    if len(data) < LENGTH.size:
        raise FormatError("a plane of values ends too early")
    (length,) = LENGTH.unpack_from(data)
    plain = data[LENGTH.size : LENGTH.size + length]
    if len(plain) == length != count:
        inflate = zlib.decompressobj(-15)
        try:
            plain = inflate.decompress(plain, count + 1)
        except zlib.error as error:
            raise FormatError(f"a plane of values cannot be inflated ({error})") from None
        if not inflate.eof or inflate.unused_data:
            raise FormatError("a plane of values does not end where it should")
    if len(plain) != count:
        raise FormatError(f"expected a plane of {count} bytes, got {len(plain)}")
    return np.frombuffer(plain, np.uint8), LENGTH.size + length


# ---- small things ---------------------------------------------------------------------------------------


def _signs(table: Floats) -> NDArray[np.uint8]:
    return np.where(table > 0, 2, table < 0).astype(np.uint8)


def _is_zero(value: Any) -> bool:
    return bool(value == 0) and not np.signbit(value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 40


def _finite(name: str, values: Floats) -> Floats:
    if not np.isfinite(values).all():
        raise SottovoceError(f"{name}: expected finite values, got NaN or infinity")
    return values


def _shape(stored: Stored) -> dict[str, list[int]]:
    return {"shape": list(stored.shape)}
