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


def engine() -> ModuleType:
    """The compiled engine, as Python sees it."""
    try:
        return import_module("sottovoce._engine")
    except ImportError:
        _missing("the compiled engine")


def _missing(what: str) -> NoReturn:
    say = pytest.fail if os.environ.get("EVERY_TOOL") else pytest.skip
    say(f"needs {what}, which is not installed")
