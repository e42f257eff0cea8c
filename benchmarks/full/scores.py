"""Scores of the test list, utterance by utterance, each made once and kept."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from full.queue import FullRun, Queue
from sottovoce.artefact.file import load
from sottovoce.files import write_text
from sottovoce.runtime import Session

Scores = list[dict[str, float]]


def scores_of(queue: Queue, run: FullRun) -> Scores:
    """Of the run's model.sotto, run without torch."""
    model = queue.directory(run) / "model.sotto"
    task = queue.recipe(run).task
    of = {**_list(task), "model": _digest(model)}
    return _kept(queue.directory(run) / "test.json", of, lambda: task.scores(Session(load(model)).run, "test"))


def noisy_scores(queue: Queue, run: FullRun) -> Scores:
    """Of the mixtures of the run's test list as they are; all runs with that list share them."""
    task = queue.recipe(run).task
    of = _list(task)
    return _kept(queue.work / f"noisy-{of['list'][:12]}.json", of, lambda: task.scores(None, "test"))


def _list(task: Any) -> dict[str, Any]:
    evaluation = task.evaluation("test")
    _ = evaluation.mixtures              # draws the list if it is not there
    return {"list": _digest(evaluation.plans), "metrics": list(evaluation.metrics)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _kept(path: Path, of: dict[str, Any], score: Callable[[], Scores]) -> Scores:
    """The scores in the file if they are `of` the same things, else fresh ones, kept there."""
    if path.is_file():
        kept = json.loads(path.read_text())
        if kept["of"] == of:
            return list(kept["scores"])
    scores = score()
    write_text(path, json.dumps({"of": of, "scores": scores}))
    return scores
