"""Scores of the test list, utterance by utterance, each made once and kept."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from full.queue import FullRun, Queue
from sottovoce.artefact.file import load
from sottovoce.files import write_text
from sottovoce.metrics.statistics import Rate, means
from sottovoce.runtime import Session
from sottovoce.tasks.lists import Split

Scores = list[dict[str, float]]


def scores_of(queue: Queue, run: FullRun, split: Split = "test") -> Scores:
    """Of the run's model.sotto, run without torch."""
    model = queue.directory(run) / "model.sotto"
    task = queue.recipe(run).task
    of = {**task.identity(split), "model": _digest(model)}
    return kept(queue.directory(run) / f"{split}.json", of, lambda: task.scores(Session(load(model)).run, split))


def input_scores(queue: Queue, run: FullRun) -> Scores:
    """Of the mixtures of the run's test list as they are; all runs with that list share them."""
    task = queue.recipe(run).task
    of = task.identity("test")
    return kept(queue.work / f"{task.given}-{of['list'][:12]}.json", of, lambda: task.scores(None, "test"))


def swaps(queue: Queue, run: FullRun) -> dict[str, float] | None:
    """Mean SI-SDR of the estimates against the talker asked for and against the other; of uncompressed models."""
    if run.kind != "teacher":
        return None
    model, task = queue.directory(run) / "model.sotto", queue.recipe(run).task
    of = {**task.identity("test"), "model": _digest(model)}
    scores = kept(queue.directory(run) / "swaps.json", of, lambda: task.swaps(Session(load(model)).run, "test"))
    return means(scores)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def kept(path: Path, of: dict[str, Any], score: Callable[[], Scores]) -> Scores:
    """The scores in the file if they are `of` the same things, else fresh ones, kept there."""
    if path.is_file():
        found = json.loads(path.read_text())
        if found["of"] == of:
            return [{name: _read(value) for name, value in utterance.items()} for utterance in found["scores"]]
    scores = score()
    written = [{name: _written(value) for name, value in utterance.items()} for utterance in scores]
    write_text(path, json.dumps({"of": of, "scores": written}))
    return scores


def _written(value: float) -> float | list[float]:
    """A score as JSON; of an error rate its errors, and among how many."""
    return [value * value.weight / 100, value.weight] if isinstance(value, Rate) else value


def _read(value: float | list[float]) -> float:
    return Rate(*value) if isinstance(value, list) else value
