"""How zeros may lie, and what it is worth: python benchmarks/presets.py

The small LSTM and the small GCRN of the full-size runs, pruned weight by weight, with equally full tiles and in blocks
of 16 rows, all as much and with as much training; then clustered and trained once more. Writes benchmarks/results/
presets.json: size, time of a frame in the engine in 8 bits, and scores on a part of the test list, with their
difference to the uncompressed model; RESULTS.md, the documents and docs/presets.svg follow. What is done in
runs/presets/ is not done again. Less than an hour on one core that does nothing else.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from full import pages
from full.origin import commit
from full.presets import picture
from full.results import EVERYTHING, summary
from full.scores import Scores, kept

from sottovoce.artefact.describe import nonzeros
from sottovoce.artefact.file import load
from sottovoce.bench import alone, cpu, one_thread, side_by_side
from sottovoce.files import write_text
from sottovoce.metrics.scoring import score
from sottovoce.proof import environment
from sottovoce.recipe import Recipe, parse_recipe
from sottovoce.run import Run, compress
from sottovoce.runtime import Session
from sottovoce.tasks.lists import outputs

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "presets.json"
WORK = ROOT / "runs" / "presets"
GROUPS = ("weights", "tiles", "blocks")
RATES = (0.8, 0.9)                       # of the weights that become zero
ROUNDS = 2                               # in which they do
LAST = 20                                # steps after clustering
METRICS = ("pesq_wb", "stoi", "si_sdr")
MIXTURES = 100                           # of the test list
SECONDS = 4.0
TIMED = 40                               # rounds
DENSE = "uncompressed"


STAGES = """
[[stages]]
kind = "iterate"
rounds = {rounds}
stages = [
    {{ kind = "prune", ratio = {ratio:.4f}, scope = "balanced", utterances = 2, groups = "{groups}" }},
    {{ kind = "distill", teacher = "dense", steps = {steps}, lr = {lr:g}, precision = "{precision}" }},
]

[[stages]]
kind = "cluster"
values = 16

[[stages]]
kind = "half"

[[stages]]
kind = "distill"
teacher = "dense"
steps = {last}
lr = {last_lr:g}
precision = "{precision}"
"""


class Source(NamedTuple):
    """A trained model that is made smaller."""

    recipe: Path                         # by which it was trained
    checkpoint: Path
    steps: int                           # of training in a round
    lr: float
    precision: str = "bf16"


MODELS = {
    "lstm": Source(ROOT / "recipes/full/lstm-small.toml", ROOT / "runs/full/lstm-small/stages/01-train.safetensors",
                   60, 3e-4),
    "gcrn": Source(ROOT / "recipes/full/gcrn-small.toml", ROOT / "runs/full/gcrn-small/stages/01-train.safetensors",
                   40, 5e-4),
}


def variants() -> Iterator[tuple[str, str, float]]:
    """Name, groups and share of zeros of what is compared; the model as it is comes first."""
    yield DENSE, "", 0.0
    for groups in GROUPS:
        for rate in RATES:
            yield f"{groups}-{100 * rate:.0f}", groups, rate


def recipe_of(name: str, source: Source, groups: str, rate: float, work: Path) -> Recipe:
    """The source's model and task, and stages that leave so few weights; none for the model as it is."""
    head = source.recipe.read_text().partition("[[stages]]")[0]
    head = re.sub(r"^checkpoint = .*\n", "", head[head.index("name = ") :], flags=re.MULTILINE)
    head = re.sub(r"^name = .*", f'name = "{name}"', head, count=1)
    checkpoint = os.path.relpath(source.checkpoint, source.recipe.parent)        # the same wherever the project lies
    head = head.replace("[model]\n", f'[model]\ncheckpoint = "{checkpoint}"\n')
    recipe = parse_recipe(head + (stages(source, groups, rate) if groups else ""), name, source.recipe.parent)
    # Stages are scored on next to nothing: its only use here is to share a ratio out among the tensors.
    dev = replace(recipe.task.dev, plans=work / "dev.jsonl", per_snr=2, metrics=("si_sdr",))        # type: ignore[attr-defined]
    return replace(recipe, task=replace(recipe.task, dev=dev))       # type: ignore[type-var]


