"""Entropy coding of small whole numbers: interleaved range asymmetric numeral systems, whole numbers only.

A sequence of symbols 0 .. K-1 is coded with fixed frequencies to within a fraction of a percent of its
entropy (Duda 2013). Symbol i belongs to lane i mod N; the lanes share one stream of words, and one numpy step
serves them all.

    u32  N, the number of lanes, 65536 symbols at most in each
    u16  K, the size of the alphabet
    u16  frequency of each symbol, their sum is 2^15
    u64  state of each lane after the last symbol was coded, where decoding begins
    u32  words, in the order in which the decoder asks for them: step by step, within a step lane by lane

A lane's state x lies in [2^31, 2^63). To decode: slot = x mod 2^15 lies in the range of one symbol s, which
begins at the sum of the frequencies before s; then x <- f_s * (x >> 15) + slot - begin_s, and if x < 2^31,
x <- x * 2^32 + word. After the last symbol every x is 2^31 and every word is used.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import FormatError

PRECISION = 15                       # bits of a frequency
TOTAL = 1 << PRECISION
LOWEST = 1 << 31                     # of a lane's state
SYMBOLS_PER_LANE = 16384             # a lane costs eight bytes, a step of the decoder about 15 us
MAX_LANES = 4096
MAX_STEPS = 1 << 16                  # symbols of a lane: a few bytes can never stand for millions of symbols
ALPHABET = 1 << 12                   # most symbols there can be
_HEAD = struct.Struct("<IH")

Symbols = NDArray[Any]               # of an unsigned type, one dimension


def encode_symbols(symbols: Symbols, alphabet: int) -> bytes:
    """The symbols, each below `alphabet` (1..4096), as bytes; the same on every machine."""
    count = len(symbols)
    lanes = min(max(1, count // SYMBOLS_PER_LANE), MAX_LANES)
    frequencies = quantised(np.bincount(symbols, minlength=alphabet))
    begins = np.cumsum(frequencies) - frequencies
    state = np.full(lanes, LOWEST, np.uint64)
    words: list[NDArray[np.uint64]] = []
    for first in range((count - 1) // lanes * lanes, -1, -lanes) if count else ():
        step = symbols[first : first + lanes]
        frequency, x = frequencies[step], state[: len(step)]
        full = x >> np.uint64(63 - PRECISION) >= frequency          # x would leave its range: put out a word
        words.append(x[full] & np.uint64(0xFFFFFFFF))
        x = np.where(full, x >> np.uint64(32), x)
        state[: len(step)] = ((x // frequency) << np.uint64(PRECISION)) + x % frequency + begins[step]
    stream = np.concatenate(words[::-1]) if words else np.zeros(0, np.uint64)
    return b"".join((
        _HEAD.pack(lanes, alphabet), frequencies.astype("<u2").tobytes(), state.astype("<u8").tobytes(),
        stream.astype("<u4").tobytes(),
    ))


def decode_symbols(data: bytes, count: int, alphabet: int) -> NDArray[np.uint16]:
    """The `count` symbols in the bytes. Raises FormatError for bytes that no encoder made."""
    lanes, frequencies, state, words = _parts(data, count, alphabet)
    begins = np.cumsum(frequencies) - frequencies
    symbol_at = np.repeat(np.arange(alphabet, dtype=np.uint16), frequencies.astype(np.int64))
    symbols = np.empty(count, np.uint16)
    mask, bits, shift, lowest = np.uint64(TOTAL - 1), np.uint64(PRECISION), np.uint64(32), np.uint64(LOWEST)
    used = 0
    for first in range(0, count, lanes):
        x = state[: min(lanes, count - first)]
        slot = x & mask
        symbol = symbol_at[slot]
        symbols[first : first + lanes] = symbol
        x = frequencies[symbol] * (x >> bits) + slot - begins[symbol]
        low = np.flatnonzero(x < lowest)
        if len(low):
            if used + len(low) > len(words):
                raise FormatError("coded symbols end too early")
            x[low] = (x[low] << shift) | words[used : used + len(low)]
            used += len(low)
        state[: len(x)] = x
    if used != len(words) or (state != lowest).any():
        raise FormatError("coded symbols do not end where they began")
    return symbols


def _parts(
    data: bytes, count: int, alphabet: int
) -> tuple[int, NDArray[np.uint64], NDArray[np.uint64], NDArray[np.uint64]]:
    """Number of lanes, frequencies, states and words; nothing is allocated beyond the length of the bytes."""
    if len(data) < _HEAD.size:
        raise FormatError("coded symbols end within their head")
    lanes, size = _HEAD.unpack_from(data)
    if size != alphabet:
        raise FormatError(f"coded symbols: expected an alphabet of {alphabet}, got {size}")
    if not 1 <= lanes <= max(1, min(count, MAX_LANES)) or count > lanes * MAX_STEPS:
        raise FormatError(f"coded symbols: {lanes} lanes are too few or too many for {count} symbols")
    after = _HEAD.size + 2 * alphabet + 8 * lanes
    if len(data) < after or (len(data) - after) % 4:
        raise FormatError(f"coded symbols: {len(data)} bytes do not hold {lanes} lanes and whole words")
    frequencies = np.frombuffer(data, "<u2", alphabet, _HEAD.size).astype(np.uint64)
    if frequencies.sum() != TOTAL:
        raise FormatError(f"coded symbols: frequencies add up to {frequencies.sum()}, not {TOTAL}")
    state = np.frombuffer(data, "<u8", lanes, _HEAD.size + 2 * alphabet).astype(np.uint64)
    if (state < LOWEST).any() or (state >> np.uint64(63)).any():
        raise FormatError("coded symbols: a state out of its range")
    return lanes, frequencies, state, np.frombuffer(data, "<u4", -1, after).astype(np.uint64)


def quantised(counts: NDArray[Any]) -> NDArray[np.uint64]:
    """Frequencies like the counts, 2^15 in all, at least 1 for every symbol that occurs."""
    exact = counts.astype(np.int64) * TOTAL          # times the sum of the counts
    total = max(1, int(counts.sum()))
    frequencies: NDArray[np.int64] = np.maximum(exact // total, counts > 0)
    spare = TOTAL - int(frequencies.sum())
    if not counts.any():
        frequencies[0] = TOTAL
    elif spare > 0:                                  # lost in rounding: back to those who lost most
        frequencies[np.argsort(-(exact % total), kind="stable")[:spare]] += 1
    while spare < 0:                                 # rare symbols were lifted to 1: the frequent ones pay
        largest = int(np.argmax(frequencies))
        paid = min(-spare, max(1, int(frequencies[largest]) // 64))
        frequencies[largest] -= paid
        spare += paid
    return frequencies.astype(np.uint64)
