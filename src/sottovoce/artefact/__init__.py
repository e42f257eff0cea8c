"""A compressed model as plain data: numpy arrays, a graph and a few words. No torch in this room."""

from dataclasses import dataclass, field
from typing import Any

from sottovoce.artefact.graph import Graph
from sottovoce.artefact.stored import Stored


@dataclass(frozen=True)
class Artefact:
    """Everything needed to run a model: what it computes, its tensors, and where it comes from."""

    graph: Graph
    tensors: dict[str, Stored]
    meta: dict[str, Any] = field(default_factory=dict)       # JSON values only: name, task, sample_rate, rows ...