def stages(source: Source, groups: str, rate: float) -> str:
    """As TOML."""
    return STAGES.format(
        rounds=ROUNDS, ratio=1 - (1 - rate) ** (1 / ROUNDS), groups=groups, steps=source.steps, lr=source.lr,
        last=LAST, last_lr=source.lr / 2, precision=source.precision,
    )


def scored(run: Run, mixtures: int) -> tuple[Scores, list[str]]:
    """Scores of the run's file on mixtures spread over the test list, kept beside it, and the groups of these."""
    model, evaluation = run.directory / "model.sotto", run.task.evaluation("test")       # type: ignore[attr-defined]
    count = len(evaluation.mixtures)
    places = np.linspace(0, count - 1, min(mixtures, count)).astype(int).tolist()
    session = Session(load(model))

    def fresh() -> Scores:
        waveforms = [evaluation.waveforms[i] for i in places]
        pairs = zip((evaluation.mixtures[i].id for i in places), outputs(session.run, waveforms, 1),
                    (clean for _, clean in waveforms), strict=True)
        return score(pairs, METRICS)

    of = {**run.task.identity("test"), "metrics": list(METRICS), "places": places, "model": _digest(model)}
    return kept(run.directory / "kept-scores.json", of, fresh), [run.task.groups("test")[i] for i in places]


def measured(family: str, source: Source, work: Path, mixtures: int, rounds: int) -> dict[str, Any]:
    """All variants of a model, made where they are not, scored, and timed together."""
    runs = {}
    for name, groups, rate in variants():
        title = f"{family}-{name}"
        runs[name] = Run(recipe_of(title, source, groups, rate, work), work / title)
        if not (runs[name].directory / "model.sotto").is_file():
            compress(runs[name])
    files = {name: run.directory / "model.sotto" for name, run in runs.items()}
    scores = {name: scored(run, mixtures) for name, run in runs.items()}
    with one_thread():
        times = alone(side_by_side, files, files[DENSE], SECONDS, rounds)
    dense, labels = scores[DENSE]
    rows = {}
    for name, groups, rate in variants():
        sums = summary(scores[name][0], labels, {} if name == DENSE else {DENSE: dense})
        rows[name] = {
            "groups": groups, "rate": rate, "zeros": zeros(files[name]), "bytes": files[name].stat().st_size,
            "model_sha256": _digest(files[name]), **times["rows"].pop(name), "scores": sums[EVERYTHING],
        }
    return {"commit": commit(), "environment": environment(), "mixtures": len(labels),
            "instructions": times["instructions"], "rounds": rounds, "stages": stages(source, "GROUPS", RATES[0]),
            "onnxruntime int8": times["rows"]["onnxruntime int8"], "variants": rows}


def zeros(model: Path) -> float:
    """The share of the matrices' and kernels' elements that is zero, of those that are left in the file."""
    weights = [stored for stored in load(model).tensors.values() if len(stored.shape) > 1]
    return 1 - sum(map(nonzeros, weights)) / sum(int(np.prod(stored.shape)) for stored in weights)


def measure(models: Mapping[str, Source], work: Path, before: Mapping[str, Any], mixtures: int = MIXTURES,
            rounds: int = TIMED) -> dict[str, Any]:
    """The result. A model whose checkpoint is not there has what a CPU of this kind measured before, if one did."""
    there = {family for family, source in models.items() if source.checkpoint.is_file()}
    known = before["models"] if before.get("cpu") == cpu() else {}
    return {
        "command": "python benchmarks/presets.py", "cpu": cpu(),
        "missing": [family for family in models if family not in there | known.keys()],
        "models": {family: measured(family, source, work, mixtures, rounds) if family in there else known[family]
                   for family, source in models.items() if family in there | known.keys()},
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    torch.set_num_threads(1)
    result = measure(MODELS, WORK, json.loads(RESULT.read_text()) if RESULT.is_file() else {})
    write_text(RESULT, json.dumps(result, indent=1) + "\n")
    if result["models"]:
        write_text(ROOT / "docs" / "presets.svg", picture(result))
    pages.write()


if __name__ == "__main__":
    main()
