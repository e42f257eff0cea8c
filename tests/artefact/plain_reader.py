"""A second reader of `.sotto` files, written from docs/format.md alone: slow, plain, and without numpy.

It believes the file and checks only what shows that the bytes were understood.
"""

import json
import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any

Floats = list[bytes]          # little-endian bit patterns, so that nothing is lost on the way


class Bytes:
    """Bytes that are read from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, length: int) -> bytes:
        self.place += length
        assert self.place <= len(self.data)
        return self.data[self.place - length : self.place]

    def numbers(self, kind: str, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}{kind}", self.take(count * struct.calcsize(f"<{kind}")))

    def align(self) -> None:
        assert not any(self.take(-self.place % 8))

    def at_end(self) -> bool:
        return self.place == len(self.data)


def read(data: bytes) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Header and the elements of every tensor, in C order."""
    file = Bytes(data)
    assert file.take(4) == b"SOTT" and file.numbers("H", 2) in ((1, 0), (2, 0))
    packed, plain, checksum = file.numbers("I", 3)
    stored = file.take(packed)
    assert zlib.crc32(stored) == checksum
    text = zlib.decompress(stored)
    assert len(text) == plain
    file.align()
    header = json.loads(text.decode("utf-8"))
    tensors = {}
    for name, entry in header["tensors"].items():
        part = file.take(entry["bytes"])
        assert zlib.crc32(part) == entry["crc32"]
        file.align()
        tensors[name] = tensor(Bytes(part), entry)
    assert file.at_end()
    return header, tensors


def tensor(file: Bytes, entry: dict[str, Any]) -> Floats:
    shape, planes = entry["shape"], entry.get("planes", False)
    if entry["form"] == "dense":
        elements = floats(file, math.prod(shape), {"float32": 4, "float16": 2}[entry["type"]], planes)
    elif entry["form"] == "sparse":
        values = iter(floats(file, entry["values"], 4, planes))
        elements = [next(values) if code else bytes(4) for code in codes(file, shape, [0, 1])]
        assert not list(values)
    elif entry["form"] == "levels":
        elements = levels(file, entry)
    else:
        table = floats(file, entry["values"], 4, False)
        numbers = [struct.unpack("<f", value)[0] for value in table]
        signs = [1 if number < 0 else 2 if number > 0 else 0 for number in numbers]
        elements = [table[code] for code in codes(file, shape, signs)]
    assert file.at_end()
    return elements


def levels(file: Bytes, entry: dict[str, Any]) -> Floats:
    shape, top, axis = entry["shape"], entry["largest"], entry.get("axis")
    scales = file.numbers("f", 1 if axis is None else shape[axis])
    inner = 1 if axis is None else math.prod(shape[axis + 1 :])
    table = [0, *range(-top, 0), *range(1, top + 1)]
    found = codes(file, shape, [1 if level < 0 else 2 if level > 0 else 0 for level in table])
    return [
        struct.pack("<f", table[code] * scales[place // inner % len(scales)] + 0.0) for place, code in enumerate(found)
    ]


def floats(file: Bytes, count: int, size: int, by_planes: bool) -> Floats:
    if not by_planes:
        return [file.take(size) for _ in range(count)]
    planes = []
    for _ in range(size):
        (length,) = file.numbers("I", 1)
        plane = file.take(length)
        planes.append(plane if length == count else zlib.decompress(plane, wbits=-15))
        assert len(planes[-1]) == count
    return [bytes(of_one) for of_one in zip(*planes, strict=True)]


def codes(file: Bytes, shape: Sequence[int], kind_of_code: list[int]) -> list[int]:
    count, possible = math.prod(shape), len(kind_of_code)
    if count == 0:
        return []
    (flags,) = file.numbers("B", 1)
    transposed, neighbours, classes = flags & 1, flags & 2, flags & 4
    low = max(0, max(possible - 2, 0).bit_length() - 8)
    alphabet = 1 if possible == 1 else 2 + ((possible - 2) >> low)
    first_code = [0] + [1 + ((symbol - 1) << low) for symbol in range(1, alphabet)]
    kinds = [kind_of_code[code] if neighbours else 0 for code in first_code]
    rows = shape[0] if shape else 1
    columns = count // rows
    if transposed:
        rows, columns = columns, rows
    contexts = [0] * count
    if classes:
        of = stream(file, [0] * (rows + columns), [0] * 16)
        contexts = [of[row] + of[rows + column] for row in range(rows) for column in range(columns)]
    symbols = stream(file, contexts, kinds)
    if transposed:
        symbols = [symbols[row * columns + column] for column in range(columns) for row in range(rows)]
    nonzero = sum(symbol > 0 for symbol in symbols)
    bits = int.from_bytes(file.take(-(-nonzero * low // 8)), "little")
    result = []
    for symbol in symbols:
        result.append(0)
        if symbol:
            result[-1] = 1 + ((symbol - 1) << low | bits & (1 << low) - 1)
            bits >>= low
    return result


def stream(file: Bytes, contexts: list[int], kinds: list[int]) -> list[int]:
    count, alphabet = len(contexts), len(kinds)
    of_contexts, of_kinds = max(contexts) + 1, max(kinds) + 1
    (lanes,) = file.numbers("H", 1)
    (length,) = file.numbers("I", 1)
    tables = [frequencies(file.numbers("B", alphabet)) for _ in range(of_contexts * of_kinds)]
    states = list(file.numbers("I", lanes))
    words = iter(file.numbers("H", length))
    steps = -(-count // lanes)
    longer = count - (steps - 1) * lanes
    starts = [lane * steps - max(0, lane - longer) for lane in range(lanes + 1)]
    symbols = [0] * count
    for step in range(steps):
        for lane in range(lanes):
            place = starts[lane] + step
            if place == starts[lane + 1]:
                continue
            before = kinds[symbols[place - 1]] if step else 0
            table = tables[contexts[place] * of_kinds + before]
            symbols[place], states[lane] = decoded(states[lane], table)
            if states[lane] < 65536:
                states[lane] = states[lane] << 16 | next(words)
    assert not list(words) and set(states) == {65536}
    return symbols


def decoded(state: int, table: list[int]) -> tuple[int, int]:
    """A symbol and the state after it, words not counted."""
    slot, begin, symbol = state & 32767, 0, 0
    while slot >= begin + table[symbol]:
        begin += table[symbol]
        symbol += 1
    return symbol, table[symbol] * (state >> 15) + slot - begin


def frequencies(levels: Sequence[int]) -> list[int]:
    weights = [(16 + level % 16) << level // 16 if level else 0 for level in levels]
    if not any(weights):
        weights[0] = 1
    table = [max(1, weight * 32768 // sum(weights)) if weight else 0 for weight in weights]
    table[weights.index(max(weights))] += 32768 - sum(table)
    return table
