"""What `export c` writes compiles where nothing is installed and does what `enhance` does."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import toy

from sottovoce.artefact.file import save
from sottovoce.packing import pack

STRICT = ("-std=c11", "-Wall", "-Wextra", "-Werror")
COMPILERS = {
    "gcc": ("gcc", ()), "clang": ("clang", ()),
    "gcc-aarch64-linux-gnu": ("aarch64-linux-gnu-gcc", ()),
    "gcc-arm-linux-gnueabihf": ("arm-linux-gnueabihf-gcc", ("-mfpu=neon",)),
}


def compiled(folder: Path, package: str = "gcc") -> Path:
    """The program of an exported folder, by the compiler of a Debian package."""
    compiler, options = COMPILERS[package]
    if not shutil.which(compiler):
        pytest.skip(f"{package} is not installed")
    engine = [*sorted(folder.glob("engine/src/*.c")), *sorted(folder.glob("engine/src/kernels/*.c"))]
    command = [compiler, *STRICT, *options, "-O1", f"-I{folder}/engine/include", f"-I{folder}/engine/src",
               folder / "filter.c", folder / "model.c", *engine, "-lm", "-o", folder / f"filter-{package}"]
    subprocess.run(command, check=True)
    return folder / f"filter-{package}"


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "recognizer.sotto"
    meta = {"sample_rate": 16_000, "symbols": ["<blk>", "a", "b", "c", "d"]}
    save(pack(toy.built("conformer", toy.RECOGNIZER_SETTINGS["conformer"][0]), meta), path)
    return path


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_the_program_does_what_enhance_does(subtype: str, sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("sottovoce._engine", reason="the engine was not compiled")
    assert sottovoce("export", "c", model, "-o", tmp_path / "c").status == 0
    noisy = 0.2 * np.random.default_rng(0).standard_normal(10_007)
    sf.write(tmp_path / "in.wav", noisy, 16_000, subtype=subtype)
    wanted = sottovoce("enhance", tmp_path / "in.wav", "-o", tmp_path / "wanted.wav", "-m", model, "--engine",
                       "compiled", "--precision", "int8")
    assert (wanted.status, wanted.err) == (0, "")
    subprocess.run([compiled(tmp_path / "c"), tmp_path / "in.wav", tmp_path / "out.wav"], check=True)
    assert sf.info(tmp_path / "out.wav").subtype == subtype
    ours, theirs = (sf.read(tmp_path / name, dtype="float32")[0] for name in ("out.wav", "wanted.wav"))
    assert ours.shape == theirs.shape == noisy.shape and np.abs(theirs).max() > 0.01
    assert np.abs(ours - theirs).max() <= 1.01 * 2**-15


def test_of_a_recognizer_it_says_the_shape_of_the_features(sottovoce: Callable, recognizer: Path,
                                                           tmp_path: Path) -> None:
    pytest.importorskip("sottovoce._engine", reason="the engine was not compiled")
    assert sottovoce("export", "c", recognizer, "-o", tmp_path / "c").status == 0
    sf.write(tmp_path / "in.wav", np.zeros(16_000), 16_000)
    from sottovoce.runtime import load

    frames, symbols = load(recognizer).run(np.zeros(16_000)).shape
    done = subprocess.run([compiled(tmp_path / "c"), tmp_path / "in.wav"], check=True, capture_output=True, text=True)
    assert done.stdout == f"{frames} x {symbols}\n"


@pytest.mark.slow
@pytest.mark.parametrize("package", [package for package in COMPILERS if package != "gcc"])
def test_other_compilers_take_it(package: str, sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    assert sottovoce("export", "c", model, "-o", tmp_path / "c").status == 0
    assert compiled(tmp_path / "c", package).stat().st_size > model.stat().st_size


def test_it_is_a_new_folder_or_none(sottovoce: Callable, model: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "kept").touch()
    (tmp_path / "damaged.sotto").write_bytes(model.read_bytes()[:-1])
    for arguments, complaint in {
        (model, tmp_path / "full"): "expected a new or empty folder",
        (tmp_path / "damaged.sotto", tmp_path / "new"): "cut short",
    }.items():
        outcome = sottovoce("export", "c", arguments[0], "-o", arguments[1])
        assert outcome.status == 2 and len(outcome.complaints) == 1 and complaint in outcome.complaints[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["damaged.sotto", "full"]
