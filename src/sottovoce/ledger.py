"""The ledger of a run: a row for the model as it came and one for every finished stage."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sottovoce.errors import FormatError
from sottovoce.files import write_text


@dataclass(frozen=True)
class Row:
    """What a stage made of the model."""

    stage: str                   # its place and kind, such as 02-prune or 03-iterate/01.1-prune
    kind: str
    settings: dict[str, Any]
    bytes: int                   # of the file the model makes at this point, everything counted
    paper_bytes: int             # nonzero weights x code bits + codebooks, positions not counted
    parameters: int
    nonzeros: int
    metrics: dict[str, float]    # means over the development list
    details: dict[str, Any] = field(default_factory=dict)        # what the stage itself noted
    steps: int = 0
    seconds: float = 0.0
    data_wait: float = 0.0       # share of the training time spent waiting for batches
    multiply_adds: int | None = None     # per second of audio, by weights that are not zero; None in old ledgers

    def lasting(self) -> dict[str, Any]:
        """The row as files carry it: without times and tables; a score that is not a number is None."""
        record = asdict(self)
        del record["seconds"], record["data_wait"]
        record["details"] = {name: value for name, value in self.details.items() if not isinstance(value, dict | list)}
        record["metrics"] = {name: value if math.isfinite(value) else None for name, value in self.metrics.items()}
        return record


class Watcher:
    """Whoever wants to see a run go on; this one looks away."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def step(self, step: int, steps: int, loss: float) -> None:
        """A step of a fit is done."""

    def row(self, row: Row) -> None:
        """A stage is finished, now or in an earlier run."""


def read_ledger(path: Path) -> list[Row]:
    """The rows at `path`, none if there is no such file. Raises FormatError with the line that is not one."""
    rows = []
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for number, line in enumerate(text.splitlines(), 1):
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise FormatError(f"{path}, line {number}: not a ledger row ({error})") from None
    return rows


def write_ledger(path: Path, rows: Sequence[Row]) -> None:
    """Replace the ledger in one move."""
    write_text(path, "".join(json.dumps(asdict(row)) + "\n" for row in rows))
