"""Scores of the test list, utterance by utterance, each made once and kept beside the results.

    RESULTS/scores/NAME-test.json       of a run; of acoustic models NAME-dev.json too, of WASE NAME-swaps.json
    RESULTS/scores/GIVEN-LIST.json      of the inputs of a list as they are

What is kept outlives the run's directory: a run that is made later, or on another machine, is compared with it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from full.queue import FullRun, Queue, digest
from sottovoce.artefact.file import load
from sottovoce.files import write_text
from sottovoce.metrics.statistics import Rate, means
from sottovoce.runtime import Session
from sottovoce.tasks.lists import Split

Scores = list[dict[str, float]]
Columns = dict[str, list[Any]]
DIGITS = 6                   # after the point


def scores_of(queue: Queue, run: FullRun, split: Split = "test") -> Scores:
    """Of the run's model.sotto, run without torch."""
    task = queue.recipe(run).task
    of = {**task.identity(split), "model": _digest(queue, run)}
    return kept(_path(queue, run, split), of, lambda: task.scores(_model(queue, run).run, split))


def scores_kept(queue: Queue, run: FullRun) -> Scores | None:
    """Of the file that the run's result is of, wherever that was made; None if they are not kept."""
    path, result = _path(queue, run, "test"), queue.results / f"{run.name}.json"
    if not path.is_file() or not result.is_file():
        return None
    found = json.loads(path.read_text())
    of = {**queue.recipe(run).task.identity("test"), "model": json.loads(result.read_text()).get("model_sha256")}
    return _rows(found["scores"]) if found["of"] == of else None


def input_scores(queue: Queue, run: FullRun) -> Scores:
    """Of the mixtures of the run's test list as they are; all runs with that list share them."""
    task = queue.recipe(run).task
    of = task.identity("test")
    path = queue.results / "scores" / f"{task.given}-{of['list'][:12]}.json"
    return kept(path, of, lambda: task.scores(None, "test"))


def swaps(queue: Queue, run: FullRun) -> dict[str, float] | None:
    """Mean SI-SDR of the estimates against the talker asked for and against the other; of uncompressed models."""
    if run.kind != "teacher":
        return None
    task = queue.recipe(run).task
    of = {**task.identity("test"), "model": _digest(queue, run)}
    return means(kept(_path(queue, run, "swaps"), of, lambda: task.swaps(_model(queue, run).run, "test")))


def kept(path: Path, of: dict[str, Any], score: Callable[[], Scores]) -> Scores:
    """The scores in the file if they are `of` the same things, else fresh ones, kept there, to six digits."""
    if path.is_file():
        found = json.loads(path.read_text())
        if found["of"] == of:
            return _rows(found["scores"])
    columns = _columns(score())
    write_text(path, json.dumps({"of": of, "scores": columns}) + "\n")
    return _rows(columns)


def _path(queue: Queue, run: FullRun, of: str) -> Path:
    return queue.results / "scores" / f"{run.name}-{of}.json"


def _model(queue: Queue, run: FullRun) -> Session:
    return Session(load(queue.directory(run) / "model.sotto"))


def _digest(queue: Queue, run: FullRun) -> str:
    """Of the run's file; of one that was made elsewhere what its result says."""
    model = queue.directory(run) / "model.sotto"
    if model.is_file():
        return digest(model)
    return str(json.loads((queue.results / f"{run.name}.json").read_text())["model_sha256"])


def _columns(scores: Scores) -> Columns:
    """Metric -> a number an utterance; of an error rate its errors, and among how many."""
    def number(value: float) -> float | list[float]:
        if isinstance(value, Rate):
            return [round(value * value.weight / 100, DIGITS), value.weight]
        return round(value, DIGITS)

    return {name: [number(utterance[name]) for utterance in scores] for name in scores[0]}


def _rows(columns: Columns) -> Scores:
    return [
        {name: Rate(*value) if isinstance(value, list) else value for name, value in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]
