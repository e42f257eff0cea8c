"""What is inside an artefact, tensor by tensor, in numbers."""

import math
from dataclasses import dataclass

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import layout
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored


@dataclass(frozen=True)
class TensorRow:
    """One tensor of a file."""

    name: str
    shape: tuple[int, ...]
    form: str                # how it is stored, in words
    nonzeros: int
    elements: int
    bits_per_weight: float   # of the file, positions and tables included
    bytes: int               # as above, up to where the next tensor begins
    note: str = ""           # why it is not compressed; empty if it is
    full_shape: tuple[int, ...] = ()     # before parts that nothing read were removed; empty if none were


def describe(artefact: Artefact) -> list[TensorRow]:
    """A row for every tensor, in the order of the file."""
    sizes, reasons = layout(artefact).tensors, artefact.meta.get("not_compressed", {})
    removed = artefact.meta.get("removed", {})
    return [
        _row(name, stored, sizes[name], reasons.get(name, ""), tuple(removed.get(name, [()])[0]))
        for name, stored in artefact.tensors.items()
    ]


def header_bytes(artefact: Artefact) -> int:
    """The bytes of a file that no tensor takes: graph, settings, recipe, ledger."""
    return layout(artefact).header


def paper_bytes(artefact: Artefact) -> int:
    """The size as Tan and Wang 2021 count it, in whole bytes; the places of nonzero weights cost nothing.

    N log2 K + 32 K bits for N nonzero weights that share K values, log2 K rounded up; their bits for all weights on
    levels, as Huang et al. 2022 count them, and 32 for each scale; otherwise the 32 or 16 bits of each nonzero weight.
    """
    return -(-sum(_paper_bits(stored) for stored in artefact.tensors.values()) // 8)


def nonzeros(stored: Stored) -> int:
    """How many values of a tensor are not zero."""
    return int(np.count_nonzero(stored.to_array()))


def _paper_bits(stored: Stored) -> int:
    if isinstance(stored, Levels):
        return stored.levels.size * stored.bits + 32 * stored.scale.size
    count = nonzeros(stored)
    if isinstance(stored, Codebook):
        values = int(np.count_nonzero(stored.table))
        return count * max(values - 1, 0).bit_length() + 32 * values
    return count * 8 * (stored.values.itemsize if isinstance(stored, Dense | Sparse) else 4)


def _row(name: str, stored: Stored, size: int, note: str, full_shape: tuple[int, ...]) -> TensorRow:
    elements = math.prod(stored.shape)
    bits = 8 * size / max(1, elements)
    return TensorRow(name, stored.shape, _form(stored), nonzeros(stored), elements, bits, size, note, full_shape)


def _form(stored: Stored) -> str:
    if isinstance(stored, Codebook):
        return f"codebook of {len(stored.table) - 1} + zero"
    if isinstance(stored, Levels):
        scales = "one scale" if stored.scale.size == 1 else f"{stored.scale.size} scales"
        return f"levels of {stored.bits} {'bit' if stored.bits == 1 else 'bits'}, {scales}"
    if isinstance(stored, Sparse):
        return "sparse float32"
    return f"dense {stored.values.dtype.name}" if isinstance(stored, Dense) else type(stored).__name__.lower()
