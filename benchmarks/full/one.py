"""One full-size run, in a process of its own: what `sottovoce compress` does, then its scores and its result."""

import json

from full.queue import FullRun, Queue, digest
from full.results import begins_with, record
from full.scores import input_scores, scores_of
from sottovoce.beginning import check
from sottovoce.errors import SottovoceError
from sottovoce.files import write_text
from sottovoce.metrics.statistics import compare
from sottovoce.proof import prove
from sottovoce.run import Run, compress
from sottovoce.terminal import Shown


def make(queue: Queue, run: FullRun) -> None:
    """Make the run, or go on with it; score its file on the test list and write its result.

    What a model begins with is not scored. Raises SottovoceError.
    """
    recipe, directory = queue.recipe(run), queue.directory(run)
    list(check(recipe))
    with Shown() as shown:
        at_work = Run(recipe, directory, shown)
        _same_beginning(queue, run)
        compress(at_work)
        if run.kind == "start":
            return
        shown.stage("test list")
        own, given = scores_of(queue, run), input_scores(queue, run)
        goes_on = any(other.kind != "start" for other in begins_with(queue, run))
        if goes_on and (teacher := queue.teacher(run)) is not None:
            comparison = compare(given, scores_of(queue, teacher), own, recipe.task.groups("test"))
            write_text(directory / "scores.json", json.dumps(comparison.to_json(), indent=1))
            prove(at_work)               # the page; the scores it needs are there
    record(queue, run)


def _same_beginning(queue: Queue, run: FullRun) -> None:
    """Raises SottovoceError when a run that this one is after was made anew since this one began."""
    note = queue.directory(run) / "began.json"
    models = {name: queue.directory(queue.by_name[name]) / "model.sotto" for name in run.after}
    now = {name: digest(model) for name, model in models.items()}
    if not note.is_file():
        write_text(note, json.dumps(now))
    before = json.loads(note.read_text())
    for name in run.after:
        if before.get(name) != now[name]:
            raise SottovoceError(f"{note.parent}: began with another {name} than there is now; remove it to begin anew")
