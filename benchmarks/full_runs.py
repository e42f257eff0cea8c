"""The queue of full-size runs; docs/full-runs.md says how to use it.

    python benchmarks/full_runs.py work       make every run that is not done, one after the other
    python benchmarks/full_runs.py status     what is done, running and left
    python benchmarks/full_runs.py one NAME   make one run, in this process
    python benchmarks/full_runs.py results    results of all runs that are done, RESULTS.md and the documents' tables
    python benchmarks/full_runs.py ship NAME  put the file of a finished run among the models that are shipped
"""

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from full import pages, status
from full.one import make
from full.queue import FullRun, Queue, read_runs
from full.queue import work as work_through
from full.results import compare_anew, record, shipped_scores

from sottovoce import terminal, zoo
from sottovoce.artefact.file import load, save
from sottovoce.errors import SottovoceError
from sottovoce.terminal import out, say

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
QUEUE = Queue(read_runs(HERE / "full" / "runs.toml"), ROOT / "recipes" / "full", ROOT / "runs" / "full",
              HERE / "results" / "full")
app = typer.Typer(help="The queue of full-size runs.", no_args_is_help=True, add_completion=False,
                  pretty_exceptions_enable=False)
Name = Annotated[str, typer.Argument(help="a run of the list")]


def _run(name: str) -> FullRun:
    if name not in QUEUE.by_name:
        raise SottovoceError(f"{name}: not in the list of runs; there are: {', '.join(QUEUE.by_name)}")
    return QUEUE.by_name[name]


@app.command()
def work(threads: Annotated[int, typer.Option(help="OMP_NUM_THREADS of the runs", min=1)] = 1) -> None:
    """Make every run that is not done. A second process may work beside this one."""
    work_through(QUEUE, lambda run: [sys.executable, str(Path(__file__).resolve()), "one", run.name], threads, say)
    standings = [status.standing(QUEUE, run) for run in QUEUE.runs]
    left = [f"{one.run.name} {one.state}: {one.note}".rstrip(": ") for one in standings if one.state != "done"]
    for line in left or ["all runs are done"]:
        say(line)
    if any(one.state in ("failed", "blocked") for one in standings):
        raise typer.Exit(1)


@app.command("status")
def show() -> None:
    """What is done, running and left, with an estimate."""
    standings = [status.standing(QUEUE, run) for run in QUEUE.runs]
    out.print(status.table(standings))
    seconds, unknown = status.seconds_left(standings)
    more = f", not counting {', '.join(unknown)}, of whose pace nothing is known yet" if unknown else ""
    say(f"left: at most {seconds / 3600:.1f} hours of training in one process{more}")


@app.command()
def one(name: Name) -> None:
    """Make one run, or go on with it, and write its result."""
    make(QUEUE, _run(name))
    # Those of the same model, once more: some are compared with this one.
    _record([run for run in QUEUE.runs if run.model == _run(name).model])


@app.command()
def results() -> None:
    """Write the results of all runs that are done here, RESULTS.md and the documents' tables."""
    _record(QUEUE.runs)


def _record(runs: Iterable[FullRun]) -> None:
    for run in runs:
        if run.kind != "start" and QUEUE.state(run) == "done":
            record(QUEUE, run)
        else:
            compare_anew(QUEUE, run)
    pages.write()


@app.command()
def ship(name: Name) -> None:
    """Put the file of a finished run among the models that are shipped, with its scores in it."""
    run = _run(name)
    if QUEUE.state(run) != "done":
        raise SottovoceError(f"{name}: expected a run that is done, got one that is {QUEUE.state(run)}")
    artefact = load(QUEUE.directory(run) / "model.sotto")
    target = zoo.FOLDER / f"{run.model}.sotto"
    save(replace(artefact, meta={**artefact.meta, "scores": shipped_scores(QUEUE, run)}), target)
    say(f"{target}: {target.stat().st_size} bytes")


if __name__ == "__main__":
    try:
        app()
    except SottovoceError as error:
        terminal.fail(str(error))
        sys.exit(2)
