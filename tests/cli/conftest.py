"""The command line as a user meets it: arguments in; exit status, stdout and stderr out."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import toy

from sottovoce import cli
from sottovoce.artefact.file import save
from sottovoce.packing import pack


class Outcome(NamedTuple):
    """What a command left on the screen."""

    status: int
    out: str
    err: str

    @property
    def complaints(self) -> list[str]:
        """The lines on stderr, without the name of the program."""
        assert "Traceback" not in self.err
        return [line.removeprefix("sottovoce: ") for line in self.err.splitlines()]


Command = Callable[..., Outcome]


@pytest.fixture
def sottovoce(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process."""

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["sottovoce", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return Outcome(int(end.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .sotto file of a few thousand weights."""
    name, settings = toy.MODEL_CASES[1]
    origin = {"name": "toy", "model": name, "config": settings, "task": "enhance", "sample_rate": 16_000}
    path = tmp_path_factory.mktemp("model") / "toy.sotto"
    save(pack(toy.built(name, settings), origin), path)
    return path


@pytest.fixture
def recipe(tmp_path: Path) -> Callable[..., Path]:
    """Writes a recipe on the sample with these stages and gives its path; of `changes` each has its place once."""

    def write(stages: str, *changes: tuple[str, str], folder: Path = tmp_path) -> Path:
        text = toy.recipe(stages, Path("lists")).text.replace('path = "', f'path = "{toy.ROOT}/sample/')
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        folder.mkdir(exist_ok=True)
        (folder / "toy.toml").write_text(text)
        return folder / "toy.toml"

    return write
