"""The numbers and the page that prove a finished run: the file itself, scored against the model it came from."""

import importlib.metadata
import json
import platform
from typing import Any

from sottovoce.artefact.describe import describe
from sottovoce.artefact.file import load
from sottovoce.files import write_text
from sottovoce.metrics.statistics import compare
from sottovoce.report import Example, Story, render
from sottovoce.run import Run, on_arrays
from sottovoce.runtime import Session
from sottovoce.tasks.lists import ListTask

LISTENED = 3             # examples in the report
PEAK = 0.7               # of an example's loudest sample


def prove(run: Run) -> dict[str, Any]:
    """Score the test list three ways - as it is, by the dense model, by `model.sotto` - and keep the comparison.

    The compressed column is the file on disk run without torch. Writes scores.json and report.html into the run.
    """
    stored = run.directory / "scores.json"
    session = Session(load(run.directory / "model.sotto"))
    if stored.is_file():
        comparison: dict[str, Any] = json.loads(stored.read_text())
    else:
        noisy, dense, small = (run.task.scores(side, "test") for side in (None, on_arrays(run.dense()), session.run))
        comparison = compare(noisy, dense, small, run.task.groups("test")).to_json()
        write_text(stored, json.dumps(comparison, indent=1))
    write_text(run.directory / "report.html", render(_story(run, session, comparison)))
    return comparison


def _story(run: Run, session: Session, comparison: dict[str, Any]) -> Story:
    artefact = load(run.directory / "model.sotto")
    return Story(
        title=run.recipe.name,
        model=run.recipe.model.name,
        task=run.task.name,
        parameters=artefact.meta["parameters"],
        file_bytes=(run.directory / "model.sotto").stat().st_size,
        rows=[vars(row) for row in run.rows],
        comparison=comparison,
        tensors=describe(artefact),
        examples=_examples(run, run.task, session) if isinstance(run.task, ListTask) else [],
        recipe=run.recipe.text,
        environment=environment(),
        given=run.task.given,
    )


def _examples(run: Run, task: ListTask[Any], session: Session) -> list[Example]:
    """Mixtures spread over the test list, so that each of its groups is heard."""
    evaluation, dense = task.evaluation("test"), on_arrays(run.dense())
    count, inputs = len(evaluation.mixtures), evaluation.mixer.inputs
    examples = []
    for place in sorted({(2 * number + 1) * count // (2 * LISTENED) for number in range(LISTENED)}):
        mixture, waves = evaluation.mixtures[place], evaluation.waveforms[place]
        (noisy, *conditions), clean = waves[:inputs], waves[inputs]
        gain = PEAK / max(abs(noisy).max(), abs(clean).max(), 1e-8)
        examples.append(Example(
            name=mixture.id, caption=evaluation.caption(mixture), sample_rate=task.sample_rate,
            noisy=noisy * gain, uncompressed=dense(noisy, *conditions) * gain,
            compressed=session.run(noisy, *conditions) * gain, clean=clean * gain,
            enrolment=conditions[0] * PEAK if conditions else None,
        ))
    return examples


def environment() -> dict[str, str]:
    """Versions that a result may depend on."""
    packages = ("sottovoce", "torch", "numpy", "lhotse", "pesq", "pystoi", "onnxruntime")
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
