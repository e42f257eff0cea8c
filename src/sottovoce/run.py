"""A recipe at work in a directory: stage after stage, each checkpointed, so that a run that stops goes on.

    recipe.toml            what is run; a directory belongs to one recipe
    ledger.jsonl           a row per finished stage
    stages/NN-kind.safetensors            the model after each stage
    stages/NN-kind.progress.safetensors   a half-done fit
    kept/NN-kind/          what a stage has made for itself, such as lattices
    tensorboard/           losses and metrics
    scores.json            noisy, uncompressed, compressed on the test list
    model.sotto            the result

A stage counts as finished once its row is in the ledger; everything before that can be done again to the same end.
"""

import dataclasses
import json
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sottovoce.artefact import Artefact
from sottovoce.artefact.cost import multiply_adds
from sottovoce.artefact.describe import nonzeros, paper_bytes
from sottovoce.artefact.file import encode
from sottovoce.artefact.shrink import shrink
from sottovoce.beginning import begin, taught_by
from sottovoce.checkpoints import Progress, load_tensors, save_tensors
from sottovoce.curves import Curves
from sottovoce.errors import RecipeError
from sottovoce.files import sweep, write_bytes, write_text
from sottovoce.ledger import Row, Watcher, read_ledger, write_ledger
from sottovoce.metrics.statistics import means
from sottovoce.models import MODELS
from sottovoce.packing import pack
from sottovoce.recipe import Recipe, Stage
from sottovoce.settings import from_table
from sottovoce.techniques.context import Teacher
from sottovoce.techniques.snapshot import BECOME, Snapshot, restore, snapshot
from sottovoce.techniques.tracing import first
from sottovoce.techniques.weights import plain
from sottovoce.training import Fitted, Loss, Penalty, Schedule, fit, forward

START = "00-start"
PRUNING = ("prune", "cut", "l0", "factorize")        # stages before which a teacher may stand


