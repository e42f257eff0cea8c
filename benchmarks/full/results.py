"""The result of a run: everything that a reader needs to trust its row and to make it again."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from full.origin import commit
from full.queue import FullRun, Queue, digest
from full.scores import Scores, input_scores, scores_kept, scores_of, swaps
from sottovoce.artefact.cost import multiply_adds
from sottovoce.artefact.describe import paper_bytes
from sottovoce.artefact.file import load
from sottovoce.files import write_text
from sottovoce.ledger import Row, read_ledger
from sottovoce.metrics.statistics import Interval, mean_interval, paired_bootstrap, weights_of
from sottovoce.proof import environment
from sottovoce.tasks.acoustic import Acoustic
from sottovoce.tasks.extract import Extract

EVERYTHING = "all"           # the group of all utterances
VERSUS = {                   # the variants that a run of this kind or variant is also compared with
    "compression": ("dense",),       # as much training without compression
    "small": ("c1", "ipkd"),
    "ablation": ("ipkd",),           # what it leaves something out of
}


def record(queue: Queue, run: FullRun) -> Path:
    """Write the results of the finished run and of its task's inputs as they are; where the run's went."""
    directory, recipe = queue.directory(run), queue.recipe(run)
    model, rows = directory / "model.sotto", read_ledger(directory / "ledger.jsonl")
    artefact, groups = load(model), recipe.task.groups("test")
    alone, in_all = spent(rows, recipe.task.step_seconds), history(queue, run)
    made_of = digest(model)
    path = queue.results / f"{run.name}.json"
    before = _stored(queue, run) if path.is_file() else {}
    made = before if before.get("model_sha256") == made_of else {"commit": commit(), "environment": environment()}
    result = {
        "name": run.name, "model": run.model, "variant": run.variant, "kind": run.kind,
        "command": f"python benchmarks/full_runs.py one {run.name}",
        "recipe": recipe.text,
        "recipe_sha256": hashlib.sha256(recipe.text.encode()).hexdigest(),
        "model_sha256": made_of,
        "after": {name: digest(queue.directory(queue.by_name[name]) / "model.sotto") for name in run.after
                  if queue.by_name[name].kind != "start"},
        "commit": made["commit"],
        "environment": made["environment"],
        "dense_parameters": rows[0].parameters,
        "bytes": model.stat().st_size,
        "paper_bytes": round(paper_bytes(artefact)),
        "nonzeros": rows[-1].nonzeros,
        "multiply_adds": dict(zip(("dense", "nonzero"), multiply_adds(artefact), strict=True)),      # a second
        **alone._asdict(), **{f"{name}_in_all": value for name, value in in_all._asdict().items()},
        "rows": [{**row.lasting(), "seconds": row.seconds} for row in rows],
        "scores": summary(scores_of(queue, run), groups, _references(queue, run)),
    }
    if isinstance(recipe.task, Extract):
        result["swaps"] = swaps(queue, run)
    if isinstance(recipe.task, Acoustic):
        result["dev"] = summary(scores_of(queue, run, "dev"), recipe.task.groups("dev"), {})[EVERYTHING]
        result["adapted"] = [{**row.settings, **row.details} for row in rows if row.kind == "adapt"]
    given = recipe.task.given
    inputs = {"name": given, "kind": given, "scores": summary(input_scores(queue, run), groups, {})}
    write_text(queue.results / f"{given}.json", json.dumps(inputs, indent=1) + "\n")
    write_text(path, json.dumps(result, indent=1) + "\n")
    return path


def compare_anew(queue: Queue, run: FullRun) -> None:
    """Hold the result of a run that is not here against what others are now, where its own scores are kept.

    A difference to one whose scores are not kept stays as it is.
    """
    own = scores_kept(queue, run)
    if own is None:
        return
    result = _stored(queue, run)
    now = summary(own, queue.recipe(run).task.groups("test"), _references(queue, run))
    for group, metrics in now.items():
        for metric, of in metrics.items():
            of["against"] = result["scores"][group][metric]["against"] | of["against"]
    write_text(queue.results / f"{run.name}.json", json.dumps({**result, "scores": now}, indent=1) + "\n")


class Spent(NamedTuple):
    """What training took."""

    steps: int
    hours: float                         # of audio
    seconds: float                       # of work


def spent(rows: Sequence[Row], step_seconds: float) -> Spent:
    """Of a run alone, whose steps hear so many seconds; rounds that were undone included.

    A stage that holds others has only their steps; its own seconds miss what an earlier process spent.
    """
    holders = {row.stage.rpartition("/")[0] for row in rows}
    steps = sum(row.steps for row in rows)
    seconds = sum(row.seconds for row in rows if row.stage not in holders)
    return Spent(steps, steps * step_seconds / 3600, seconds)


def history(queue: Queue, run: FullRun) -> Spent:
    """Of a run and all that it began with."""
    rows = read_ledger(queue.directory(run) / "ledger.jsonl")
    earlier = [history(queue, other) for other in begins_with(queue, run)]
    return Spent(*map(sum, zip(spent(rows, queue.recipe(run).task.step_seconds), *earlier, strict=True)))


def summary(scores: Scores, groups: Sequence[str], references: dict[str, Scores]) -> dict[str, Any]:
    """Group -> metric -> mean with its interval, and the paired difference to each reference."""
    labels = np.array(groups, dtype=object)
    chosen = {EVERYTHING: np.ones(len(scores), bool)} | {label: labels == label for label in dict.fromkeys(groups)}
    return {label: _group(scores, places, references) for label, places in chosen.items()}


def _group(scores: Scores, chosen: NDArray[np.bool_], references: dict[str, Scores]) -> dict[str, Any]:
    def column(of: Scores, metric: str) -> NDArray[np.float64]:
        return np.array([utterance[metric] for utterance in of], np.float64)[chosen]

    found = {}
    for metric in scores[0]:
        own, weights = column(scores, metric), weights_of(metric, scores)[chosen]
        against = {name: _json(paired_bootstrap(column(other, metric), own, weights=weights))
                   for name, other in references.items()}
        found[metric] = {
            **_json(mean_interval(own, weights=weights)), "utterances": int(chosen.sum()), "against": against,
        }
    return found


def shipped_scores(queue: Queue, run: FullRun) -> dict[str, dict[str, float]]:
    """Metric -> means over the whole test list: the inputs as they are ("noisy"), uncompressed, compressed."""
    inputs = queue.results / f"{queue.recipe(run).task.given}.json"
    sides = {"noisy": _read(inputs), "compressed": _stored(queue, run)}
    if (teacher := queue.teacher(run)) is not None:
        sides["uncompressed"] = _stored(queue, teacher)
    means = {side: result["scores"][EVERYTHING] for side, result in sides.items()}
    return {metric: {side: of[metric]["mean"] for side, of in means.items()} for metric in means["compressed"]}


def _references(queue: Queue, run: FullRun) -> dict[str, Scores]:
    """What the run is compared with, if kept: its task's inputs, its teacher, what it is after, and see VERSUS."""
    versus = (f"{run.model}-{variant}" for variant in VERSUS.get(run.variant) or VERSUS.get(run.kind, ()))
    others = (queue.teacher(run), *map(queue.by_name.get, (*versus, *run.after)))
    there = {other.name: scores_kept(queue, other) for other in others if other is not None}
    given = {queue.recipe(run).task.given: input_scores(queue, run)}
    return given | {name: scores for name, scores in there.items() if scores is not None}


def begins_with(queue: Queue, run: FullRun) -> list[FullRun]:
    """The runs whose model the run goes on from."""
    checkpoint = queue.recipe(run).model.checkpoint
    earlier = (queue.by_name[name] for name in run.after)
    return [] if checkpoint is None else [
        other for other in earlier if checkpoint.is_relative_to(queue.directory(other).resolve())
    ]


def _stored(queue: Queue, run: FullRun) -> dict[str, Any]:
    return _read(queue.results / f"{run.name}.json")


def _read(path: Path) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(path.read_text())
    return stored


def _json(interval: Interval) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in asdict(interval).items()}
