"""On other CPUs, emulated, plain C computes what it does here; whole models do so in tests/cli/test_export_c.py."""

import numpy as np
import pytest
from kernels import FLOAT32, INT8, INT16, NAMES, PORTABLE_ARM32, PORTABLE_ARM64, compute
from test_matrix import check, drawn
from test_vector import close, sigmoid

PORTABLE = pytest.mark.parametrize("instructions", (PORTABLE_ARM64, PORTABLE_ARM32), ids=NAMES.get)


@PORTABLE
@pytest.mark.parametrize("precision", (INT8, INT16, FLOAT32), ids=("int8", "int16", "float32"))
def test_products_in_plain_c(precision: int, instructions: int) -> None:
    for kind in ("floats", "table16", "table300", "levels"):
        for density in (0.05, 1):
            check(drawn(kind, 70, 257, density), precision, instructions, 2, 64, "bias")


@PORTABLE
def test_functions_in_plain_c(instructions: int) -> None:
    x = np.linspace(-90, 80, 5001).astype(np.float32)
    wide = x.astype(np.float64)
    for name, exact in {"exp": np.exp(wide), "tanh": np.tanh(wide), "sigmoid": sigmoid(wide)}.items():
        close(compute(name, instructions, x), exact)
