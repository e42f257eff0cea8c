"""A recipe: the model, the task and the stages of one compression, as data. Read from TOML and checked at the door."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from sottovoce.errors import RecipeError
from sottovoce.models import MODELS
from sottovoce.settings import from_table, suggestion
from sottovoce.tasks import TASKS, Task
from sottovoce.techniques import STAGES
from sottovoce.techniques.context import Run


class Stage(Protocol):
    """A step of a recipe: a frozen dataclass of settings that takes a model and gives one back."""

    def apply(self, model: nn.Module, run: Run) -> nn.Module: ...


@dataclass(frozen=True)
class ModelSettings:
    """What is compressed: a name of MODELS, its settings, and the trained weights if there are any."""

    name: str
    config: Any                          # the settings dataclass of that model
    checkpoint: Path | None = None       # safetensors; a fresh model if not given
    given: frozenset[str] = frozenset()  # the settings that the recipe names; a checkpoint may bring the others


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run does."""

    name: str
    model: ModelSettings
    task: Task
    stages: tuple[tuple[str, Stage], ...]        # (kind, settings) in order
    seed: int = 0
    text: str = field(default="", repr=False)    # the TOML it was read from, then that of each file it includes


_KEYS = ("name", "seed", "model", "task", "stages")
_PATHS = ("checkpoint", "path", "plans")     # what holds a path, in the tables of models and tasks


def read_recipe(path: Path) -> Recipe:
    """The recipe at `path`; paths in it are relative to its folder.

    Raises RecipeError naming the file, the place and the key that is wrong.
    """
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe")
    return parse_recipe(_read(path), str(path), path.parent, path.stem)


def only_table(path: Path) -> str:
    """The one table of a file that is there for recipes to include, model or task; empty for a recipe.

    Raises RecipeError for what is neither.
    """
    keys = set(_toml(_read(path), str(path), _KEYS))
    return keys.pop() if keys in ({"model"}, {"task"}) else ""


def parse_recipe(text: str, where: str, base: Path, name: str = "recipe") -> Recipe:
    """As `read_recipe`, from the text of the file."""
    table = _toml(text, where, _KEYS)
    model, task = (_part(key, table.get(key), where, base) for key in ("model", "task"))
    seed = table.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise RecipeError(f"{where}: seed: expected a whole number below 2^31, 0 or more, got {seed!r}")
    name = table.get("name", name)
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise RecipeError(f"{where}: name: expected letters, digits, '.', '_' and '-', got {name!r}")
    return Recipe(
        name=name,
        model=_model(model.table, f"{model.where}: model", model.base),
        task=_named(TASKS, "name", task.table, f"{task.where}: task", task.base)[1],
        stages=parse_stages(table.get("stages", []), where, base),
        seed=seed,
        text="\n".join([text, *model.files.values(), *task.files.values()]),
    )


def parse_stages(tables: object, where: str, base: Path) -> tuple[tuple[str, Stage], ...]:
    """Stages from a list of tables, each with its `kind`; a stage may hold stages of its own."""
    if not isinstance(tables, list):
        raise RecipeError(f"{where}: stages: expected [[stages]] tables, got {tables!r}")
    stages = []
    for number, table in enumerate(tables, 1):
        place = f"{where}: stage {number}"
        if isinstance(table, Mapping) and table.get("kind") in STAGES:
            place += f" ({table['kind']})"
        inner: dict[str, Any] = {}
        if isinstance(table, Mapping) and "stages" in _fields(STAGES.get(str(table.get("kind")))):
            table = dict(table)
            inner["stages"] = parse_stages(table.pop("stages", []), place, base)
        stages.append(_named(STAGES, "kind", table, place, base, inner))
    return tuple(stages)


def _fields(stage: type | None) -> list[str]:
    return [] if stage is None else [field.name for field in fields(stage)]


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError) as error:
        raise RecipeError(f"{path}: expected a TOML file, got {error}") from None


def _toml(text: str, where: str, known: Sequence[str]) -> dict[str, Any]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not TOML ({error})") from None
    for key in table:
        if key not in known:
            raise RecipeError(f"{where}: unknown key {key!r}{suggestion(key, known)}")
    return table


@dataclass(frozen=True)
class _Part:
    """A table of a recipe, and where it lies."""

    table: Mapping[str, Any]
    where: str
    base: Path                           # what paths in it are relative to
    files: Mapping[Path, str]            # the files that were included for it, each under a line with its name


def _part(key: str, given: object, where: str, base: Path, files: Mapping[Path, str] | None = None) -> _Part:
    """The table [key]: given as it is, as the path of a TOML file that holds it, or `from` such a file with changes."""
    files = files or {}
    if isinstance(given, str):
        path = Path(base, given)
        if not path.is_file():
            raise RecipeError(f"{where}: {key}: {path}: no such file")
        if path.resolve() in files:
            raise RecipeError(f"{where}: {key}: {given} includes itself")
        text = _read(path)
        table = _toml(text, str(path), (key,))
        return _part(key, table.get(key), str(path), path.parent, {**files, path.resolve(): f"# {given}\n{text}"})
    if not isinstance(given, dict):
        raise RecipeError(f"{where}: expected a table [{key}], got {given!r}")
    if "from" not in given:
        return _Part(given, where, base, files)
    if not isinstance(given["from"], str):
        raise RecipeError(f"{where}: {key}: from: expected a path, got {given['from']!r}")
    kept = _part(key, given["from"], where, base, files)
    changes = {name: value for name, value in given.items() if name != "from"}
    return _Part(_changed(_resolved(kept.table, kept.base), changes), where, base, kept.files)


def _changed(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The table with other values; of a table in it only those that are named."""
    inner = {name: _changed(table[name], value) for name, value in changes.items()
             if isinstance(value, dict) and isinstance(table.get(name), dict)}
    return {**table, **changes, **inner}


def _resolved(table: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """The table with its paths made absolute, so that it can stand in a file of another folder."""
    paths = {name: str(Path(base, table[name]).resolve()) for name in _PATHS if isinstance(table.get(name), str)}
    inner = {name: _resolved(value, base) for name, value in table.items() if isinstance(value, dict)}
    return {**table, **inner, **paths}


def _named(known: Mapping[str, type], key: str, table: object, where: str, base: Path,
           ready: Mapping[str, Any] | None = None, others: str = "") -> tuple[str, Any]:
    """The settings that a table asks for by a name in its field `key`; `others` says how names get known."""
    if not isinstance(table, Mapping):
        raise RecipeError(f"{where}: expected a table, got {table!r}")
    name = str(table.get(key))
    if name not in known:
        raise RecipeError(f"{where}: {key}: unknown {table.get(key)!r}{suggestion(name, known)}{others}")
    rest = {field: value for field, value in table.items() if field != key}
    return name, from_table(known[name], rest, where, base, ready)


def _model(table: Mapping[str, Any], where: str, base: Path) -> ModelSettings:
    rest = dict(table)
    checkpoint = rest.pop("checkpoint", None)
    if checkpoint is not None and not isinstance(checkpoint, str):
        raise RecipeError(f"{where}: checkpoint: expected a path, got {checkpoint!r}")
    configs = {name: kind.config for name, kind in MODELS.items()}
    name, config = _named(configs, "name", rest, where, base, others=" (one of your own needs --models FILE.py)")
    where_from = None if checkpoint is None else Path(base, checkpoint).resolve()
    return ModelSettings(name, config, where_from, frozenset(rest) - {"name"})
