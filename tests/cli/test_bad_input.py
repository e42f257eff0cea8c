"""Every bad input gets one line that says what was wanted and what came, and exit status 2; the good ones are done."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile as sf
import toy

RATE = 16_000
NOISE = (0.1 * np.random.default_rng(0).standard_normal((RATE, 1))).astype(np.float32)
PRUNE = toy.stage_table("prune")


def complaint(outcome: Any) -> str:
    """The one line on stderr of a command that ends with status 2."""
    assert outcome.status == 2, outcome
    (line,) = outcome.complaints
    return line


# ---- audio -------------------------------------------------------------------------------------------------


def cut_flac(path: Path) -> None:
    sf.write(path, NOISE, RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_nan(path: Path) -> None:
    sf.write(path, np.where(np.arange(RATE) == 4_000, np.nan, NOISE[:, 0]), RATE, subtype="FLOAT")


BAD_AUDIO = {                # name -> what makes it, what is said of it
    "empty.wav": (Path.touch, "expected an audio file, got an empty one"),
    "no samples.wav": (lambda path: sf.write(path, NOISE[:0], RATE), "expected at least one sample, got none"),
    "text.wav": (lambda path: path.write_text("Dear diary"), "expected an audio file, got unreadable data (Format not"),
    "cut.flac": (cut_flac, "damaged after"),
    "nan.wav": (with_nan, "expected samples in -1..1, got nan at 0.250 s in channel 1"),
    "missing.wav": (lambda path: None, "expected an audio file, got no such file"),
    "missing": (lambda path: None, "expected an audio file, got no such file"),
    "silent folder": (Path.mkdir, "expected a folder with audio files, got none in it"),
}
GOOD_AUDIO = {               # name -> samples, rate
    "silent.wav": (0 * NOISE, RATE),
    "one sample.wav": (NOISE[:1], RATE),
    "clipped.wav": (np.sign(NOISE), RATE),
    "stereo.flac": (np.tile(NOISE[:3_000], 2), RATE),
    "eight.wav": (np.tile(NOISE[:3_000], 8), RATE),
} | {f"{rate}.wav": (NOISE[:4_000], rate) for rate in (8_000, 11_025, 22_050, 44_100, 48_000, 96_000)}


@pytest.mark.parametrize("name", BAD_AUDIO)
def test_bad_audio_is_refused(name: str, sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    make, message = BAD_AUDIO[name]
    source, target = tmp_path / name, tmp_path / "out"
    make(source)
    line = complaint(sottovoce("enhance", source, "-o", target, "-m", model))
    assert line.startswith(f"{source}: {message}")
    assert not target.exists() or not list(target.iterdir())


@pytest.mark.parametrize("name", GOOD_AUDIO)
def test_odd_audio_is_enhanced_and_its_output_fits(name: str, sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    samples, rate = GOOD_AUDIO[name]
    source, target = tmp_path / name, tmp_path / "out"
    sf.write(source, samples, rate)
    outcome = sottovoce("enhance", source, "-o", target, "-m", model)
    assert (outcome.status, outcome.err, outcome.out) == (0, "", f"{source} -> {target / name}\n")
    info = sf.info(target / name)
    assert (info.frames, info.channels, info.samplerate) == (*samples.shape, rate)


def test_in_a_batch_the_good_are_done_and_the_bad_are_listed(sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    folder, target = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    files = [name for name in BAD_AUDIO if "." in name and name != "missing.wav"]
    for name in files:
        BAD_AUDIO[name][0](folder / name)
    for name, (samples, rate) in GOOD_AUDIO.items():
        sf.write(folder / name, samples, rate)
    outcome = sottovoce("enhance", folder, tmp_path / "missing", "-o", target, "-m", model)
    assert outcome.status == 2
    named = [line.split(": ")[0] for line in outcome.complaints]
    assert sorted(named) == sorted([*(str(folder / name) for name in files), str(tmp_path / "missing")])
    assert sorted(path.name for path in target.rglob("*")) == sorted(GOOD_AUDIO)


@pytest.mark.parametrize(("options", "message"), [
    (["--wet", "1.5"], "wet: expected a share in 0..1, got 1.5"),
    (["--atten-lim", "-1"], "attenuation limit: expected 0 dB or more, got -1.0"),
    ([], "enhance: expected -o FILE or -o FOLDER, got none"),
])
def test_an_impossible_option_is_named(options: list[str], message: str, sottovoce: Callable, model: Path,
                                       tmp_path: Path) -> None:
    target = ["-o", tmp_path / "out"] if options else []
    assert complaint(sottovoce("enhance", tmp_path, "-m", model, *target, *options)) == message


# ---- models ------------------------------------------------------------------------------------------------


def flipped(data: bytes) -> bytes:
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


BAD_MODELS = {               # name -> what is done to the bytes of a good file, what is said of it
    "empty": (lambda data: b"", "expected a .sotto file"),
    "text": (lambda data: b"Dear diary, today I compressed nothing", "expected a .sotto file"),
    "truncated": (lambda data: data[:-100], "cut short"),
    "bit-flipped": (flipped, "damaged, expected the checksum "),
    "future": (lambda data: data[:4] + b"\x63" + data[5:], "expected format version 1 to 2, got 99: of a later"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
@pytest.mark.parametrize("command", ["inspect", "enhance", "export"])
def test_a_bad_model_is_refused(command: str, name: str, sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    spoil, message = BAD_MODELS[name]
    bad, target = tmp_path / "bad.sotto", tmp_path / "out"
    bad.write_bytes(spoil(model.read_bytes()))
    sf.write(tmp_path / "in.wav", NOISE, RATE)
    arguments = {
        "inspect": ["inspect", bad], "export": ["export", bad, target],
        "enhance": ["enhance", tmp_path / "in.wav", "-o", target, "-m", bad],
    }
    line = complaint(sottovoce(*arguments[command]))
    assert line.startswith(f"{bad}: ") and message in line
    assert not target.exists()


# ---- recipes, checkpoints, corpora -------------------------------------------------------------------------


def checkpoint_of(hidden: int, path: Path) -> str:
    safetensors.torch.save_file(toy.built("lstm", {"hidden": hidden, "layers": 2}).state_dict(), path, {"format": "pt"})
    return f'hidden = 8\ncheckpoint = "{path}"'


BAD_RECIPES = {              # what is wrong -> what makes of a good recipe this one, what is said of it
    "a misspelt key": (lambda at: ("ratio", "ratoi"),
                       "toy.toml: stage 1 (prune): unknown key 'ratoi', did you mean 'ratio'?"),
    "an impossible number": (lambda at: ("ratio = 0.5", "ratio = 1.5"),
                             "toy.toml: stage 1 (prune): ratio must be between 0 and 1, got 1.5"),
    "a wrong type": (lambda at: ("batch = 2", "batch = true"),
                     "toy.toml: task: batch: expected a whole number, got True"),
    "no TOML": (lambda at: ("[model]", "[model"), "toy.toml: not TOML"),
    "a pattern without a weight": (lambda at: ("ratio = 0.5", 'ratio = 0.5\nonly = "nothing"'),
                                   "stage 1 (prune): only: 'nothing' matches no weight; there are: lstm.weight_hh_l0"),
    "a checkpoint of another model": (
        lambda at: ("hidden = 8", checkpoint_of(16, at / "big.safetensors")),
        "big.safetensors: checkpoint of another model: lstm.weight_ih_l0 should be 32x161, got 64x161"),
    "a missing checkpoint": (lambda at: ("hidden = 8", 'hidden = 8\ncheckpoint = "none.safetensors"'),
                             "none.safetensors: no such checkpoint"),
    "a checkpoint of text": (lambda at: ("hidden = 8", 'hidden = 8\ncheckpoint = "toy.toml"'),
                             "toy.toml: expected a checkpoint, safetensors or of torch.save, got a damaged or other"),
    "a missing folder": (lambda at: (f"{toy.ROOT}/sample/rir.jsonl", f"{at}/nowhere"),
                         "nowhere: no such file or folder"),
    "a corpus without the split": (lambda at: ('rir.jsonl", where = { split = "train" }',
                                               'rir.jsonl", where = { split = "holiday" }'),
                                   "rir.jsonl: no clips where split = 'holiday'"),
}


@pytest.mark.parametrize("wrong", BAD_RECIPES)
@pytest.mark.parametrize("command", ["validate", "compress"])
def test_a_bad_recipe_is_refused_before_anything_is_done(command: str, wrong: str, sottovoce: Callable,
                                                         recipe: Callable, tmp_path: Path) -> None:
    change, message = BAD_RECIPES[wrong]
    path = recipe(PRUNE, change(tmp_path))
    options = ["--run", tmp_path / "run"] if command == "compress" else []
    assert message in complaint(sottovoce(command, path, *options))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["validate", "compress"])
def test_a_missing_recipe_is_named(command: str, sottovoce: Callable, tmp_path: Path) -> None:
    assert complaint(sottovoce(command, tmp_path / "none.toml")) == f"{tmp_path}/none.toml: no such recipe"


def test_a_bad_recipe_in_a_folder_does_not_hide_the_others(sottovoce: Callable, recipe: Callable,
                                                           tmp_path: Path) -> None:
    good = recipe(PRUNE)
    (tmp_path / "bad.toml").write_text("[model")
    outcome = sottovoce("recipes", tmp_path)
    assert complaint(outcome).startswith(f"{tmp_path}/bad.toml: not TOML")
    assert f"{good}  prune" in outcome.out and "iterate" in outcome.out
    assert "no such folder" in complaint(sottovoce("recipes", tmp_path / "nowhere"))


@pytest.mark.parametrize("damage", [b"{", b"[1]\n", b"\xff\xfe\x00\n"])
def test_a_damaged_ledger_is_named(damage: bytes, sottovoce: Callable, recipe: Callable, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "ledger.jsonl").write_bytes(damage)
    line = complaint(sottovoce("compress", recipe(PRUNE), "--run", tmp_path / "run"))
    assert line.startswith(f"{tmp_path}/run/ledger.jsonl, line 1: not a ledger row")


def test_a_run_that_failed_at_the_door_may_be_given_another_recipe(sottovoce: Callable, recipe: Callable,
                                                                   full_after: Callable, tmp_path: Path) -> None:
    full_after(2)
    assert "00-start" in complaint(sottovoce("compress", recipe(PRUNE), "--run", tmp_path / "run"))
    full_after(100)
    assert sottovoce("compress", recipe(""), "--run", tmp_path / "run").status == 0
    line = complaint(sottovoce("compress", recipe(PRUNE), "--run", tmp_path / "run"))
    assert line.startswith(f"{tmp_path}/run: holds a run of another recipe")


def test_a_run_in_the_way_of_a_file_is_named(sottovoce: Callable, recipe: Callable, tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    line = complaint(sottovoce("compress", recipe(PRUNE), "--run", tmp_path / "run"))
    assert line.startswith(f"{tmp_path}/run/recipe.toml: cannot be written: ")


def test_a_bad_file_of_a_corpus_is_listed(sottovoce: Callable, tmp_path: Path) -> None:
    sf.write(tmp_path / "good.wav", NOISE, RATE)
    for name in ("nan.wav", "cut.flac", "text.wav"):
        BAD_AUDIO[name][0](tmp_path / name)
    outcome = sottovoce("data", "summary", tmp_path)
    assert outcome.status == 2 and "3 problems" in outcome.out
    assert all(name in outcome.out for name in ("nan.wav", "cut.flac", "text.wav"))
    assert "no such file or folder" in complaint(sottovoce("data", "summary", tmp_path / "nowhere"))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_file_ends_training_in_one_line(workers: int, sottovoce: Callable, recipe: Callable,
                                              tmp_path: Path) -> None:
    for speaker in ("ann", "ben"):
        (tmp_path / "speech" / speaker).mkdir(parents=True)
        cut_flac(tmp_path / "speech" / speaker / "cut.flac")
    train = f'speech = {{ path = "{toy.ROOT}/sample/speech.jsonl", where = {{ split = "train" }} }}'
    path = recipe(toy.stage_table("train"), (train, f'speech = {{ path = "{tmp_path}/speech" }}'),
                  ("workers = 0", f"workers = {workers}"))
    line = complaint(sottovoce("compress", path, "--run", tmp_path / "run"))
    assert "cut.flac: expected audio, could not decode it" in line and "worker" not in line


# ---- a full disk -------------------------------------------------------------------------------------------


@pytest.fixture
def full_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets so many files be written; for the next one there is no room."""

    def limit(files: int) -> None:
        left = iter(range(files))

        def fsync(descriptor: int) -> None:
            if next(left, None) is None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", fsync)

    return limit


