"""What a run begins with: its model, and whether the recipe fits it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sottovoce.checkpoints import load_tensors
from sottovoce.errors import FormatError, RecipeError, in_code
from sottovoce.models import MODELS
from sottovoce.models.layers import BatchNorm
from sottovoce.packing import pack
from sottovoce.recipe import ModelSettings, Recipe, Stage
from sottovoce.runtime import Session
from sottovoce.settings import from_table
from sottovoce.techniques.adapt import Adapt
from sottovoce.techniques.cut import Cut
from sottovoce.techniques.distill import Distill
from sottovoce.techniques.factorize import Factorize
from sottovoce.techniques.l0 import L0
from sottovoce.techniques.sequence import SequenceTraining
from sottovoce.techniques.share import Share
from sottovoce.techniques.snapshot import BECOME, restore
from sottovoce.techniques.tracing import first, needed
from sottovoce.techniques.weights import learned, weights

LOUD = 0.1               # noise that a model is tried with
APART = 1e-3             # of the output's root mean square, at most between the model and its file


def begin(settings: ModelSettings, task: object) -> nn.Module:
    """The model of these settings, untrained or as its checkpoint has it.

    One of states has as many as the task where the recipe names no number: alignments decide it.
    """
    if settings.checkpoint is not None:
        return trained(settings, settings.checkpoint)
    config = settings.config
    if hasattr(config, "states") and "states" not in settings.given:
        config = dataclasses.replace(config, states=getattr(task, "states", config.states))
    return MODELS[settings.name].build(config)


def trained(settings: ModelSettings, path: Path) -> nn.Module:
    """The model with the plain weights of a checkpoint, 16- or 32-bit floats.

    Settings that the recipe does not name are those of the checkpoint, if it is of a run: it may be of a model that was
    cut. Raises FormatError naming the tensor when it is of another model.
    """
    tensors, notes = load_tensors(path)
    own = notes["config"] if notes.get("model") == settings.name and isinstance(notes.get("config"), dict) else {}
    config = from_table(type(settings.config), own, f"{path}: config", path.parent)
    config = dataclasses.replace(config, **{name: getattr(settings.config, name) for name in settings.given})
    model = MODELS[settings.name].build(config)
    try:
        return restore(model, _of_the_model(tensors, model), *({} for _ in BECOME))
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _of_the_model(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Tensors under the names that the model has for them, and what our own layers have besides torch's."""
    own = {f"{name}.rounded": module.rounded for name, module in model.named_modules() if isinstance(module, BatchNorm)}
    known = next(iter(model.state_dict()), "")
    prefixes = (name.removesuffix(known) for name in tensors if name.endswith(f".{known}"))      # a wrapper's: module.
    prefix = next((prefix for prefix in prefixes if all(name.startswith(prefix) for name in tensors)), "")
    return own | {name.removeprefix(prefix): tensor.float() for name, tensor in tensors.items()}


def taught_by(settings: ModelSettings, path: Path) -> nn.Module:
    """The model of a checkpoint as it says itself, be it of another kind; of these settings where it does not say.

    Raises FormatError naming the tensor when it is of none of these.
    """
    _, notes = load_tensors(path)
    if str(notes.get("model")) in MODELS and isinstance(notes.get("config"), dict):
        settings = ModelSettings(notes["model"], MODELS[notes["model"]].config())
    return trained(settings, path)


def check(recipe: Recipe) -> Iterator[str]:
    """What a run of the recipe would begin with, without beginning it.

    Raises the error that the run would: a missing file, a checkpoint of another model, a corpus without clips.
    """
    model = begin(recipe.model, recipe.task)
    _fits(f"model {recipe.model.name}", model, recipe)
    parameters = sum(weight.value.numel() for weight in learned(model))
    start = recipe.model.checkpoint or "untrained"
    yield f"model {recipe.model.name}: {parameters} parameters, {start}"
    _is_in_its_file(f"model {recipe.model.name}", model, recipe)
    yield from recipe.task.check()
    yield from _chosen(recipe.stages, model)
    for stage in _all(recipe.stages):
        if isinstance(stage, Distill | SequenceTraining | Adapt) and stage.checkpoint is not None:
            teacher = taught_by(recipe.model, stage.checkpoint)
            _fits(f"teacher {stage.checkpoint}", teacher, recipe)
            _teaches(f"teacher {stage.checkpoint}", teacher, model, recipe)


