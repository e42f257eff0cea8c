"""Entropy coding of small whole numbers: range asymmetric numeral systems (Duda 2013), whole numbers only.

Each symbol is coded with the frequencies of its context, to within 0.1 % of their entropy. The sequence is
cut into a run for each lane: of n symbols in l lanes, the first ones have ceil(n / l), the others one less.
One numpy step serves all lanes, which share one stream of words.

    u16  lanes                              u32  number of words
    u8   level of each symbol, context by context; `frequencies` says what it stands for
    u32  state of each lane, where decoding begins
    u16  words, as the decoder asks for them: step by step, within a step lane by lane

A lane's state x lies in [2^16, 2^32). To decode a symbol: slot = x mod 2^15 lies in the range of one symbol
s, which begins at the sum of the frequencies before it; x becomes f_s * (x >> 15) + slot - begin_s, and if
that is below 2^16, x * 2^16 + word. After its last symbol every lane is back at 2^16.

The context of a symbol is the one it is given and, within that, the kind of the symbol before it in its lane
(at the beginning of a lane, 0). `kinds` has the kind of each symbol; if all are 0, neighbours do not count.
"""

import math
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import FormatError

ALPHABET = 257                       # most symbols there can be
LONGEST_LANE = 1 << 16               # symbols: a few bytes can never stand for millions of symbols
BYTES_OF_LANE = 4                    # of its state
PRECISION = 15                       # bits of a frequency
TOTAL = 1 << PRECISION
LOWEST = 1 << 16                     # of a lane's state
HEAD = struct.Struct("<HI")

