"""How the queue stands: a table of the runs, and an estimate of the work that is left."""

import json
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from full.queue import FullRun, Queue
from sottovoce.errors import SottovoceError
from sottovoce.ledger import Row, read_ledger

COLOURS = {"done": "green", "running": "cyan", "failed": "red", "blocked": "red", "waiting": "dim", "ready": "yellow"}


@dataclass(frozen=True)
class Standing:
    """How far a run is."""

    run: FullRun
    state: str
    steps: int               # done
    planned: int | None      # at most, as stages that repeat may end early; None if the recipe cannot be read
    pace: float | None       # seconds a step, of its own fits so far
    note: str

    @property
    def left(self) -> int:
        """Steps that are not done, at most."""
        return 0 if self.state == "done" or self.planned is None else max(0, self.planned - self.steps)


def standing(queue: Queue, run: FullRun) -> Standing:
    """From what the run has left in its directory."""
    directory, state = queue.directory(run), queue.state(run)
    rows = [row for row in read_ledger(directory / "ledger.jsonl") if row.steps]
    steps, note, paces = sum(row.steps for row in rows), "", _paces(rows)
    working = directory / "working.json"
    if working.is_file():
        now = json.loads(working.read_text())
        steps += now["step"]
        paces = [now["seconds_per_step"]]
        note = f"{now['stage']}: {now['step']} of {now['steps']}"
    if state == "failed":
        note = (directory / "failure.txt").read_text()
    try:
        planned = sum(planned_steps(stage) for _, stage in queue.recipe(run).stages)
    except SottovoceError as error:
        return Standing(run, state, steps, None, None, str(error))
    return Standing(run, state, steps, planned, sum(paces) / len(paces) if paces else None, note)


def planned_steps(stage: Any) -> int:
    """Training steps of a stage, all rounds of all that it holds included."""
    inner = sum(planned_steps(held) for _, held in getattr(stage, "stages", ()))
    return int(getattr(stage, "steps", 0)) + int(getattr(stage, "rounds", 1)) * inner


def seconds_left(standings: list[Standing]) -> tuple[float, list[str]]:
    """Seconds of training left, one run after the other, and the models of whose pace nothing is known yet.

    A run that has not begun is taken to go at the mean pace of the runs of its model.
    """
    total, unknown = 0.0, []
    for one in standings:
        paces = [other.pace for other in standings if other.run.model == one.run.model and other.pace is not None]
        if one.pace is not None:
            total += one.left * one.pace
        elif paces:
            total += one.left * sum(paces) / len(paces)
        elif one.left or one.planned is None:
            unknown.append(one.run.model)
    return total, list(dict.fromkeys(unknown))


def table(standings: list[Standing]) -> Table:
    """A line for every run."""
    view = Table("run", "kind", "state", "steps", "s/step", "", title="Full-size runs")
    for column in view.columns[3:5]:
        column.justify = "right"
    for one in standings:
        done = f"{one.steps:,} of {one.planned:,}" if one.planned is not None else "-"
        pace = "-" if one.pace is None else f"{one.pace:.2f}"
        view.add_row(one.run.name, one.run.kind, f"[{COLOURS[one.state]}]{one.state}[/]", done, pace, escape(one.note))
    return view


def _paces(rows: list[Row]) -> list[float]:
    return [row.seconds / row.steps for row in rows]
