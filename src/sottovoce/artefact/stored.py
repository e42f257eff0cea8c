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