def test_a_run_goes_on_after_a_full_disk(
    sottovoce: Callable, recipe: Callable, full_after: Callable, tmp_path: Path
) -> None:
    path = recipe(PRUNE, ('["si_sdr"]', "[]"))
    assert sottovoce("compress", path, "--run", tmp_path / "whole").status == 0
    names = []
    for files in range(6):
        run = tmp_path / str(files)
        full_after(files)
        file, rest = complaint(sottovoce("compress", path, "--run", run)).split(": ", 1)
        assert rest == "cannot be written: No space left on device"
        assert not list(tmp_path.rglob("*.part"))
        names.append(str(Path(file).relative_to(run)))
        full_after(100)
        assert sottovoce("compress", path, "--run", run).status == 0
        assert (run / "model.sotto").read_bytes() == (tmp_path / "whole" / "model.sotto").read_bytes()
    start, prune = (f"stages/{stage}.safetensors" for stage in ("00-start", "01-prune"))
    assert names == ["recipe.toml", start, "ledger.jsonl", prune, "ledger.jsonl", "model.sotto"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only root can make a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_full_disk_for_real(small_disk: Path, sottovoce: Callable, model: Path, recipe: Callable,
                              tmp_path: Path) -> None:
    long, short = tmp_path / "long.wav", tmp_path / "short.wav"
    sf.write(long, np.tile(NOISE, (5, 1)), RATE)
    sf.write(short, NOISE[:9_000], RATE)
    outcome = sottovoce("enhance", long, short, "-o", small_disk / "out", "-m", model)
    assert complaint(outcome) == f"{small_disk}/out/long.wav: cannot be written: No space left on device"
    assert [path.name for path in (small_disk / "out").iterdir()] == ["short.wav"]
    line = complaint(sottovoce("compress", recipe(toy.stage_table("train")), "--run", small_disk / "run"))
    assert line.startswith(f"{small_disk}/run/") and line.endswith(": cannot be written: No space left on device")
    assert "out/short.wav" in {str(path.relative_to(small_disk)) for path in small_disk.rglob("*")}
    assert not list(small_disk.rglob("*.part"))
