"""Functions of elements are those of numpy, whatever comes and however many there are."""

from collections.abc import Callable

import numpy as np
import pytest
from kernels import AVX2, AVX512, NAMES, NEON, PORTABLE, Floats, compute, mix

INSTRUCTIONS = pytest.mark.parametrize("instructions", (PORTABLE, AVX2, AVX512, NEON), ids=NAMES.get)
WIDE = np.concatenate([np.linspace(-110, 100, 20001), np.geomspace(1e-45, 3e38, 999), -np.geomspace(1e-45, 3e38, 999),
                       [0.0, -0.0, np.inf, -np.inf, np.nan]]).astype(np.float32)
ABOVE = np.concatenate([np.geomspace(1e-45, 3.4e38, 20001), np.linspace(0.5, 2, 20001), [np.inf]]).astype(np.float32)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def close(result: Floats, exact: np.ndarray) -> None:
    """As vector.h promises; beyond the largest float there is infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = exact.astype(np.float32)
        finite = np.isfinite(wanted)
        assert np.array_equal(result[~finite], wanted[~finite], equal_nan=True)
        off = np.abs(result[finite] - exact[finite]) / np.maximum(np.abs(exact[finite]) * 2e-7, 1e-7)
    worst = int(np.argmax(off))
    assert off[worst] <= 1, (off[worst], result[finite][worst], exact[finite][worst])


@INSTRUCTIONS
@pytest.mark.parametrize(("name", "function", "x"), [
    ("exp", np.exp, WIDE), ("tanh", np.tanh, WIDE), ("sigmoid", sigmoid, WIDE), ("elu", elu, WIDE),
    ("log", np.log, ABOVE), ("log", np.log, np.array([0, -0.0, 1, -1, -np.inf, np.nan], np.float32)),
    ("log1p", np.log1p, np.concatenate([[0, np.nan, -1, -2], ABOVE]).astype(np.float32)),
], ids=lambda value: value if isinstance(value, str) else "")
def test_functions_of_one(name: str, function: Callable[[np.ndarray], np.ndarray], x: Floats,
                          instructions: int) -> None:
    with np.errstate(all="ignore"):
        close(compute(name, instructions, x), function(x.astype(np.float64)))


@INSTRUCTIONS
@pytest.mark.parametrize("exponent", (-0.35, -0.5, 0.3, 1.0, 2.0, 1 / 3))
def test_powers(exponent: float, instructions: int) -> None:
    x = np.geomspace(1e-15, 1e12, 10001).astype(np.float32)
    e = np.float32(exponent)
    close(compute("power", instructions, x, np.full_like(x, e)), x.astype(np.float64) ** float(e))


@INSTRUCTIONS
@pytest.mark.parametrize("count", (1, 3, 4, 15, 16, 33, 161))
def test_any_count(count: int, instructions: int) -> None:
    rng = np.random.default_rng(count)
    a, b, c = rng.normal(size=(3, count)).astype(np.float32)
    wide = [v.astype(np.float64) for v in (a, b, c)]
    ones = np.ones(count)
    for name, exact in {
        "gate": wide[0] * sigmoid(wide[1]), "add": wide[0] + wide[1], "sub": wide[0] - wide[1],
        "mul": wide[0] * wide[1], "div": wide[0] / wide[1], "affine": wide[0] * wide[1][0] + wide[2][0] * ones,
        "channels": wide[0] * wide[1] + wide[2], "prelu": np.where(wide[0] < 0, wide[0] * wide[1], wide[0]),
        "one prelu": np.where(wide[0] < 0, wide[0] * wide[1][0], wide[0]),
    }.items():
        close(compute(name, instructions, a, b, c), exact)
    total, size = wide[0].sum(), np.abs(wide[0]).sum()
    assert abs(compute("sum", instructions, a)[0] - total) <= 1e-6 * size
    squares = np.square(wide[0] - wide[1][0]).sum()
    assert abs(compute("sum_of_squares", instructions, a, b)[0] - squares) <= 1e-6 * squares
    assert compute("largest", instructions, a)[0] == np.abs(a).max()
    a[count // 2] = np.nan
    assert np.isnan(compute("largest", instructions, a)[0])


@INSTRUCTIONS
@pytest.mark.parametrize("size", (1, 7, 16, 40))
def test_a_step_of_an_lstm(size: int, instructions: int) -> None:
    rng = np.random.default_rng(size)
    gates, cell = (3 * rng.normal(size=n).astype(np.float32) for n in (4 * size, size))
    i, f, g, o = gates.astype(np.float64).reshape(4, size)
    wanted = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
    result = compute("lstm", instructions, cell, gates=gates)
    assert np.allclose(result[:size], wanted, rtol=1e-6, atol=5e-7)
    assert np.allclose(result[size:], sigmoid(o) * np.tanh(wanted), rtol=1e-6, atol=5e-7)


@INSTRUCTIONS
@pytest.mark.parametrize("size", (1, 7, 16, 40))
def test_a_step_of_a_gru(size: int, instructions: int) -> None:
    rng = np.random.default_rng(size)
    gates, hidden = (rng.normal(0, 3, n).astype(np.float32) for n in (6 * size, size))
    given, heard = gates.astype(np.float64).reshape(2, 3, size)
    reset, update = sigmoid(given[:2] + heard[:2])
    new = np.tanh(given[2] + reset * heard[2])
    wanted = (1 - update) * new + update * hidden
    assert np.allclose(compute("gru", instructions, hidden, gates=gates), wanted, rtol=1e-6, atol=1e-6)


@INSTRUCTIONS
@pytest.mark.parametrize("size", (1, 5, 16, 36, 64))
@pytest.mark.parametrize("count", (1, 2, 3, 4, 65))
def test_a_mix_of_rows(size: int, count: int, instructions: int) -> None:
    rng = np.random.default_rng(size)
    rows, shares = (rng.normal(size=n).astype(np.float32) for n in ((count, size), count))
    off = np.abs(mix(instructions, rows, shares) - shares @ rows.astype(np.float64))
    assert (off <= 1e-6 * (np.abs(shares) @ np.abs(rows))).all()
