"""From a recipe for extraction to the voice in a file, and what a user may get wrong on the way."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import toy

from sottovoce.artefact.file import save
from sottovoce.packing import pack

RATE = 16_000
NOISE = 0.1 * np.random.default_rng(0).standard_normal((3 * RATE, 2))
RECIPE = """
[model]
name = "wase"
stacks = 1
blocks = 2
filters = 8
channels = 4
middle = 6
units = 3
[task]
name = "extract"
speech = { path = "SAMPLE", where = { split = "train" } }
mixing = { seconds = 0.5, enrolment_seconds = 0.5 }
batch = 2
workers = 0
[task.dev]
plans = "dev.jsonl"
speech = { path = "SAMPLE", where = { split = "dev" } }
count = 1
seconds = 1
[task.test]
plans = "test.jsonl"
speech = { path = "SAMPLE", where = { split = "test" } }
count = 2
seconds = 1
[[stages]]
kind = "distill"
steps = 2
l1 = "auto"
"""


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .sotto file of a few hundred weights, at 8 kHz."""
    settings = toy.MODEL_SETTINGS["wase"][0]
    path = tmp_path_factory.mktemp("model") / "extractor.sotto"
    save(pack(toy.built("wase", settings), {"task": "extract", "sample_rate": 8000}), path)
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A mixture, stereo, and a recording of a voice."""
    mixture, voice = tmp_path / "mixture.wav", tmp_path / "voice.flac"
    sf.write(mixture, NOISE[:RATE], RATE)
    sf.write(voice, NOISE[RATE:, 0], RATE)
    return mixture, voice


@pytest.mark.recipe
def test_a_recipe_ends_with_a_file_a_report_and_what_to_try(sottovoce: Callable, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(RECIPE.replace("SAMPLE", f"{toy.ROOT}/sample/speech.jsonl"))
    outcome = sottovoce("compress", tmp_path / "toy.toml", "--run", tmp_path / "run")
    assert (outcome.status, outcome.err) == (0, "")
    assert "mixture" in outcome.out and "SI-SDR dB" in outcome.out and "SDR dB" in outcome.out
    tried = f"sottovoce extract MIXTURE.wav --enrol VOICE.wav -o voice.wav --model {tmp_path}/run/model.sotto"
    assert outcome.out.endswith(f"try it: {tried}\n")
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f"</i>{label}<" in page for label in ("Mixture", "Enrolment", "Compressed", "Clean"))
    assert "Noisy" not in page


@pytest.mark.parametrize(("old", "new", "message"), [
    ('name = "extract"', 'name = "extract"\nrate = 16000',
     "model wase: expected a rate of 16000 Hz, as task extract, got 8000"),
    ('"wase"\nstacks = 1\nblocks = 2\nfilters = 8\nchannels = 4\nmiddle = 6\nunits = 3', '"fdnn"',
     "model fdnn: expected one that takes 2 waveforms, as task extract, got 1"),
])
def test_a_model_for_something_else_is_refused(
    old: str, new: str, message: str, sottovoce: Callable, tmp_path: Path
) -> None:
    assert old in RECIPE
    (tmp_path / "toy.toml").write_text(RECIPE.replace(old, new).replace("SAMPLE", f"{toy.ROOT}/sample/speech.jsonl"))
    outcome = sottovoce("validate", tmp_path / "toy.toml")
    assert (outcome.status, outcome.complaints) == (2, [message])


def test_extract_writes_a_voice_of_the_form_of_the_mixture(
    sottovoce: Callable, extractor: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    mixture, voice = files
    outcome = sottovoce("extract", mixture, "--enrol", voice, "-o", tmp_path / "out.wav", "-m", extractor)
    assert (outcome.status, outcome.err, outcome.out) == (0, "", f"{mixture} -> {tmp_path}/out.wav\n")
    info = sf.info(tmp_path / "out.wav")
    assert (info.frames, info.channels, info.samplerate) == (RATE, 2, RATE)
    (tmp_path / "list.csv").write_text("mixture,enrol,output\nmixture.wav,voice.flac,a.wav\nmixture.wav,gone.wav,\n")
    listed = sottovoce("extract", tmp_path / "list.csv", "-o", tmp_path / "out", "-m", extractor)
    assert listed.complaints == [f"{tmp_path}/gone.wav: expected an audio file, got no such file"]
    assert (listed.status, listed.out) == (2, f"{mixture} -> {tmp_path}/out/a.wav\n")
    assert (tmp_path / "out" / "a.wav").read_bytes() == (tmp_path / "out.wav").read_bytes()


def test_each_command_names_the_other_for_its_models(
    sottovoce: Callable, extractor: Path, model: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    mixture, voice = files
    wrong = {
        "enhance": sottovoce("enhance", mixture, "-o", tmp_path / "out.wav", "-m", extractor),
        "extract": sottovoce("extract", mixture, "--enrol", voice, "-o", tmp_path / "out.wav", "-m", model),
    }
    for command, other, path in (("enhance", "extract", extractor), ("extract", "enhance", model)):
        expected = f"{path}: expected a model to {command} with, got one for: sottovoce {other}"
        assert (wrong[command].status, wrong[command].complaints) == (2, [expected])


def test_a_voice_has_to_be_given_once(
    sottovoce: Callable, extractor: Path, files: tuple[Path, Path], tmp_path: Path
) -> None:
    mixture, voice = files
    without = sottovoce("extract", mixture, "-o", tmp_path / "out.wav", "-m", extractor)
    assert without.complaints == ["extract: expected --enrol FILE, a recording of the voice, got none"]
    both = sottovoce("extract", "list.csv", "--enrol", voice, "-o", tmp_path / "out", "-m", extractor)
    assert both.complaints == ["extract: expected list.csv alone, got other inputs or --enrol beside it"]
    assert without.status == both.status == 2