_BYTES_PER_LANE = 1536               # a lane costs three bytes: 0.2 % of these ...
_USUAL_LANE = 1 << 15                # ... or more, so that nearly empty tensors are read fast too
_COST = np.array([0] + [round(4096 * math.log2(TOTAL / f)) for f in range(1, TOTAL + 1)])    # 1/4096 bit
_WEIGHTS = np.array([0] + [16 + level % 16 << level // 16 for level in range(1, 256)])       # of the levels

Integers = NDArray[Any]              # of any whole type


def encode(symbols: Integers, contexts: Integers, kinds: Integers) -> bytes:
    """The symbols as bytes, the same on every machine; nothing at all for no symbols.

    symbols [count], each below len(kinds), 1..257; contexts [count]; kinds [alphabet], each from 0 up.
    """
    if not len(symbols):
        return b""
    lanes = max(len(symbols) // _USUAL_LANE, size(symbols, contexts, kinds) // _BYTES_PER_LANE, 1)
    lanes = min(lanes, len(symbols), 0xFFFF)
    dealt, longer = _dealt(symbols.astype(np.int64), lanes)
    before = np.zeros_like(dealt)
    before[1:] = kinds[dealt[:-1]]
    given = _dealt(contexts.astype(np.int64), lanes)[0]
    places = (given * (int(kinds.max()) + 1) + before) * len(kinds) + dealt
    counts = np.bincount(_collected(places, longer), minlength=_places(contexts, kinds))
    levels = _levels(counts, len(kinds))
    table = frequencies(levels)
    states, words = _coded(places, longer, table.ravel(), (np.cumsum(table, 1) - table).ravel())
    return b"".join((
        HEAD.pack(lanes, len(words)), levels.astype(np.uint8).tobytes(), states.astype("<u4").tobytes(),
        words.astype("<u2").tobytes(),
    ))


def size(symbols: Integers, contexts: Integers, kinds: Integers) -> int:
    """About how many bytes `encode` makes of this."""
    before = np.concatenate([[0], kinds[symbols[:-1]]])[: len(symbols)]
    places = (contexts.astype(np.int64) * (int(kinds.max()) + 1) + before) * len(kinds) + symbols
    counts = np.bincount(places, minlength=_places(contexts, kinds))
    table = frequencies(_levels(counts, len(kinds)))
    return HEAD.size + len(counts) + int((counts * _COST[table.ravel()]).sum()) // (8 * 4096)


def decode(data: bytes, contexts: Integers, kinds: Integers) -> tuple[NDArray[np.uint16], int]:
    """The symbols, one for each context, and how many bytes they took.

    Raises FormatError for bytes that no encoder made.
    """
    if not len(contexts):
        return np.zeros(0, np.uint16), 0
    table, states, words, end = _parts(data, len(contexts), _places(contexts, kinds), len(kinds))
    frequency, begin = table.ravel(), (np.cumsum(table, 1) - table).ravel()
    place_at = np.repeat(np.arange(table.size, dtype=np.uint16), frequency)     # [contexts * TOTAL]
    onward = np.tile(kinds.astype(np.int64) * TOTAL, len(table))                # [places]
    stride = (int(kinds.max()) + 1) * TOTAL                                     # places of a context
    dealt, longer = _dealt(contexts, len(states))
    places = np.zeros(dealt.shape, np.uint16)
    shift, used = np.zeros(len(states), np.int64), 0
    for step, context in enumerate(dealt):
        active = len(states) if step < len(dealt) - 1 else longer
        x = states[:active]
        slot = x & (TOTAL - 1)
        place = place_at[context[:active].astype(np.int64) * stride + shift[:active] + slot]
        x = frequency[place] * (x >> PRECISION) + slot - begin[place]
        low = np.flatnonzero(x < LOWEST)
        if len(low):
            if used + len(low) > len(words):
                raise FormatError("coded symbols end too early")
            x[low] = x[low] << 16 | words[used : used + len(low)]
            used += len(low)
        states[:active], places[step, :active], shift = x, place, onward[place]
    if used != len(words) or (states != LOWEST).any():
        raise FormatError("coded symbols do not end where they should")
    return _collected(places, longer) % np.uint16(len(kinds)), end


def frequencies(levels: Integers) -> NDArray[np.int64]:
    """What levels [contexts, alphabet] stand for: frequencies of the same shape, 2^15 in all in each row.

    Level 0 is a symbol that never occurs; any other one weighs (16 + level mod 16) * 2^(level div 16). The
    frequency is weight * 2^15 div (sum of the weights), but at least 1; what is then missing from 2^15, or
    too much, goes to the first of the greatest weights. A row of zeros stands for symbol 0 alone.
    """
    weights = _WEIGHTS[levels]
    weights[:, 0] += weights.sum(1) == 0
    table = np.maximum(weights * TOTAL // weights.sum(1, keepdims=True), weights > 0)
    table[np.arange(len(table)), weights.argmax(1)] += TOTAL - table.sum(1)
    return np.asarray(table, np.int64)


def _levels(counts: NDArray[np.int64], alphabet: int) -> NDArray[np.int64]:
    """The levels [contexts, alphabet] nearest to the counts, the greatest of each context at the highest."""
    counts = counts.reshape(-1, alphabet)
    weights = counts * _WEIGHTS[-1] // np.maximum(counts.max(1, keepdims=True), 1)
    middles = (_WEIGHTS[1:-1] + _WEIGHTS[2:] + 1) // 2
    return np.where(counts > 0, 1 + np.searchsorted(middles, weights, side="right"), 0)


def _places(contexts: Integers, kinds: Integers) -> int:
    """How many (context, symbol) there are."""
    return (int(contexts.max(initial=0)) + 1) * (int(kinds.max()) + 1) * len(kinds)


def _coded(
    places: NDArray[np.int64], longer: int, frequency: NDArray[np.int64], begin: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """States and words of the places [steps, lanes]; the last step has only the first `longer` lanes."""
    x = np.full(places.shape[1], LOWEST, np.int64)
    words = [np.zeros(0, np.int64)]
    for step in range(len(places) - 1, -1, -1):
        place = places[step] if step < len(places) - 1 else places[step, :longer]
        now, f = x[: len(place)], frequency[place]
        full = now >= f << 32 - PRECISION                    # it would leave its range: put a word out first
        words.append(now[full] & 0xFFFF)
        now = np.where(full, now >> 16, now)
        x[: len(place)] = (now // f << PRECISION) + now % f + begin[place]
    return x, np.concatenate(words[::-1])


def _parts(data: bytes, count: int, places: int, alphabet: int) -> tuple[
    NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], int
]:
    """Frequencies [contexts, alphabet], states, words, and where they end."""
    if len(data) < HEAD.size:
        raise FormatError("coded symbols end within their head")
    lanes, length = HEAD.unpack_from(data)
    fewest = -(-count // LONGEST_LANE)
    if not fewest <= lanes <= count:
        raise FormatError(f"coded symbols: expected {fewest}..{count} lanes, got {lanes}")
    end = HEAD.size + places + BYTES_OF_LANE * lanes + 2 * length
    if len(data) < end:
        raise FormatError(f"coded symbols: expected {end} bytes, got {len(data)}")
    levels = np.frombuffer(data, np.uint8, places, HEAD.size).reshape(-1, alphabet)
    states = np.frombuffer(data, "<u4", lanes, HEAD.size + places).astype(np.int64)
    if (states < LOWEST).any():
        raise FormatError("coded symbols: a state out of its range")
    words = np.frombuffer(data, "<u2", length, end - 2 * length).astype(np.int64)
    return frequencies(levels), states, words, end


def _dealt(values: Integers, lanes: int) -> tuple[Integers, int]:
    """Values [steps, lanes], a run of them down each lane, and how many lanes have one in the last step."""
    steps = -(-len(values) // lanes)
    longer = len(values) - (steps - 1) * lanes
    runs = np.zeros((lanes, steps), values.dtype)
    runs[:longer] = values[: longer * steps].reshape(longer, steps)
    runs[longer:, :-1] = values[longer * steps :].reshape(lanes - longer, steps - 1)
    return np.ascontiguousarray(runs.T), longer


def _collected(dealt: Integers, longer: int) -> Integers:
    """The values that were dealt, in their order."""
    return np.concatenate([dealt[:, :longer].T.ravel(), dealt[:-1, longer:].T.ravel()])
