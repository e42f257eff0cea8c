"""The forms in which a tensor can lie in a file; each gives back exactly the float32 values it came from."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class Stored(Protocol):
    """A tensor at rest."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def to_array(self) -> Array:
        """The float32 values, bit for bit those the model was trained to."""
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """Every value as it is, float32 or float16."""

    values: NDArray[np.float32] | NDArray[np.float16]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def to_array(self) -> Array:
        return self.values.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Sparse:
    """The nonzero values in C order, and where they lie."""

    keep: NDArray[np.bool_]              # the tensor's shape; True where a value is stored
    values: NDArray[np.float32]          # [number of True in keep]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.keep.shape

    def to_array(self) -> Array:
        array = np.zeros(self.keep.shape, np.float32)
        array[self.keep] = self.values
        return array


@dataclass(frozen=True, eq=False)
class Codebook:
    """A code per element into a short table of values; code 0 is always the exact zero."""

    codes: NDArray[np.uint8] | NDArray[np.uint16]      # the tensor's shape
    table: NDArray[np.float32]                         # [codes in use], table[0] == 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    def to_array(self) -> Array:
        return self.table[self.codes]


@dataclass(frozen=True, eq=False)
class Levels:
    """A whole number per element, times a scale: one for all, or one for each index of an axis."""

    levels: NDArray[np.int8]             # the tensor's shape, each in -top_level(bits) .. top_level(bits)
    scale: NDArray[np.float32]           # as many axes, all of length 1 but for the one that has scales of its own
    bits: int                            # of an element, as papers count: 1..8

    @property
    def shape(self) -> tuple[int, ...]:
        return self.levels.shape

    def to_array(self) -> Array:
        return self.levels * self.scale + np.float32(0)      # not -0

    def as_codebook(self) -> Codebook:
        """The levels as codes, without the scale; the table goes as far as the largest of them."""
        top, levels = self.largest, self.levels.astype(np.int16)
        codes = np.where(levels > 0, levels + top, np.where(levels < 0, levels + top + 1, 0))
        return Codebook(codes.astype(np.uint8), level_table(top))

    @property
    def largest(self) -> int:
        """The largest magnitude of a level."""
        return max(int(self.levels.max(initial=0)), -int(self.levels.min(initial=0)))


def level_table(largest: int) -> Array:
    """The levels by code: the zero, then the negative ones and the positive ones, ascending."""
    side = np.arange(1, largest + 1, dtype=np.float32)
    return np.concatenate([np.zeros(1, np.float32), -side[::-1], side])


def top_level(bits: int) -> int:
    """The largest level of so many bits: levels are symmetric, and one bit has -1 and 1."""
    return max(1, (1 << (bits - 1)) - 1)
