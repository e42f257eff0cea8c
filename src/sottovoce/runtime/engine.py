"""Sessions of the compiled engine, and which session runs a model: this one where it can, numpy's where not."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from sottovoce.artefact.file import decode, read_bytes, read_header
from sottovoce.errors import EngineError, FormatError, SottovoceError
from sottovoce.runtime.operation import Array
from sottovoce.runtime.session import Session
from sottovoce.runtime.surface import AnySession, Step

if TYPE_CHECKING:
    from sottovoce._engine import EngineSession

EngineName = Literal["compiled", "numpy"]
Precision = Literal["int8", "int16", "float32"]


class CompiledSession(AnySession):
    """A model that the compiled engine runs, from the bytes of its file; `name` stands for the file in messages.

    Raises FormatError for bytes of no model, EngineError where the engine is not installed or cannot run the model.
    """

    def __init__(
        self, data: bytes, precision: Precision = "float32", name: str = "model", instructions: str = "best"
    ) -> None:
        try:
            from sottovoce._engine import Engine
        except ImportError as error:
            raise EngineError("the compiled engine is not installed: there was no C compiler") from error
        graph, self.meta = read_header(data, name)
        try:
            self._engine = Engine(data, precision, instructions)
        except FormatError as error:
            raise FormatError(f"{name}: {error}") from None
        told = self._engine.query()
        self.inputs, self._missing = graph.inputs, graph.inputs[1:]
        self.sample_rate, self.hop, self.delay = told["sample_rate"], told["hop"], told["delay"]
        self.causal, self.features = told["causal"], told["features"] > 0
        self.weight_bytes: int = told["weight_bytes"]
        self.instructions: str = told["instructions"]
        self._shape = (-1, told["features"]) if self.features else (-1,)
        self._known: Sequence[Array] = ()
        self._stepping: list[EngineSession] = []                 # one for each waveform of the batch

    def reset(self) -> None:
        self._stepping = []

    def _know(self, conditions: Sequence[Array]) -> None:
        self._known = [condition[0] for condition in conditions]
        self._started(self.hop)                                  # raises what is wrong with them

    def _whole(self, samples: Array) -> Array:
        rows = np.ascontiguousarray(samples)
        return np.stack([self._started(len(row)).run(row).reshape(self._shape) for row in rows])

    def _fresh(self) -> tuple[Step, Step]:
        sessions: list[EngineSession] = []

        def step(samples: Array) -> Array:
            if not sessions:
                sessions.extend(self._started() for _ in samples)
            return self._stepped(sessions, samples)

        def last(samples: Array) -> Array:
            if not sessions:
                return self._whole(samples)
            ends = zip(sessions, np.ascontiguousarray(samples), strict=True)
            return np.stack([session.finish(row).reshape(self._shape) for session, row in ends])

        return step, last

    def _next(self, samples: Array) -> Array:
        if not self._stepping:
            self._stepping = [self._started() for _ in samples]
        return self._stepped(self._stepping, samples)

    def _heard(self) -> int | None:
        return len(self._stepping) or None

    def _started(self, samples: int = 0) -> "EngineSession":
        """A session that has its conditions; of a model that is not causal, with memory for so many samples."""
        session = self._engine.start(max(samples, self.hop), max(map(len, self._known), default=0))
        for number, condition in enumerate(self._known):
            session.give(number, condition)
        return session

    def _stepped(self, sessions: Sequence["EngineSession"], samples: Array) -> Array:
        rows = np.ascontiguousarray(samples)
        if len(rows) == 1:                                       # a stack takes as long as many a frame
            return sessions[0].step(rows[0]).reshape(1, *self._shape)
        return np.stack([session.step(row).reshape(self._shape) for session, row in zip(sessions, rows, strict=True)])


def open_session(
    source: Path | bytes,
    engine: EngineName | None = None,
    precision: Precision = "float32",
    tell: Callable[[str], None] = warnings.warn,
) -> AnySession:
    """The model of a `.sotto` file, or of its bytes, ready to run.

    By default the compiled engine runs it; where it cannot, numpy does and `tell` is told why. Raises FormatError for
    what is no model, SottovoceError where the engine that was asked for cannot
    run it, or not in that precision.
    """
    data, name = (source, "model") if isinstance(source, bytes) else (read_bytes(Path(source)), str(source))
    if engine == "numpy" and precision != "float32":
        raise SottovoceError(f"precision: expected float32 of numpy, got {precision}")
    if engine != "numpy":
        try:
            return CompiledSession(data, precision, name)
        except EngineError as error:
            if engine == "compiled":
                raise
            tell(f"{error}; numpy runs the model, in float32, which takes longer")
    return Session(decode(data, name))
