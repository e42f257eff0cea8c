"""What an operation of the runtime is: a function of attributes, tensors, inputs and state."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Attributes = Mapping[str, Any]
Tensors = Mapping[str, Array]
State = dict[str, Array]
Outcome = tuple[Array, State]                                        # value and new state
Operation = Callable[[Attributes, Tensors, Sequence[Array], State], Outcome]


def zeros(like: Array, *shape: int) -> Array:
    """Zeros [B, *shape] for the batch of `like`."""
    return np.zeros((like.shape[0], *shape), np.float32)


def product(x: Array, matrix: Array) -> Array:
    """x [..., I] times matrix [I, O]: one matrix product, where numpy would make one for each place of x."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], matrix.shape[1])


def expect(holds: bool, message: str) -> None:
    """Raise ValueError, as numpy does of shapes, unless it holds."""
    if not holds:
        raise ValueError(message)
