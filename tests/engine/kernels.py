"""The engine's kernels as a program: jobs go in, results come out, on any CPU that is here or emulated."""

import fnmatch
import os
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import tools
from building import SOURCES, compiled
from numpy.typing import NDArray

INT8, INT16, FLOAT32 = 0, 1, 2
BEST, PORTABLE, AVX2, AVX512, NEON = range(5)
PORTABLE_ARM64, PORTABLE_ARM32 = 5, 6            # plain C, for CPUs that are emulated
NAMES = {PORTABLE: "portable", AVX2: "avx2", AVX512: "avx512", NEON: "neon", PORTABLE_ARM64: "portable on arm64",
         PORTABLE_ARM32: "portable on arm32"}

Floats = NDArray[np.float32]


@dataclass
class Matrix:
    """Weights as a file has them: floats, or codes of a table, or of levels with scales."""

    rows: int
    columns: int
    floats: Floats | None = None
    codes: NDArray[np.int64] | None = None
    table: Floats = field(default_factory=lambda: np.zeros(0, np.float32))
    scales: Floats = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def values(self) -> Floats:
        if self.codes is None:
            assert self.floats is not None
            return self.floats
        values = self.table[self.codes]
        return values * (self.scales if len(self.scales) < 2 else self.scales[:, None]) if len(self.scales) else values

    def bytes(self) -> bytes:
        if self.codes is None:
            return self.values.astype("<f4").tobytes()
        codes = self.codes.astype("u1" if len(self.table) <= 256 else "<u2").tobytes()
        return codes + self.table.astype("<f4").tobytes() + self.scales.astype("<f4").tobytes()


@dataclass(frozen=True)
class Target:
    """A CPU that is emulated where it is not here."""

    compiler: str
    package: str                                 # that has the compiler
    emulator: str

    def command(self) -> list[str]:
        """What runs its program."""
        tools.program(self.compiler, self.package)
        return [tools.program(self.emulator, "qemu-user"), str(program(self.compiler, "-static"))]


ARM64 = Target("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "qemu-aarch64")
ARM32 = Target("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf", "qemu-arm")          # without NEON
TARGETS = {NEON: ARM64, PORTABLE_ARM64: ARM64, PORTABLE_ARM32: ARM32}


def program(compiler: str, *flags: str) -> Path:
    own = ("common", "matrix", "steps", "vector")
    sources = ["tests/products.c", *(f"src/{name}.c" for name in own), *fnmatch.filter(SOURCES, "src/kernels/*")]
    return compiled(sources, "-O2", *flags, compiler=compiler)


def command(instructions: int) -> list[str]:
    """The program for these instructions; the test is skipped where this CPU has none of them, nor an emulator."""
    if instructions in TARGETS and (instructions != NEON or os.uname().machine != "aarch64"):
        return TARGETS[instructions].command()
    built = program("gcc", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    here = struct.unpack("<I", subprocess.run([built], input=b"", capture_output=True, check=True).stdout)[0]
    if instructions not in (PORTABLE, BEST) and (instructions > here or (instructions == NEON) != (here == NEON)):
        pytest.skip(f"this CPU has no {NAMES[instructions]}")
    return [str(built)]


def answer(instructions: int, job: bytes) -> bytes:
    done = subprocess.run(command(instructions), input=job, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout[:-4]


def _asked(instructions: int) -> int:
    return PORTABLE if instructions > NEON else instructions


Product = tuple[Floats, int, bool]               # with the layout, and whether it is of 4 bits


def multiply(matrix: Matrix, x: Floats, precision: int, instructions: int, positions: int = 1, stride: int = 0,
             bias: Floats | None = None, add_to: Floats | None = None) -> Product:
    """Products of the slices of x, or of each of the frames x."""
    return multiply_each(matrix, [x], precision, instructions, positions, stride, bias, add_to)[0]


def multiply_each(matrix: Matrix, inputs: Sequence[Floats], precision: int, instructions: int, positions: int = 1,
                  stride: int = 0, bias: Floats | None = None, add_to: Floats | None = None) -> list[Product]:
    """Those of one input after the other, by one process."""
    rows, data = matrix.rows, b""
    largest = int(np.abs(matrix.table).max()) if len(matrix.scales) else 0
    shapes = [(*x.shape[:-1], positions, rows) for x in inputs]
    for x, shape in zip(inputs, shapes, strict=True):
        y = np.zeros(shape, np.float32) if add_to is None else add_to
        data += struct.pack("<15I", 0, precision, _asked(instructions), rows, matrix.columns, len(matrix.table),
                            len(matrix.scales), largest, x.shape[-1], positions, stride, rows, bias is not None,
                            add_to is not None, x.size // x.shape[-1])
        data += matrix.bytes() + x.tobytes() + (b"" if bias is None else bias.tobytes()) + y.tobytes()
    result, products = answer(instructions, data), []
    for shape in shapes:
        layout, nibbles = struct.unpack("<2I", result[:8])
        end = 8 + 4 * int(np.prod(shape))
        products.append((np.frombuffer(result[8:end], np.float32).reshape(shape), layout, bool(nibbles)))
        result = result[end:]
    return products


FUNCTIONS = ("exp", "log", "tanh", "sigmoid", "elu", "log1p", "power", "gate", "add", "sub", "mul", "div", "affine",
             "channels", "prelu", "one prelu", "lstm", "gru", "sum", "sum_of_squares", "largest")


def compute(name: str, instructions: int, a: Floats, b: Floats | None = None, c: Floats | None = None,
            gates: Floats | None = None) -> Floats:
    """A function of vector.h; of lstm first the cell, then the hidden; gates of gru: given, then heard."""
    zero = np.zeros_like(a)
    job = struct.pack("<15I", 1, FUNCTIONS.index(name), _asked(instructions), len(a), *[0] * 11)
    vectors = [a, zero if b is None else b, zero if c is None else c, *([] if gates is None else [gates])]
    return np.frombuffer(answer(instructions, job + b"".join(v.astype("<f4").tobytes() for v in vectors)), np.float32)


def mix(instructions: int, rows: Floats, shares: Floats) -> Floats:
    """The sum of rows [count, size] by shares [count]."""
    count, size = rows.shape
    job = struct.pack("<15I", 2, _asked(instructions), size, count, *[0] * 11)
    return np.frombuffer(answer(instructions, job + shares.tobytes() + rows.tobytes()), np.float32)
