"""Models that come with the package are used by their names."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from sottovoce import zoo
from sottovoce.artefact.file import load, save

SCORES = {"stoi": {"noisy": 70.125, "uncompressed": 80.5, "compressed": 80.25}}


@pytest.fixture
def folder(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the package's folder: the models gcrn, with scores, and lstm."""
    made = tmp_path / "zoo"
    made.mkdir()
    shutil.copy(model, made / "lstm.sotto")
    artefact = load(model)
    save(replace(artefact, meta={**artefact.meta, "scores": SCORES}), made / "gcrn.sotto")
    monkeypatch.setattr(zoo, "FOLDER", made)
    monkeypatch.chdir(tmp_path)
    sf.write("in.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    return made


def test_a_shipped_model_gives_what_its_file_gives(sottovoce: Callable, folder: Path) -> None:
    assert sottovoce("enhance", "in.wav", "-o", "one.wav", "--model", "gcrn").status == 0
    assert sottovoce("enhance", "in.wav", "-o", "two.wav", "--model", folder / "gcrn.sotto").status == 0
    np.testing.assert_array_equal(sf.read("one.wav")[0], sf.read("two.wav")[0])


def test_a_file_of_that_name_comes_first(sottovoce: Callable, folder: Path) -> None:
    Path("gcrn").write_bytes(b"not a model")
    (complaint,) = sottovoce("enhance", "in.wav", "-o", "out.wav", "--model", "gcrn").complaints
    assert complaint.startswith("gcrn: expected a .sotto file")


@pytest.mark.parametrize("name", ["gcnr", "none/at/all.sotto", "."])
def test_an_unknown_model_is_told_what_there_is(name: str, sottovoce: Callable, folder: Path) -> None:
    outcome = sottovoce("enhance", "in.wav", "-o", "out.wav", "--model", name)
    assert outcome.status == 2
    assert outcome.complaints == [f"{name}: expected a .sotto file or a shipped model (gcrn, lstm), got neither"]


def test_models_are_listed_with_size_task_and_scores(sottovoce: Callable, folder: Path) -> None:
    outcome = sottovoce("models")
    assert (outcome.status, outcome.err) == (0, "")
    gcrn, lstm = outcome.out.splitlines()
    assert gcrn.startswith("gcrn ") and f" {(folder / 'gcrn.sotto').stat().st_size / 1000:.1f} kB " in gcrn
    assert gcrn.endswith("enhance, 16000 Hz  STOI % 70.12 -> 80.25") and lstm.endswith("enhance, 16000 Hz")


def test_none_are_a_line_too(sottovoce: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    assert sottovoce("models").out == "no model comes with this version\n"


@pytest.mark.parametrize("name", zoo.shipped())
def test_what_is_shipped_is_sound_and_scored(name: str) -> None:
    meta = load(zoo.find(name)).meta
    assert meta["model"] == name and meta["task"] == "enhance" and meta["scores"]
    assert zoo.facts(zoo.find(name)) == meta
