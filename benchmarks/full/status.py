"""How the queue stands: a table of the runs, and an estimate of the work that is left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
from rich.markup import escape
from rich.table import Table

from full.queue import FullRun, Queue
from sottovoce.errors import SottovoceError
from sottovoce.ledger import read_ledger

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
    directory, state, note = queue.directory(run), queue.state(run), ""
    fits = [(row.steps, row.seconds) for row in read_ledger(directory / "ledger.jsonl") if row.steps]
    for progress in sorted((directory / "stages").rglob("*.progress.safetensors")):
        fits.append(_half_done(progress))
        note = f"{progress.name.removesuffix('.progress.safetensors')}: step {fits[-1][0]}"
    if state == "failed":
        note = (directory / "failure.txt").read_text()
    steps, seconds = (sum(column) for column in zip(*[(0, 0.0), *fits], strict=True))
    try:
        planned = sum(planned_steps(stage) for _, stage in queue.recipe(run).stages)
    except SottovoceError as error:
        return Standing(run, state, int(steps), None, None, str(error))
    return Standing(run, state, int(steps), planned, seconds / steps if steps else None, note)


def _half_done(progress: Path) -> tuple[int, float]:
    """Steps and seconds of a fit at work, as of its last checkpoint."""
    try:
        with safetensors.safe_open(str(progress), framework="pt") as file:
            step, seconds = file.get_tensor("tally").tolist()[:2]
    except (OSError, safetensors.SafetensorError):       # it has just ended
        return 0, 0.0
    return int(step), seconds


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
