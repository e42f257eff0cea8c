"""Which full-size runs there are, how each one stands, and the work through them, one process a run.

    RUNS/NAME/             the run's directory, see sottovoce.run; beside the run's own files:
        lock               held by whoever makes the run, with its process id
        log.txt            what the run said
        failure.txt        why its last attempt ended
        began.json         of which models the run has begun
"""

import fcntl
import hashlib
import json
import os
import subprocess
import time
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

from sottovoce.cli import WAITING
from sottovoce.errors import RecipeError
from sottovoce.files import write_text
from sottovoce.recipe import Recipe, read_recipe
from sottovoce.settings import from_table

POLL_SECONDS = 10.0

# Tensors of a hundred megabytes come and go at every step; memory that is kept costs no page faults.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(32 << 30)}
State = Literal["done", "running", "failed", "blocked", "waiting", "ready"]


@dataclass(frozen=True)
class FullRun:
    """A line of the list."""

    name: str
    model: str                           # whose table it is in
    kind: Literal["start", "teacher", "compression", "control", "ablation"]
    after: tuple[str, ...] = ()          # runs that must be done before

    @property
    def variant(self) -> str:
        """Its name without the model's."""
        return self.name.removeprefix(f"{self.model}-")


def read_runs(path: Path) -> tuple[FullRun, ...]:
    """The list at `path`. Raises RecipeError for a run that comes twice or before one that it is after."""
    runs: list[FullRun] = []
    for number, table in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["runs"], 1):
        run = from_table(FullRun, table, f"{path}: run {number}", path.parent)
        earlier = {other.name for other in runs}
        if run.name in earlier:
            raise RecipeError(f"{path}: run {number}: {run.name!r} is in the list twice")
        for name in run.after:
            if name not in earlier:
                raise RecipeError(f"{path}: run {number} ({run.name}): after: expected an earlier run, got {name!r}")
        runs.append(run)
    return tuple(runs)


@dataclass(frozen=True)
class Queue:
    """The runs and where everything of theirs lies."""

    runs: tuple[FullRun, ...]
    recipes: Path
    work: Path                           # a directory for every run
    results: Path                        # NAME.json of every run that is done

    @cached_property
    def by_name(self) -> dict[str, FullRun]:
        return {run.name: run for run in self.runs}

    def directory(self, run: FullRun) -> Path:
        return self.work / run.name

    def recipe(self, run: FullRun) -> Recipe:
        """Raises RecipeError."""
        return read_recipe(self.recipes / f"{run.name}.toml")

    def teacher(self, run: FullRun) -> FullRun | None:
        """The uncompressed model that the run is measured against; a teacher, and what it starts from, have none."""
        found = (other for other in self.runs if other.model == run.model and other.kind == "teacher")
        return None if run.kind in ("start", "teacher") else next(found, None)

    def state(self, run: FullRun, since: float = 0.0) -> State:
        """How a run stands; a failure from before `since`, seconds of the clock, does not count any more."""
        if holder(self.directory(run)) is not None:
            return "running"
        if self._done(run):
            return "done"
        failure = self.directory(run) / "failure.txt"
        if failure.is_file() and failure.stat().st_mtime >= since:
            return "failed"
        needs = {self.state(self.by_name[name], since) for name in run.after}
        if needs & {"failed", "blocked"}:
            return "blocked"
        return "ready" if needs <= {"done"} else "waiting"

    def _done(self, run: FullRun) -> bool:
        """Whether the run was made here, of the recipe as it is now, and its result is of this file.

        What a model begins with has no result.
        """
        copy, model = self.directory(run) / "recipe.toml", self.directory(run) / "model.sotto"
        result = self.results / f"{run.name}.json"
        if not copy.is_file() or not model.is_file() or (run.kind != "start" and not result.is_file()):
            return False
        try:
            if copy.read_text(encoding="utf-8") != self.recipe(run).text:
                return False
        except RecipeError:
            return False
        if run.kind == "start":
            return True
        return bool(json.loads(result.read_text())["model_sha256"] == digest(model))


def digest(path: Path) -> str:
    """Which file it is: its SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def holder(directory: Path) -> int | None:
    """The process that makes the run in this directory, if one does."""
    try:
        pid = int((directory / "lock").read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):        # no lock, an empty one, or one whose process has ended
        return None
    return pid


@contextmanager
def lock(directory: Path) -> Iterator[BinaryIO | None]:
    """The run's lock file, locked, or None when another process holds it.

    The kernel holds the lock for this process and for those that inherit the file, and gives it up with the last of
    them: what a killed process has left is no obstacle.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        file.truncate(0)
        yield file


def work(queue: Queue, command: Callable[[FullRun], Sequence[str]], threads: int, say: Callable[[str], None]) -> None:
    """Make every run that can be made, in the order of the list; one that fails does not stop the others.

    `command` gives the program that makes a run. Returns when nothing is left that this process could do, now or after
    what others are making.
    """
    began = time.time()
    while True:
        states = {run.name: queue.state(run, began) for run in queue.runs}
        ready = [run for run in queue.runs if states[run.name] == "ready"]
        if not any(_attempt(queue.directory(run), run, command(run), threads, say) for run in ready):
            if "waiting" not in states.values():
                return
            time.sleep(POLL_SECONDS)


def _attempt(directory: Path, run: FullRun, command: Sequence[str], threads: int, say: Callable[[str], None]) -> bool:
    """Whether the run was ours to make; it is then made, or has failed."""
    with lock(directory) as file:
        if file is None:
            return False
        failure, log = directory / "failure.txt", directory / "log.txt"
        failure.unlink(missing_ok=True)
        say(f"{run.name}: at work, see {log}")
        with log.open("ab") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=(file.fileno(),),
                env={**WAITING, **os.environ, **KEEP_MEMORY, "OMP_NUM_THREADS": str(threads)},
            )
        file.write(str(process.pid).encode())
        file.flush()
        try:
            status = process.wait()
        except KeyboardInterrupt:        # which the run has got too; it ends in order
            process.wait()
            raise
        finally:
            file.truncate(0)
        if status:
            write_text(failure, _reason(status, log))
        say(f"{run.name}: {failure.read_text() if status else 'done'}")
        return True


def _reason(status: int, log: Path) -> str:
    if status < 0:
        return f"ended by signal {-status}"
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return said[-1] if said else f"ended with status {status}"
