"""The engine as a library, for the tests of whole models; the files that they read are made by tests/artefact."""

import sys
from pathlib import Path

import pytest
from building import SOURCES, compiled

from engine import Engine

sys.path.append(str(Path(__file__).parents[1] / "artefact"))


@pytest.fixture(scope="session")
def library() -> Engine:
    return Engine(compiled(SOURCES, "-O2", "-fPIC", "-shared"))
