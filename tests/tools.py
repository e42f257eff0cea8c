"""What tests need beside Python's packages: skipped where it is missing, but by `make test`, which installs it."""

import os
import shutil
from importlib import import_module
from types import ModuleType
from typing import NoReturn

import pytest


def program(name: str, package: str) -> str:
    """The path of a program, which a Debian package has."""
    return shutil.which(name) or _missing(package)


def module(name: str, what: str) -> ModuleType:
    """A module of something that may not be installed."""
    try:
        return import_module(name)
    except ImportError:
        _missing(what)


def engine() -> ModuleType:
    """The compiled engine, as Python sees it."""
    return module("sottovoce._engine", "the compiled engine")


def _missing(what: str) -> NoReturn:
    say = pytest.fail if os.environ.get("EVERY_TOOL") else pytest.skip
    say(f"needs {what}, which is not installed")