class Run:
    """The directory, the history and the services of one run of a recipe."""

    def __init__(self, recipe: Recipe, directory: Path, watcher: Watcher | None = None) -> None:
        """Raises RecipeError when the directory belongs to another recipe."""
        self.recipe, self.task, self.directory = recipe, recipe.task, directory
        self.watcher = watcher or Watcher()
        self._ledger = read_ledger(directory / "ledger.jsonl")
        self._claim()
        self.rows: list[Row] = []                    # finished so far in this process, old rows as they are passed
        self._path: list[str] = []                   # names of the stages at work, outermost first
        self._details: list[dict[str, Any]] = []
        self._fitted: Fitted | None = None
        self._steps = 0

    def _claim(self) -> None:
        copy = self.directory / "recipe.toml"
        if self._ledger and copy.is_file() and copy.read_text(encoding="utf-8") != self.recipe.text:
            raise RecipeError(
                f"{self.directory}: holds a run of another recipe (see {copy}); choose another directory or remove it"
            )
        sweep(self.directory)
        write_text(copy, self.recipe.text)

    # ---- what the run does -------------------------------------------------------------------------------------

    def start(self) -> nn.Module:
        """The model as it comes, with the first row of the ledger."""
        if self._finished(START):
            return self._load(START)
        torch.manual_seed(self.recipe.seed)
        model = begin(self.recipe.model, self.task)
        self.watcher.stage(START)
        self._finish(START, "start", {}, model, time.monotonic())
        return model

    def apply(self, kind: str, stage: Stage, model: nn.Module, name: str) -> nn.Module:
        """The model after a stage; read from disk if the stage was finished before."""
        self._path.append(name)
        place = "/".join(self._path)
        try:
            if self._finished(place):
                return self._load(place)
            self.watcher.stage(place)
            self._details.append({})
            self._fitted, self._steps, began = None, 0, time.monotonic()
            model = stage.apply(model, self)
            self._finish(place, kind, dataclasses.asdict(stage), model, began)       # type: ignore[call-overload]
            return model
        finally:
            self._path.pop()

    def _finish(self, place: str, kind: str, settings: dict[str, Any], model: nn.Module, began: float) -> None:
        artefact = shrink(pack(model, {"sample_rate": self.task.sample_rate}))
        spent = self._fitted
        row = Row(
            stage=place, kind=kind, settings=json.loads(json.dumps(settings, default=_name)),
            bytes=len(encode(artefact)), paper_bytes=round(paper_bytes(artefact)),
            parameters=artefact.meta["parameters"],
            nonzeros=sum(map(nonzeros, artefact.tensors.values())),
            metrics=means(self.task.scores(on_arrays(model), "dev")),
            details=self._details.pop() if self._details else {},
            steps=self._steps, seconds=spent.seconds if spent else time.monotonic() - began,
            data_wait=spent.data_wait if spent else 0.0, multiply_adds=multiply_adds(artefact)[1],
        )
        self._save(place, model)
        self._ledger.append(row)
        write_ledger(self.directory / "ledger.jsonl", self._ledger)
        self._fitted, self._steps = None, 0
        self._pass(row)

    def _finished(self, place: str) -> bool:
        row = next((row for row in self._ledger if row.stage == place), None)
        if row is None:
            return False
        # The inner stages of a finished stage come before it and are passed without being applied again.
        self.rows += [inner for inner in self._ledger if inner.stage.startswith(place + "/")]
        self._pass(row)
        return True

    def _pass(self, row: Row) -> None:
        # Here and not where the row was made: a kill may have come between the two.
        self._file(row.stage, ".progress").unlink(missing_ok=True)
        self.rows.append(row)
        self.watcher.row(row)

    # ---- what stages ask of it (techniques/context.py) ----------------------------------------------------------

    def fit(self, model: nn.Module, loss: Loss, schedule: Schedule,
            penalties: Sequence[Penalty] = ()) -> Fitted:
        """Train the model on the task's batches; a fit that was interrupted goes on from its last checkpoint."""
        place = "/".join(self._path)
        seed = zlib.crc32(f"{self.recipe.seed}/{place}".encode())
        curves = Curves(self.directory / "tensorboard" / place)

        def on_step(step: int, value: float) -> None:
            self.watcher.step(step + 1, schedule.steps, value)
            if step % 20 == 0:
                curves.add("loss", value, step)

        def batches(start: int, stride: int) -> Any:
            return self.task.batches(seed, start, stride)

        with curves:
            self._fitted = fit(model, batches, loss, schedule, penalties=penalties, seed=seed,
                               checkpoint=Progress(self._file(place, ".progress")), on_step=on_step)
        self._steps += schedule.steps
        return self._fitted

    def teacher(self, which: Teacher | Path) -> nn.Module:
        """A frozen model: the one the run began with, the one before its last pruning, or that of a checkpoint."""
        if isinstance(which, Path):
            return plain(taught_by(self.recipe.model, which))
        if which == "dense":
            return plain(self.dense())
        prunings = [number for number, row in enumerate(self.rows) if row.kind in PRUNING]
        if not prunings:
            raise RecipeError(f"stage {'/'.join(self._path)}: teacher 'previous' needs a stage before it that prunes: "
                              f"{', '.join(PRUNING)}")
        return plain(self._load(self.rows[prunings[-1] - 1].stage))

    def validation_loss(self, model: nn.Module) -> float:
        """The task's loss over batches of the development list."""
        model.eval()             # a model just read is as built: training
        with torch.no_grad():
            losses = [float(self.task.loss(forward(model, batch.inputs), batch)) for batch in self.task.fixed("dev")]
        return sum(losses) / len(losses)

    def validation_batches(self, utterances: int) -> list[Any]:
        """At most so many utterances of the development list, spread evenly over it, those of one length together."""
        batches = list(self.task.fixed("dev"))
        sizes = [len(batch.inputs[0]) for batch in batches]
        count = min(utterances, sum(sizes))
        places = torch.tensor([(2 * number + 1) * sum(sizes) // (2 * count) for number in range(count)])
        chosen, first = [], 0
        for batch, size in zip(batches, sizes, strict=True):
            within = places[(places >= first) & (places < first + size)] - first
            if len(within):
                chosen.append(type(batch)(*(tuple(tensor[within] for tensor in part) for part in batch)))
            first += size
        return _together(chosen, max(sizes))

    def size(self, model: nn.Module) -> int:
        """Bytes of the file that the run would write of the model, without the rows that are still to come."""
        return len(encode(self.artefact(model)))

    def folder(self) -> Path:
        """Where the stage at work keeps files that it needs again when the run goes on."""
        return self.directory / "kept" / "/".join(self._path)

    def keep(self, model: nn.Module) -> tuple[Any, Snapshot]:
        """The model's settings and a copy of its state, forms and all."""
        return model.config, snapshot(model)

    def recall(self, kept: tuple[Any, Snapshot]) -> nn.Module:
        """The model of that state."""
        config, state = kept
        return restore(self._fresh(config), *state)

    def note(self, **details: Any) -> None:
        """Add JSON values to the ledger row of the stage at work."""
        self._details[-1].update(details)

    # ---- disk ---------------------------------------------------------------------------------------------------

    def _fresh(self, config: Any) -> nn.Module:
        """The recipe's model with these settings, as it is built."""
        return MODELS[self.recipe.model.name].build(config)

    def _file(self, place: str, suffix: str = "") -> Path:
        return self.directory / "stages" / f"{place}{suffix}.safetensors"

    def _save(self, place: str, model: nn.Module) -> None:
        tensors, *become = snapshot(model)
        notes = dict(zip(BECOME, become, strict=True))
        save_tensors(self._file(place), tensors, **notes, **self.identity(model))

    def dense(self) -> nn.Module:
        """The model the run began with."""
        return self._load(START)

    def _load(self, place: str) -> nn.Module:
        file = self._file(place)
        tensors, notes = load_tensors(file)
        config = from_table(type(self.recipe.model.config), notes["config"], f"{file}: config", file.parent)
        return restore(self._fresh(config), tensors, *(notes.get(name, {}) for name in BECOME))

    def identity(self, model: nn.Module) -> dict[str, Any]:
        """Which model this is: its name, and its settings, which a stage may have changed."""
        return {"model": self.recipe.model.name, "config": dataclasses.asdict(model.config)}     # type: ignore[call-overload]

    def artefact(self, model: nn.Module) -> Artefact:
        """The model as it is shipped, without what is never read, with where it comes from."""
        rows = [row.lasting() for row in self.rows]
        task = {"task": self.task.name, "sample_rate": self.task.sample_rate, **self.task.meta}
        origin = {"name": self.recipe.name, **task, **self.identity(model)}
        return shrink(pack(model, {**origin, "recipe": self.recipe.text, "rows": rows}))


def _name(path: Path) -> str:
    """What the ledger keeps of a path: files go out into the world, folders do not."""
    return path.name


def on_arrays(model: nn.Module) -> Callable[..., Any]:
    """The model as a function of numpy arrays, with its forms worked in: of one utterance without batch, or of a batch.

    Of several outputs it gives the first, as a file of the model does.
    """
    baked = plain(model)

    @torch.no_grad()
    def apply(*inputs: Any) -> Any:
        outputs = baked(*(torch.from_numpy(np.atleast_2d(array)) for array in inputs))
        value = first(outputs).numpy()
        return value if inputs[0].ndim == 2 else value[0]

    return apply


def compress(run: Run) -> nn.Module:
    """Do what is left of a run and write model.sotto into its directory; the compressed model."""
    model = run.start()
    for number, (kind, stage) in enumerate(run.recipe.stages, 1):
        model = run.apply(kind, stage, model, f"{number:02d}-{kind}")
    write_bytes(run.directory / "model.sotto", encode(run.artefact(model)))
    return model


def _together(batches: Sequence[Any], most: int) -> list[Any]:
    """The batches, neighbours of the same shapes made one of at most so many utterances: layers run once for them."""
    found: list[Any] = []
    for batch in batches:
        if found and _lengths(found[-1]) == _lengths(batch) and len(found[-1].inputs[0]) + len(batch.inputs[0]) <= most:
            pairs = (zip(*parts, strict=True) for parts in zip(found[-1], batch, strict=True))
            found[-1] = type(batch)(*(tuple(torch.cat(pair) for pair in several) for several in pairs))
        else:
            found.append(batch)
    return found


def _lengths(batch: Any) -> list[torch.Size]:
    """The shapes of what each utterance of a batch has."""
    return [tensor.shape[1:] for part in batch for tensor in part]