def _fits(what: str, model: nn.Module, recipe: Recipe) -> None:
    """Raises RecipeError for a model of another kind of task, another sample rate, or with other symbols or states."""
    task = recipe.task
    takes, given = len(needed(model)), len(task.example())
    if takes != given:
        raise RecipeError(f"{what}: expected one that takes {given} waveforms, as task {task.name}, got {takes}")
    rate = getattr(model.config, "rate", task.sample_rate)
    if rate != task.sample_rate:
        raise RecipeError(f"{what}: expected a rate of {task.sample_rate} Hz, as task {task.name}, got {rate}")
    told_apart = {"symbols": len(task.meta.get("symbols", ())), "states": getattr(task, "states", 0)}
    for told, wanted in told_apart.items():
        there_are = getattr(model.config, told, 0)
        if there_are != wanted:
            asked = f"expected {wanted or 'no'} {told}, as task {task.name}"
            raise RecipeError(f"{what}: {asked}, got {there_are or 'none'}")


@torch.no_grad()
def _is_in_its_file(what: str, model: nn.Module, recipe: Recipe) -> None:
    """Raises an error for a model that a file cannot hold, or that gives something else once it is in one."""
    generator = torch.Generator().manual_seed(0)
    noise = [LOUD * torch.randn(example.shape, generator=generator) for example in recipe.task.example()]
    try:
        output = first(model.eval()(*noise))
    except Exception as error:           # whatever a user's own model raises
        raise RecipeError(f"{what}: {in_code(error)}") from None
    if not isinstance(output, Tensor):
        raise RecipeError(f"{what}: expected a tensor, or a tuple that begins with one, got {type(output).__name__}")
    wanted = output.numpy()
    given = Session(pack(model, {"sample_rate": recipe.task.sample_rate})).run(*(wave.numpy() for wave in noise))
    if given.shape != wanted.shape:
        raise RecipeError(f"{what}: expected an output {list(wanted.shape)} of its file, got {list(given.shape)}")
    apart = np.linalg.norm(given - wanted) / (np.linalg.norm(wanted) or 1)
    if not apart <= APART:
        raise RecipeError(f"{what}: expected its output of its file as well, got one {apart:.1%} apart: is a value "
                          "changed in place, or an axis counted from the front?")


@torch.no_grad()
def _teaches(what: str, teacher: nn.Module, model: nn.Module, recipe: Recipe) -> None:
    """Raises RecipeError for a teacher whose first output has another shape than the model's."""
    outputs = (each.eval()(*recipe.task.example()) for each in (model, teacher))
    ours, theirs = (list(first(output).shape) for output in outputs)
    if ours != theirs:
        raise RecipeError(f"{what}: expected an output {ours} for a second of silence, as the model's, got {theirs}")


def _all(stages: Sequence[tuple[str, Stage]]) -> Iterator[Stage]:
    """Stages, and those within them."""
    for _, stage in stages:
        yield stage
        yield from _all(getattr(stage, "stages", ()))


def _chosen(stages: Sequence[tuple[str, Stage]], model: nn.Module, within: str = "") -> Iterator[str]:
    """The weights, modules or units that each stage is for; raises RecipeError naming the stage that is for none."""
    for number, (kind, stage) in enumerate(stages, 1):
        place = f"{within}stage {number} ({kind}): "
        try:
            names = [weight.name for weight in weights(model, stage.only)] if hasattr(stage, "only") else []
            names += stage.members(model) if isinstance(stage, Share | Factorize) else []
            names += [group.name for group in stage.groups(model)] if isinstance(stage, L0 | Cut) else []
        except RecipeError as error:
            raise RecipeError(f"{place}{error}") from None
        if names:
            yield place + ", ".join(names)
        yield from _chosen(getattr(stage, "stages", ()), model, place)
