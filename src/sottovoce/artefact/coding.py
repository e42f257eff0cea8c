"""The codes of a tensor in few bytes: which code is likely where, for the coder in `rans`.

A tensor of shape [n, ...] is seen as a matrix of n rows. In a pruned network some rows and columns keep many
more weights than others, and weights side by side (of neighbouring frequencies, for instance) are alike. So
up to two things tell how likely a code is:
- activity: every row and every column has a class, the logarithm of its odds of a weight, and the activity of
  an element is the sum of the two;
- neighbour: whether the element before it is zero, negative or positive.

    u8   bit 0: the matrix is transposed first; bit 1: neighbours count; bit 2: there are classes
    ...  classes of the rows, then of the columns, as one sequence of symbols 0..15, if there are any
    ...  the symbols, row after row
    ...  low bits of the codes, if there are more than 257 codes

Code 0 (the exact zero) is symbol 0 and code c > 0 is symbol 1 + ((c - 1) >> low), with the least `low` that
makes do with 257 symbols. The `low` low bits of c - 1 lie behind the symbols as they are, low bit first, for
one nonzero element after the other, in the order of the tensor.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact import rans
from sottovoce.errors import FormatError

CLASSES = 16
_TRANSPOSED, _NEIGHBOURS, _ACTIVITY = 1, 2, 4
_OCTAVES = (1, 2)                    # per class; the second is for small tensors, where each context costs

Codes = NDArray[Any]                 # of any whole type


def encode_codes(codes: Codes, kinds: NDArray[np.uint8]) -> bytes:
    """Codes of any shape as bytes; kinds [codes], 0..2: alike for codes of alike weights, 0 for code 0."""
    if not codes.size:
        return b""
    low = _low_bits(len(kinds))
    symbols = np.where(codes > 0, 1 + ((codes.astype(np.int64) - 1) >> low), 0)
    symbol_kinds = _symbol_kinds(kinds, low)
    matrix = symbols.reshape(len(codes) if codes.ndim else 1, -1)
    plans = [
        (flags, octaves)
        for octaves in (0, *_OCTAVES) for flags in (0, _NEIGHBOURS, _NEIGHBOURS | _TRANSPOSED)
    ]
    flags, octaves = min(plans, key=lambda plan: _size(matrix, symbol_kinds, *plan))
    seen, classes, contexts = _seen(matrix, flags, octaves)
    parts = [bytes([flags | (_ACTIVITY if octaves else 0)])]
    if octaves:
        parts.append(_encoded_classes(classes))
    parts.append(rans.encode(seen.ravel(), contexts.ravel(), _counted(symbol_kinds, flags)))
    return b"".join(parts) + _low(codes, low)


def decode_codes(data: bytes, shape: tuple[int, ...], kinds: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """The codes in the bytes, each below len(kinds). Raises FormatError for bytes that no encoder made."""
    count = math.prod(shape)
    if not count:
        return _nothing_after(data, 0, np.zeros(shape, np.uint16))
    if count > len(data) // rans.BYTES_OF_LANE * rans.LONGEST_LANE:
        raise FormatError(f"coded matrix: {len(data)} bytes cannot hold {count} elements")
    if data[0] > _TRANSPOSED | _NEIGHBOURS | _ACTIVITY:
        raise FormatError(f"coded matrix: unknown flags {data[:1].hex()}")
    flags, used, low = data[0], 1, _low_bits(len(kinds))
    rows, columns = (shape[0] if shape else 1), count // (shape[0] if shape else 1)
    if flags & _TRANSPOSED:
        rows, columns = columns, rows
    contexts = np.zeros((rows, columns), np.uint8)
    if flags & _ACTIVITY:
        alike = np.zeros(rows + columns, np.uint8)
        classes, length = rans.decode(data[used:], alike, np.zeros(CLASSES, np.uint8))
        used += length
        contexts = (classes[:rows, None] + classes[rows:]).astype(np.uint8)
    symbols, length = rans.decode(data[used:], contexts.ravel(), _counted(_symbol_kinds(kinds, low), flags))
    used += length
    matrix = symbols.reshape(rows, columns)
    codes = (matrix.T if flags & _TRANSPOSED else matrix).reshape(shape)
    if low:
        coded = int(np.count_nonzero(codes))
        length = -(-coded * low // 8)
        bits = np.frombuffer(data[used : used + length], np.uint8)
        if len(bits) != length:
            raise FormatError(f"coded matrix: expected {length} bytes of low bits, got {len(bits)}")
        used += length
        table = np.unpackbits(bits, count=coded * low, bitorder="little").reshape(coded, low)
        high = codes[codes > 0].astype(np.int64) - 1 << low
        full = 1 + (high | (table << np.arange(low)).sum(1))
        if full.max(initial=0) >= len(kinds):
            raise FormatError(f"coded matrix: code {full.max()} of {len(kinds)}")
        codes[codes > 0] = full
    return _nothing_after(data, used, codes)


def _low_bits(codes: int) -> int:
    return max(0, (codes - 2).bit_length() - 8)


def _symbol_kinds(kinds: NDArray[np.uint8], low: int) -> NDArray[np.uint8]:
    """Kind of each symbol: that of the first code it stands for."""
    return np.concatenate([kinds[:1], kinds[1 :: 1 << low]])


def _low(codes: Codes, low: int) -> bytes:
    # The bits are rows of a [nonzero codes, low] table of 0 and 1, stored row by row, low bit first.
    table = (codes[codes > 0].astype(np.int64)[:, None] - 1) >> np.arange(low) & 1
    return np.packbits(table.astype(np.uint8), bitorder="little").tobytes()


def _seen(matrix: Codes, flags: int, octaves: int) -> tuple[Codes, Codes, Codes]:
    """The matrix as it is coded, the classes of its rows and columns, and its elements' contexts."""
    seen = matrix.T if flags & _TRANSPOSED else matrix
    if not octaves:
        return seen, np.zeros(0, np.int64), np.zeros(seen.shape, np.uint8)
    rows, columns = _classes(seen, 1, octaves), _classes(seen, 0, octaves)
    return seen, np.concatenate([rows, columns]), rows[:, None] + columns


def _classes(matrix: Codes, axis: int, octaves: int) -> NDArray[np.int64]:
    """Class of each line: its odds of a nonzero in steps of so many octaves, counted from the lowest."""
    kept = np.count_nonzero(matrix, axis)
    # Division and frexp are exact in the same way on every machine, a logarithm need not be.
    odds = np.frexp((2 * kept + 1) / (2 * (matrix.shape[axis] - kept) + 1))[1] // octaves
    return np.asarray(np.minimum(odds - odds.min(), CLASSES - 1), np.int64)


def _encoded_classes(classes: Codes) -> bytes:
    return rans.encode(classes, np.zeros(len(classes), np.uint8), np.zeros(CLASSES, np.uint8))


def _size(matrix: Codes, kinds: NDArray[np.uint8], flags: int, octaves: int) -> int:
    seen, classes, contexts = _seen(matrix, flags, octaves)
    return len(_encoded_classes(classes)) + rans.size(seen.ravel(), contexts.ravel(), _counted(kinds, flags))


def _counted(kinds: NDArray[np.uint8], flags: int) -> NDArray[np.uint8]:
    return kinds if flags & _NEIGHBOURS else np.zeros_like(kinds)


def _nothing_after(data: bytes, used: int, codes: NDArray[np.uint16]) -> NDArray[np.uint16]:
    if used != len(data):
        raise FormatError(f"coded matrix: expected {used} bytes, got {len(data)}")
    return codes
