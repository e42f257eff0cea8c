"""What each command does when all is well."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import toy

import sottovoce as package

SCRIPT = Path(sys.executable).with_name("sottovoce")
COMMANDS = ["compress", "validate", "recipes", "inspect", "enhance", "extract", "models", "bench", "export",
            "export onnx", "export c", "data", "data summary"]
SPEECH = sorted((toy.ROOT / "sample" / "speech" / "test").rglob("*.opus"))[0]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_help(command: str, sottovoce: Callable) -> None:
    outcome = sottovoce(*command.split(), "--help")
    assert (outcome.status, outcome.err) == (0, "") and "Usage: " in outcome.out
    if not command:
        assert all(f" {name} " in outcome.out for name in ["compress", "enhance", "inspect", "data"])


def test_the_script_says_its_version() -> None:
    done = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"{package.__version__}\n"


@pytest.mark.parametrize("asked", [{}, {"GOMP_SPINCOUNT": "7"}])
def test_threads_wait_as_asked_or_not_for_long(asked: dict[str, str]) -> None:
    code = ("import atexit, os, sys; from sottovoce.cli import main; "
            "atexit.register(lambda: print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)); main()")
    done = subprocess.run([sys.executable, "-c", code, "--version"],
                          capture_output=True, text=True, check=True, env=os.environ | asked)
    assert done.stdout.splitlines()[1] == f"{asked.get('GOMP_SPINCOUNT', 30000)} False"


def test_an_unknown_option_is_the_users_mistake(sottovoce: Callable) -> None:
    outcome = sottovoce("inspect", "--jsn", "model.sotto")
    assert outcome.status == 2 and "No such option: --jsn" in outcome.err


def test_recipes_lists_recipes_and_stages(sottovoce: Callable) -> None:
    outcome = sottovoce("recipes", toy.ROOT / "recipes")
    assert (outcome.status, outcome.err) == (0, "")
    assert "quickstart.toml  iterate, cluster" in outcome.out
    assert all(kind in outcome.out for kind in toy.STAGE_TABLES) and "steps" in outcome.out


def test_recipes_tells_parts_of_recipes_from_recipes(sottovoce: Callable) -> None:
    outcome = sottovoce("recipes", toy.ROOT / "recipes" / "full")
    assert (outcome.status, outcome.err) == (0, "")
    assert "gcrn.toml  [model] for recipes\n" in outcome.out and "task.toml  [task] for recipes\n" in outcome.out
    assert "gcrn-c1.toml  iterate, cluster" in outcome.out


def test_validate_says_what_a_run_would_begin_with(sottovoce: Callable, recipe: Callable) -> None:
    stages = [kind for kind in toy.STAGE_TABLES if kind not in toy.STAGE_MODELS]
    path = recipe("".join(map(toy.stage_table, stages)))
    outcome = sottovoce("validate", path)
    assert (outcome.status, outcome.err) == (0, "")
    assert "model lstm: 7497 parameters, untrained" in outcome.out
    place = 1 + stages.index("iterate")
    assert f"stage {place} (iterate): stage 1 (prune): lstm.weight_hh_l0, " in outcome.out
    assert outcome.out.endswith(f"{path}: sound, {len(stages)} stages\n")


NEEDED = {"quickstart": "sample/teacher.safetensors", "teacher_lstm": "corpus/speech.jsonl"}


@pytest.mark.parametrize("path", sorted((toy.ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_sound(path: Path, sottovoce: Callable) -> None:
    if path.stem in NEEDED and not (toy.ROOT / NEEDED[path.stem]).exists():
        pytest.skip(f"{NEEDED[path.stem]} is not here")
    outcome = sottovoce("validate", path)
    assert (outcome.status, outcome.err) == (0, "") and f"{path}: sound" in outcome.out


def test_compress_writes_the_file_and_says_where(sottovoce: Callable, recipe: Callable, tmp_path: Path) -> None:
    path = recipe(toy.stage_table("prune") + toy.stage_table("cluster"))
    first = sottovoce("compress", path, "--run", tmp_path / "run")
    assert (first.status, first.err) == (0, "")
    file = tmp_path / "run" / "model.sotto"
    assert f"{file}: {file.stat().st_size} bytes, " in first.out
    assert [line.split()[0] for line in first.out.splitlines()[:3]] == ["00-start", "01-prune", "02-cluster"]
    made = file.read_bytes()
    assert sottovoce("compress", path, "--run", tmp_path / "run").out == first.out
    assert file.read_bytes() == made


def test_inspect_shows_every_tensor_and_all_bytes(sottovoce: Callable, model: Path) -> None:
    shown = sottovoce("inspect", model)
    assert (shown.status, shown.err) == (0, "")
    told = json.loads(sottovoce("inspect", "--json", model).out)
    assert told["bytes"] == model.stat().st_size
    assert told["meta"]["config"]["hidden"] == 8
    for row in told["tensors"]:
        assert row["name"] in shown.out
        assert row["note"] in shown.out
    header = told["bytes"] - sum(row["bytes"] for row in told["tensors"])
    assert f"{told['bytes']} bytes in all, {header} of them the header" in shown.out


def test_inspect_shows_costs_and_what_was_removed(sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    from sottovoce.artefact import Artefact
    from sottovoce.artefact.file import load, save
    from sottovoce.artefact.shrink import shrink
    from sottovoce.artefact.stored import Dense

    whole = sottovoce("inspect", model).out
    assert "lstm" in whole and f"{4 * 8 * (161 + 8)}" in whole and f"{161 * 8}" in whole
    assert f"{100 * (4 * 8 * (161 + 8) + 161 * 8) / 1e6:.2f} million multiply-adds per second of audio, " in whole
    artefact = load(model)
    tensors = {name: Dense(stored.to_array().copy()) for name, stored in artefact.tensors.items()}
    tensors["output.weight"].values[:, 3] = 0
    tensors["lstm.weight_hh_l0"].values[:, 3] = 0
    save(shrink(Artefact(artefact.graph, tensors, artefact.meta)), tmp_path / "small.sotto")
    outcome = sottovoce("inspect", tmp_path / "small.sotto")
    assert (outcome.status, outcome.err) == (0, "") and "161x7 of 161x8" in outcome.out
    told = json.loads(sottovoce("inspect", "--json", tmp_path / "small.sotto").out)
    assert [node["dense"] for node in told["multiply_adds_per_frame"]] == [4 * 7 * (161 + 7), 161 * 7]


def test_words_of_a_file_are_shown_as_they_are(sottovoce: Callable, tmp_path: Path) -> None:
    from sottovoce.artefact import Artefact
    from sottovoce.artefact.file import save
    from sottovoce.packing import pack

    packed = pack(toy.built("lstm", {"hidden": 2, "layers": 1}), {"name": "[/bold] [red]"})
    notes = {"lstm.bias_hh_l0": "[/] no markup"}
    save(Artefact(packed.graph, packed.tensors, packed.meta | {"not_compressed": notes}), tmp_path / "odd.sotto")
    outcome = sottovoce("inspect", tmp_path / "odd.sotto")
    assert outcome.status == 0 and outcome.out.startswith("[/bold] [red]: ") and "[/] no markup" in outcome.out


def test_export_writes_onnx(sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    target = tmp_path / "model.onnx"
    outcome = sottovoce("export", model, target)
    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(f"{target}: {target.stat().st_size} bytes\n")
    onnx.checker.check_model(onnx.load(target))


@pytest.mark.parametrize("options", [(), ("--int8",)])
def test_export_writes_a_recognizer_and_its_symbols(options: tuple[str, ...], sottovoce: Callable,
                                                    tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from sottovoce.artefact.file import save
    from sottovoce.packing import pack

    settings, target = toy.RECOGNIZER_SETTINGS["conformer"][1], tmp_path / "there" / "model.onnx"
    meta = {"sample_rate": 16_000, "symbols": ["<blk>", "a", "b", "c"]}
    save(pack(toy.built("conformer", settings), meta), tmp_path / "model.sotto")
    outcome = sottovoce("export", tmp_path / "model.sotto", target, *options)
    assert (outcome.status, outcome.err) == (0, "")
    tokens = tmp_path / "there" / "tokens.txt"
    assert outcome.out.startswith(f"{target}: {target.stat().st_size} bytes\n{tokens}: its symbols\n")
    assert tokens.read_text() == "<blk> 0\na 1\nb 2\nc 3\n"
    onnx.checker.check_model(onnx.load(target))


def test_the_sample_is_a_sound_corpus(sottovoce: Callable) -> None:
    outcome = sottovoce("data", "summary", toy.ROOT / "sample" / "speech.jsonl")
    assert (outcome.status, outcome.err) == (0, "")
    assert "No problems found." in outcome.out and "train" in outcome.out


def test_enhance_keeps_the_tree_of_a_folder(sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    waveform, rate = sf.read(SPEECH, frames=24_000)
    for name in ("a.wav", "deep/b.flac"):
        sf.write(tmp_path / "in" / name, waveform, rate)
    outcome = sottovoce("enhance", tmp_path / "in", "-o", tmp_path / "out", "-m", model)
    assert (outcome.status, outcome.err) == (0, "")
    done = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert [str(path.relative_to(tmp_path / "out")) for path in done] == ["a.wav", "deep/b.flac"]
    one, two = (sf.read(path)[0] for path in done)
    np.testing.assert_array_equal(one, two)
    assert len(one) == len(waveform) and np.abs(one - waveform).max() > 0.001


def test_a_pipe_gives_what_a_file_gives(sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    waveform, rate = sf.read(SPEECH, frames=16_123, dtype="int16")
    assert rate == 16_000
    sf.write(tmp_path / "in.wav", waveform, rate)
    assert sottovoce("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav", "-m", model).status == 0
    command = [SCRIPT, "enhance", "-", "-m", model]
    done = subprocess.run(command, input=waveform.tobytes(), capture_output=True, check=True)
    assert done.stderr == b""
    piped = np.frombuffer(done.stdout, "<i2").astype(int)
    assert np.abs(piped - sf.read(tmp_path / "out.wav", dtype="int16")[0]).max() <= 1
