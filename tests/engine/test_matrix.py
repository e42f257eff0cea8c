"""Products are those of numpy, or of the whole numbers that they are said to be of, on all kinds of instructions."""

import numpy as np
import pytest
from kernels import AVX2, AVX512, FLOAT32, INT8, INT16, NAMES, NEON, PORTABLE, Floats, Matrix, multiply, multiply_each

KINDS = ("floats", "table2", "table16", "few large", "table17", "table256", "table300", "levels", "levels8")
SHAPES = ((1, 1), (3, 5), (16, 4), (17, 63), (40, 129), (161, 300), (100, 1000), (4096, 128))
INSTRUCTIONS = pytest.mark.parametrize("instructions", (PORTABLE, AVX2, AVX512, NEON), ids=NAMES.get)


def drawn(kind: str, rows: int, columns: int, density: float, seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    there = rng.random((rows, columns)) < density
    if kind == "floats":
        return Matrix(rows, columns, floats=(rng.normal(size=(rows, columns)) * there).astype(np.float32))
    if kind.startswith("levels"):
        largest = 127 if kind == "levels8" else 7
        table = np.concatenate([[0], np.arange(-largest, 0), np.arange(1, largest + 1)]).astype(np.float32)
        scales = rng.uniform(0.01, 1, rows).astype(np.float32)
    else:
        size = 16 if kind == "few large" else int(kind[5:])
        table = np.concatenate([[0], rng.normal(size=size - 1)]).astype(np.float32)
        scales = np.zeros(0, np.float32)
    codes = rng.integers(1, len(table), (rows, columns)) * there
    if kind == "few large":
        table[-1] = 50                           # in one row alone
        codes[1:] %= len(table) - 1
    return Matrix(rows, columns, codes=codes, table=table, scales=scales)


def slices(x: Floats, columns: int, positions: int, stride: int) -> Floats:
    return np.stack([x[p * stride : p * stride + columns] for p in range(positions)])


def nearest(x: Floats) -> Floats:
    return np.sign(x) * np.floor(np.abs(x) + np.float32(0.5))


def fitting(values: Floats) -> tuple[np.float32, float]:
    """The scale of 64 to 127 steps that rounds values with the least error, and that error."""
    used, counts = np.unique(values, return_counts=True)
    steps = [np.abs(values).max() / np.float32(n) for n in range(127, 63, -1)]
    errors = [float(counts @ np.square(used - nearest(used / s).astype(float) * s)) if s else 0.0 for s in steps]
    return steps[int(np.argmin(errors))], min(errors)


def whole(matrix: Matrix, most: int) -> tuple[Floats, Floats]:
    """The whole numbers that stand for the weights, and their scales by row."""
    values = matrix.values
    if len(matrix.scales):
        assert matrix.codes is not None
        return matrix.table[matrix.codes], np.broadcast_to(matrix.scales, matrix.rows)
    scales = np.abs(values).max(axis=1) / np.float32(most)
    if most == 127 and 0 < len(matrix.table) <= 16 and values.any():
        shared, error = fitting(values)
        one = error <= 3e-5 * np.square(values.astype(float)).sum()
        scales = np.array([shared if one else fitting(row)[0] for row in values])
    safe = np.where(scales > 0, scales, 1).astype(np.float32)
    return np.clip(nearest(values / safe[:, None]), -most, most), scales


def check(matrix: Matrix, precision: int, instructions: int, positions: int, stride: int, extra: str = "") -> None:
    rng = np.random.default_rng(1)
    count = (positions - 1) * stride + matrix.columns
    x = rng.normal(size=count).astype(np.float32)
    bias = rng.normal(size=matrix.rows).astype(np.float32) if extra == "bias" else None
    before = rng.normal(size=(positions, matrix.rows)).astype(np.float32) if extra == "add" else None
    result = multiply(matrix, x, precision, instructions, positions, stride, bias, before)[0]
    base = np.zeros((1, 1)) if bias is None and before is None else bias if before is None else before
    seen = slices(x, matrix.columns, positions, stride).astype(np.float64)
    exact = seen @ matrix.values.T.astype(np.float64)
    size = np.abs(seen) @ np.abs(matrix.values.T).astype(np.float64) + np.abs(base)
    if precision == FLOAT32:
        assert np.all(np.abs(result - exact - base) <= 1e-5 * size)
        return
    most = 127 if precision == INT8 else 32767
    codes, scales = whole(matrix, most)
    unit = np.abs(x).max() / np.float32(most)
    inputs = np.rint(x * (np.float32(most) / np.abs(x).max()))
    said = slices(inputs, matrix.columns, positions, stride).astype(np.float64) @ codes.T.astype(np.float64)
    said = said * scales * unit
    assert np.all(np.abs(result - said - base) <= 1e-6 * (np.abs(said) + np.abs(base)))
    if np.abs(exact).sum() and matrix.rows * positions > 1000:
        noise = np.square(said - exact).sum()
        assert 10 * np.log10(np.square(exact).sum() / noise) >= (39 if precision == INT8 else 80)


@INSTRUCTIONS
@pytest.mark.parametrize("precision", (INT8, INT16, FLOAT32), ids=("int8", "int16", "float32"))
@pytest.mark.parametrize("density", (0, 0.01, 0.05, 0.2, 1))
def test_products(density: float, precision: int, instructions: int) -> None:
    for rows, columns in SHAPES:
        check(drawn("floats", rows, columns, density), precision, instructions, 1, 0)
        check(drawn("table16", rows, columns, density), precision, instructions, 1, 0)


@INSTRUCTIONS
@pytest.mark.parametrize("precision", (INT8, INT16, FLOAT32), ids=("int8", "int16", "float32"))
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_weights(kind: str, precision: int, instructions: int) -> None:
    for density in (0.1, 1):
        check(drawn(kind, 70, 257, density), precision, instructions, 2, 64, "bias")


@INSTRUCTIONS
@pytest.mark.parametrize("precision", (INT8, INT16, FLOAT32), ids=("int8", "int16", "float32"))
@pytest.mark.parametrize("positions", range(1, 10))
def test_slices_of_one_vector(positions: int, precision: int, instructions: int) -> None:
    for density, stride, extra in ((0.1, 3, "add"), (1, 32, "bias"), (0.05, 300, "")):
        check(drawn("table16", 50, 96, density), precision, instructions, positions, stride, extra)


@INSTRUCTIONS
@pytest.mark.parametrize("precision", (INT8, INT16, FLOAT32), ids=("int8", "int16", "float32"))
@pytest.mark.parametrize("kind", KINDS)
def test_frames_at_once_are_as_each_alone(kind: str, precision: int, instructions: int) -> None:
    rng = np.random.default_rng(2)
    for matrix, frames, positions, stride in (
        (drawn(kind, 50, 260, 0.1), 19, 1, 0), (drawn(kind, 33, 66, 1), 5, 3, 32), (in_blocks(50, 260, 0.1), 6, 1, 0),
    ):
        x = rng.normal(size=(frames, (positions - 1) * stride + matrix.columns)) * rng.uniform(0.1, 10, (frames, 1))
        x, bias = x.astype(np.float32), rng.normal(size=matrix.rows).astype(np.float32)
        x[1] = 0
        (together, *_), *alone = multiply_each(matrix, [x, *x], precision, instructions, positions, stride, bias)
        assert np.array_equal(together, np.stack([products for products, *_ in alone]))


def in_blocks(rows: int, columns: int, density: float) -> Matrix:
    """16 rows each share their columns."""
    matrix = drawn("table16", rows, columns, 1)
    there = np.random.default_rng(0).random((rows // 16 + 1, columns)) < density
    assert matrix.codes is not None
    matrix.codes = matrix.codes * np.repeat(there, 16, axis=0)[:rows]
    return matrix


@INSTRUCTIONS
def test_blocks_of_rows(instructions: int) -> None:
    check(in_blocks(120, 500, 0.1), INT8, instructions, 3, 20)


@pytest.mark.parametrize("instructions", (AVX2, AVX512, NEON), ids=NAMES.get)
def test_the_layout_is_that_of_the_zeros(instructions: int) -> None:
    x = np.ones(512, np.float32)
    dense, block, sparse = 0, 1, 2
    for matrix, layout, nibbles in (
        (drawn("floats", 64, 512, 1), dense, False), (drawn("table16", 64, 512, 1), dense, True),
        (drawn("floats", 64, 512, 0.05), sparse, False), (drawn("levels", 64, 512, 0.05), sparse, True),
        (in_blocks(64, 512, 0.05), block, True), (drawn("few large", 64, 512, 1), dense, False),
    ):
        assert multiply(matrix, x, INT8, instructions)[1:] == (layout, nibbles)


def test_too_many_columns() -> None:
    matrix = drawn("table2", 1, 65536, 0.5)
    check(matrix, FLOAT32, PORTABLE, 1, 0)
    with pytest.raises(AssertionError, match="weight: 65536 columns are too many for whole numbers; at most 65535"):
        multiply(matrix, np.ones(65536, np.float32), INT8, PORTABLE)


@INSTRUCTIONS
@pytest.mark.parametrize("precision", (INT8, INT16, FLOAT32), ids=("int8", "int16", "float32"))
def test_inputs_of_any_size(precision: int, instructions: int) -> None:
    matrix = drawn("table16", 20, 50, 0.5)
    bias = np.ones(20, np.float32)
    for value, expected in ((0.0, 1.0), (1e-44, 1.0), (np.nan, np.nan), (np.inf, np.nan)):
        x = np.zeros(50, np.float32)
        x[:] = value
        result = multiply(matrix, x, precision, instructions, bias=bias)[0]
        if np.isfinite(value):
            assert np.allclose(result, expected)
        elif precision == FLOAT32:
            assert not np.isfinite(result).any()
        else:
            assert np.isnan(result).all()
