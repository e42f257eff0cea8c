"""Codes come back from bytes that are hardly more than their entropy, or fewer where they have a pattern."""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sottovoce.artefact import rans
from sottovoce.artefact.coding import decode_codes, encode_codes
from sottovoce.errors import FormatError

Codes = NDArray[Any]


def kinds_of(count: int) -> Codes:
    """Of a sorted table of so many values: zero, then negative, then positive ones."""
    return np.where(np.arange(count) == 0, 0, 1 + (2 * np.arange(count) > count)).astype(np.uint8)


def drawn(shape: tuple[int, ...], chances: Codes) -> Codes:
    return np.random.default_rng(7).choice(len(chances), shape, p=chances / chances.sum()).astype(np.uint16)


def bytes_of_entropy(codes: Codes, chances: Codes | None = None) -> float:
    """What the codes take if each costs the logarithm of its chance; without chances, of its share."""
    counts = np.bincount(codes.ravel())
    shares = (counts if chances is None else chances[: len(counts)])[counts > 0]
    return float(-(counts[counts > 0] * np.log2(shares / (counts if chances is None else chances).sum())).sum() / 8)


def weights_like(zeros: float, count: int) -> Codes:
    """Chances of codes of a pruned tensor: so many zeros, the others in a bell."""
    bell = np.exp(-np.linspace(-2, 2, count - 1) ** 2)
    return np.concatenate([[zeros], (1 - zeros) * bell / bell.sum()])


DISTRIBUTIONS: dict[str, Codes] = {
    "one code": np.ones(1),
    "two, even": np.ones(2),
    "two, one in a thousand": np.array([0.999, 0.001]),
    "16, even": np.ones(16),
    **{f"16, {zeros:.1%} zeros": weights_like(zeros, 16) for zeros in (0, 0.5, 0.8, 0.95, 0.97, 0.999)},
    "16, zeros only": np.eye(16)[0],
    "16, no zeros but one code": np.eye(16)[5],
    "256": weights_like(0.5, 256),
    "257, even": np.ones(257),
    "257, one frequent": np.concatenate([[1.0], np.full(256, 1e-4)]),
    "258": weights_like(0.8, 258),
    "4096": weights_like(0.7, 4096),
    "65536": weights_like(0.7, 65536),
}
SHAPES = [(0, 3), (1,), (2, 1), (), (7,), (31, 33), (5, 2, 3, 4), (100, 90)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_codes_come_back(name: str, shape: tuple[int, ...]) -> None:
    chances = DISTRIBUTIONS[name]
    codes, kinds = drawn(shape, chances), kinds_of(len(chances))
    back = decode_codes(encode_codes(codes, kinds), shape, kinds)
    assert back.shape == shape and (back == codes).all()


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_codes_take_hardly_more_than_their_entropy(name: str) -> None:
    chances = DISTRIBUTIONS[name]
    codes = drawn((400, 300), chances)
    size = len(encode_codes(codes, kinds_of(len(chances))))
    assert size < 1.01 * bytes_of_entropy(codes, chances) + min(len(chances), rans.ALPHABET) + 32


def test_zeros_cost_next_to_nothing() -> None:
    assert len(encode_codes(np.zeros((512, 512), np.uint8), kinds_of(16))) < 64


def rows_and_columns(random: np.random.Generator) -> Codes:
    """Some rows and columns keep many more weights than others."""
    odds = np.exp(random.normal(-3, 1, (300, 1)) + random.normal(0, 1, (1, 200)))
    return np.asarray((random.random((300, 200)) < odds / (1 + odds)) * random.integers(1, 16, (300, 200)))


def smooth(random: np.random.Generator) -> Codes:
    """Weights beside each other in a row are alike."""
    wave = np.cumsum(random.standard_normal((200, 300)), 1)
    wave -= wave.mean(1, keepdims=True)
    return np.where(np.abs(wave) < 5, 0, np.clip(8 + wave / 2, 1, 15)).astype(np.int64)


PATTERNS: dict[str, Callable[[np.random.Generator], Codes]] = {
    "busy rows and columns": rows_and_columns,
    "alike along rows": smooth,
    "alike along columns": lambda random: smooth(random).T,
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_take_less_than_the_entropy(pattern: str) -> None:
    codes = PATTERNS[pattern](np.random.default_rng(3)).astype(np.uint8)
    kinds = kinds_of(16)
    data = encode_codes(codes, kinds)
    assert (decode_codes(data, codes.shape, kinds) == codes).all()
    assert len(data) < 0.97 * bytes_of_entropy(codes)


def test_bytes_are_the_same_on_every_machine() -> None:
    place = np.arange(120 * 90).reshape(120, 90)
    codes = np.where(place * place % 1009 < 100 + place % 90, place * 7 % 15 + 1, 0).astype(np.uint8)
    data = encode_codes(codes, kinds_of(16))
    assert (len(data), zlib.crc32(data)) == (1633, 3517049001)


@pytest.mark.parametrize("lanes", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [7, 8, 9, 20])
def test_any_number_of_lanes(count: int, lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rans, "_USUAL_LANE", count // lanes)
    symbols, contexts, kinds = np.arange(count) % 5, np.arange(count) % 2, np.arange(5) % 3
    back, used = rans.decode(data := rans.encode(symbols, contexts, kinds), contexts, kinds)
    assert (back == symbols).all() and used == len(data)


LEVELS = {
    "none": [0] * 257,
    "one": [0] * 200 + [9] + [0] * 56,
    "all lowest": [1] * 257,
    "all highest": [255] * 257,
    "half far below": [1] * 128 + [255] * 129,
    "all but one far below": [1] * 256 + [255],
    "all but ten far below": [1] * 247 + [255] * 10,
}


@pytest.mark.parametrize("levels", LEVELS.values(), ids=LEVELS)
def test_frequencies_add_up_and_leave_no_symbol_out(levels: list[int]) -> None:
    (row,) = rans.frequencies(np.array([levels]))
    assert row.sum() == rans.TOTAL
    assert (row[np.array(levels) > 0] > 0).all()
    assert not row[1:][np.array(levels[1:]) == 0].any()


def test_a_few_bytes_cannot_hold_many_elements() -> None:
    with pytest.raises(FormatError, match="cannot hold"):
        decode_codes(bytes(100), (1 << 14, 1 << 14), kinds_of(16))
