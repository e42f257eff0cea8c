"""Models of a user's own: a Python file with a table MODELS, of the same kind as the one of this room."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from typing import Any

from torch import nn

from sottovoce.errors import RecipeError, in_code
from sottovoce.models import MODELS, ModelKind


def own_models(path: Path) -> dict[str, ModelKind]:
    """The table MODELS of a Python file, name -> ModelKind; the file may import what lies beside it.

    Raises RecipeError for a file that is not there or fails, naming its line, and for a table or an entry that cannot
    be used.
    """
    if not path.is_file():
        raise RecipeError(f"{path}: expected a Python file with a table MODELS, got no such file")
    table = getattr(_module(path), "MODELS", None)
    if not isinstance(table, dict) or not table or table is MODELS:
        raise RecipeError(f"{path}: expected a table MODELS of its own, name -> ModelKind, got {_what(table)}")
    for name, kind in table.items():
        if not isinstance(MODELS.get(name), _OwnKind | None):
            raise RecipeError(f"{path}: MODELS: expected a new name, got {name!r}, which sottovoce has already")
        if not isinstance(kind, ModelKind):
            raise RecipeError(f"{path}: MODELS[{name!r}]: expected a ModelKind, got {_what(kind)}")
        if not (isinstance(kind.config, type) and dataclasses.is_dataclass(kind.config)):
            raise RecipeError(f"{path}: MODELS[{name!r}]: expected a dataclass of settings, got {_what(kind.config)}")
        if not (isinstance(kind.module, type) and issubclass(kind.module, nn.Module)):
            raise RecipeError(f"{path}: MODELS[{name!r}]: expected an nn.Module, got {_what(kind.module)}")
    return {name: _OwnKind(kind.config, kind.module) for name, kind in table.items()}


def _module(path: Path) -> Any:
    name = f"sottovoce_models_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path}: expected a Python file, its name ending in .py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)       # where dataclasses look for their types
    sys.path.append(str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise RecipeError(f"{path}: {in_code(error)}") from None
    return module


def _what(value: object) -> str:
    return "none" if value is None else getattr(value, "__name__", None) or repr(value)


class _OwnKind(ModelKind):
    """A model whose code is not ours: what is wrong with it is its user's to know."""

    def build(self, config: Any) -> nn.Module:
        """Raises RecipeError for one that cannot be built, naming the line, or that does not keep its settings."""
        try:
            model = super().build(config)
        except Exception as error:
            raise RecipeError(f"{self.module.__name__}: {in_code(error)}") from None
        if getattr(model, "config", None) is not config:
            raise RecipeError(f"{self.module.__name__}: expected its settings kept as self.config")
        return model
