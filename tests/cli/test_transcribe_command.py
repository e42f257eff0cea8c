"""What is said in files, on the screen and as files, and what a user may get wrong on the way."""

import json
from collections.abc import Callable
from pathlib import Path

import kaldifst
import numpy as np
import pytest
import soundfile as sf
import toy

from sottovoce.artefact.file import save
from sottovoce.decoding.graph import build_graph
from sottovoce.decoding.ngrams import Ngrams, Order
from sottovoce.packing import pack

RATE = 16_000
RECIPE = """
[model]
name = "conformer"
layers = 1
channels = 8
heads = 1
middle = 4
images = 2
[task]
name = "recognize"
speech = { path = "SAMPLE", where = { split = "train", corpus = "librispeech-train-clean-100" } }
decoder = { graph = "graph", words = 200, ngrams = 2000 }
seconds = 20
workers = 0
[task.dev]
speech = { path = "SAMPLE", where = { split = "test" } }
count = 2
[task.test]
speech = { path = "SAMPLE", where = { split = "test" } }
count = 4
[[stages]]
kind = "distill"
steps = 2
"""
SYMBOLS = ["<blk>", "\u2581A", "\u2581B", "\u2581C", "\u2581D"]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .sotto file of a few hundred weights that knows no words."""
    settings = toy.RECOGNIZER_SETTINGS["conformer"][0]
    path = tmp_path_factory.mktemp("model") / "recognizer.sotto"
    meta = {"task": "recognize", "sample_rate": RATE, "symbols": SYMBOLS}
    save(pack(toy.built("conformer", settings), meta), path)
    return path


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "a.wav"
    sf.write(path, 0.1 * np.random.default_rng(0).standard_normal((8000, 2)), 8000)
    return path


@pytest.mark.recipe
def test_a_recipe_ends_with_error_rates_and_what_to_try(sottovoce: Callable, audio: Path, tmp_path: Path) -> None:
    (tmp_path / "toy.toml").write_text(RECIPE.replace("SAMPLE", f"{toy.ROOT}/sample/speech.jsonl"))
    outcome = sottovoce("compress", tmp_path / "toy.toml", "--run", tmp_path / "run")
    assert (outcome.status, outcome.err) == (0, "")
    model = tmp_path / "run" / "model.sotto"
    assert outcome.out.endswith(f"try it: sottovoce transcribe YOUR.wav --model {model}\n")
    rates = json.loads((tmp_path / "run" / "scores.json").read_text())["metrics"]
    assert rates.keys() == {"per", "wer"} and all(rate["noisy"] == 100 for rate in rates.values())
    assert "Lower is better of WER, PER;" in (tmp_path / "run" / "report.html").read_text()
    said = sottovoce("transcribe", audio, "--words", tmp_path / "graph", "-m", model)
    assert (said.status, said.err) == (0, "")


def test_text_goes_to_the_screen_and_into_files(
    sottovoce: Callable, recognizer: Path, audio: Path, tmp_path: Path
) -> None:
    shown = sottovoce("transcribe", audio, "-m", recognizer)
    assert (shown.status, shown.err) == (0, "") and shown.out.startswith(f"{audio}: ")
    text = shown.out.removeprefix(f"{audio}: ").strip()
    assert set(text.split()) <= set("ABCD")
    target = tmp_path / "a.txt"
    written = sottovoce("transcribe", audio, "-o", target, "-m", recognizer)
    assert (written.status, written.out) == (0, f"{audio} -> {target}: {text}\n")
    assert target.read_text() == f"{text}\n"
    (tmp_path / "list.csv").write_text("audio\na.wav\ngone.wav\n")
    listed = sottovoce("transcribe", tmp_path / "list.csv", "-m", recognizer)
    assert (listed.status, listed.out) == (2, shown.out)
    assert listed.complaints == [f"{tmp_path}/gone.wav: expected an audio file, got no such file"]


def test_words_are_found_by_a_graph(sottovoce: Callable, recognizer: Path, audio: Path, tmp_path: Path) -> None:
    one = np.array([-1.0, -1.0, -1.0])
    none = Order(np.zeros((0, 2), int), one[:0], one[:0]), Order(np.zeros((0, 3), int), one[:0], one[:0])
    model = Ngrams(("<s>", "</s>", "hello"), (Order(np.arange(3)[:, None], one, 0 * one), *none))
    folder = tmp_path / "graph"
    folder.mkdir()
    build_graph(5, [("hello", [code]) for code in (1, 2, 3, 4)], model).write(str(folder / "graph.fst"))
    (folder / "graph.json").write_text(json.dumps({"symbols": SYMBOLS, "vocabulary": model.words}))
    said = sottovoce("transcribe", audio, "--words", folder, "-m", recognizer)
    assert (said.status, said.err) == (0, "")
    assert set(said.out.removeprefix(f"{audio}: ").split()) <= {"hello"}
    (folder / "graph.json").write_text(json.dumps({"symbols": SYMBOLS[:3], "vocabulary": model.words}))
    other = sottovoce("transcribe", audio, "--words", folder, "-m", recognizer)
    expected = f"{folder}: expected a graph of the 5 symbols of the model, got one of others"
    assert (other.status, other.complaints) == (2, [expected])


def test_less_than_a_frame_is_no_error(sottovoce: Callable, recognizer: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "short.wav", np.zeros(100), RATE)
    outcome = sottovoce("transcribe", tmp_path / "short.wav", "-m", recognizer)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out == f"{tmp_path}/short.wav:   (nothing is heard in less than one frame)\n"


def test_each_command_names_the_other_for_its_models(
    sottovoce: Callable, recognizer: Path, model: Path, audio: Path, tmp_path: Path
) -> None:
    for command, other, path in (("enhance", "transcribe", recognizer), ("transcribe", "enhance", model)):
        wrong = sottovoce(command, audio, "-o", tmp_path / "out.wav", "-m", path)
        expected = f"{path}: expected a model to {command} with, got one for: sottovoce {other}"
        assert (wrong.status, wrong.complaints) == (2, [expected])


def test_a_list_comes_alone(sottovoce: Callable, recognizer: Path) -> None:
    outcome = sottovoce("transcribe", "list.csv", "a.wav", "-m", recognizer)
    expected = "transcribe: expected list.csv alone, got other inputs beside it"
    assert (outcome.status, outcome.complaints) == (2, [expected])


def test_states_of_phones_are_made_words_by_a_graph_of_them(
    sottovoce: Callable, audio: Path, tmp_path: Path
) -> None:
    path, folder = tmp_path / "acoustic.sotto", tmp_path / "graph"
    model = toy.built("hdnn", {"states": 7, "hidden": 4, "layers": 2})
    save(pack(model, {"task": "acoustic", "sample_rate": RATE, "states": "abc", "scale": 0.5}), path)
    folder.mkdir()
    arcs = [f"{'0 1' if state == 1 else '1 1'} {state} {3 if state == 1 else 0} 0" for state in range(1, 8)]
    kaldifst.compile("\n".join([*arcs, "1 0", ""])).write(str(folder / "graph.fst"))
    about = {"symbols": "abc", "vocabulary": ["<s>", "</s>", "hello"], "log_priors": [-9.0, *[0.0] * 6]}
    (folder / "graph.json").write_text(json.dumps(about))
    said = sottovoce("transcribe", audio, "--words", folder, "-m", path, "--engine", "numpy")
    assert (said.status, said.err, said.out) == (0, "", f"{audio}: hello\n")
    without = sottovoce("transcribe", audio, "-m", path, "--engine", "numpy")
    expected = "model: expected a decoder's folder, to find words by in states, got none"
    assert (without.status, without.complaints) == (2, [expected])
    (folder / "graph.json").write_text(json.dumps({**about, "symbols": "abd"}))
    other = sottovoce("transcribe", audio, "--words", folder, "-m", path, "--engine", "numpy")
    expected = f"{folder}: expected a graph of the states abc of the model, got one of others"
    assert (other.status, other.complaints) == (2, [expected])
