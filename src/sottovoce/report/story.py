"""All that a report tells, as plain values; nothing in here knows how it will look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]


class TensorRow(Protocol):
    """One tensor of the file, as `sottovoce.artefact` describes it."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def form(self) -> str: ...
    @property
    def nonzeros(self) -> int: ...
    @property
    def elements(self) -> int: ...
    @property
    def bits_per_weight(self) -> float: ...
    @property
    def bytes(self) -> int: ...
    @property
    def note(self) -> str: ...
    @property
    def full_shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True, eq=False)
class Example:
    """One mixture to look at and listen to; the waves are [samples], full scale +-1."""

    name: str
    caption: str
    sample_rate: int                     # Hz
    noisy: Wave
    uncompressed: Wave
    compressed: Wave
    clean: Wave | None = None
    enrolment: Wave | None = None        # the voice to be extracted, of any length


@dataclass(frozen=True, eq=False)
class Story:
    """A compressed model with everything that proves it; what is left empty is left out of the report."""

    title: str
    model: str                                       # name of the architecture, "lstm"
    task: str                                        # "enhance"
    parameters: int                                  # of the uncompressed model
    file_bytes: int                                  # len(model.sotto), everything in it
    rows: Sequence[Mapping[str, Any]] = ()           # the ledger, first row = uncompressed
    comparison: Mapping[str, Any] | None = None      # Comparison.to_json() of sottovoce.metrics.statistics
    tensors: Sequence[TensorRow] = ()
    examples: Sequence[Example] = ()
    recipe: str = ""                                 # TOML text
    environment: Mapping[str, str] = field(default_factory=dict)
    given: str = "noisy"                             # what the input is called

    @property
    def plain_bytes(self) -> int:
        """Bytes of the uncompressed float32 weights."""
        return 4 * self.parameters

    @property
    def times_smaller(self) -> float:
        return self.plain_bytes / self.file_bytes
