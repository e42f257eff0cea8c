"""What `export c` writes compiles where nothing is installed and does what `enhance` does, on any CPU."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import tools
import toy

from sottovoce.artefact.file import save
from sottovoce.export.c import save_c
from sottovoce.packing import pack
from sottovoce.runtime import CompiledSession, load

STRICT = ("-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-O1")


@dataclass(frozen=True)
class Compiler:
    """A compiler, the Debian package that has it, and what runs its programs here."""

    program: str
    package: str
    options: tuple[str, ...] = ()
    emulator: str | None = None

    def run(self, program: Path, *arguments: Path) -> None:
        emulator = [tools.program(self.emulator, "qemu-user")] if self.emulator else []
        subprocess.run([*emulator, program, *arguments], check=True)


COMPILERS = {
    "gcc": Compiler("gcc", "gcc"),
    "clang": Compiler("clang", "clang"),
    "arm64": Compiler("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", ("-static",), "qemu-aarch64"),
    "armv7": Compiler("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf", ("-static", "-mfpu=neon"), "qemu-arm"),
}


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c") / "model"
    save_c(model.read_bytes(), folder)
    return folder


@pytest.fixture(scope="module")
def built(exported: Path) -> Path:
    """The folder in which CMake built it."""
    cmake, build = tools.program("cmake", "cmake"), exported / "build"
    for command in (["-S", exported, "-B", build], ["--build", build, "--parallel", "2"]):
        subprocess.run([cmake, *command], check=True, stdout=subprocess.DEVNULL)
    return build


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_the_program_does_what_enhance_does(subtype: str, sottovoce: Callable, model: Path, built: Path,
                                            tmp_path: Path) -> None:
    tools.engine()
    noisy = 0.2 * np.random.default_rng(0).standard_normal(10_007)
    sf.write(tmp_path / "in.wav", noisy, 16_000, subtype=subtype)
    wanted = sottovoce("enhance", tmp_path / "in.wav", "-o", tmp_path / "wanted.wav", "-m", model, "--engine",
                       "compiled", "--precision", "int8")
    assert (wanted.status, wanted.err) == (0, "")
    subprocess.run([built / "filter", tmp_path / "in.wav", tmp_path / "out.wav"], check=True)
    assert sf.info(tmp_path / "out.wav").subtype == subtype
    ours, theirs = (sf.read(tmp_path / name, dtype="float32")[0] for name in ("out.wav", "wanted.wav"))
    assert ours.shape == theirs.shape == noisy.shape and np.abs(theirs).max() > 0.01
    assert np.abs(ours - theirs).max() <= 1.01 * 2**-15


def test_of_a_recognizer_it_says_the_shape_of_the_features(sottovoce: Callable, built: Path, tmp_path: Path) -> None:
    recognizer, folder = tmp_path / "recognizer.sotto", tmp_path / "c"
    meta = {"sample_rate": 16_000, "symbols": ["<blk>", "a", "b", "c", "d"]}
    save(pack(toy.built("conformer", toy.RECOGNIZER_SETTINGS["conformer"][0]), meta), recognizer)
    assert sottovoce("export", "c", recognizer, "-o", folder).status == 0
    subprocess.run(["cc", f"-I{folder}/engine/include", folder / "filter.c", folder / "model.c",
                    built / "engine" / "libsottovoce.a", "-lm", "-o", tmp_path / "filter"], check=True)
    sf.write(tmp_path / "in.wav", np.zeros(16_000), 16_000)
    frames, symbols = load(recognizer).run(np.zeros(16_000)).shape
    done = subprocess.run([tmp_path / "filter", tmp_path / "in.wav"], check=True, capture_output=True, text=True)
    assert done.stdout == f"{frames} x {symbols}\n"


@pytest.mark.parametrize("which", COMPILERS)
def test_every_compiler_takes_it_and_its_program_says_the_same(which: str, exported: Path, model: Path,
                                                               tmp_path: Path) -> None:
    tools.engine()
    compiler = COMPILERS[which]
    subprocess.run([tools.program(compiler.program, compiler.package), *STRICT, *compiler.options,
                    f"-I{exported}/engine/include", f"-I{exported}/engine/src", *exported.glob("*.c"),
                    *exported.glob("engine/src/**/*.c"), "-lm", "-o", tmp_path / "filter"], check=True)
    noisy = (0.2 * np.random.default_rng(0).standard_normal(10_007)).astype(np.float32)
    sf.write(tmp_path / "in.wav", noisy, 16_000, subtype="FLOAT")
    compiler.run(tmp_path / "filter", tmp_path / "in.wav", tmp_path / "out.wav")
    ours = sf.read(tmp_path / "out.wav", dtype="float32")[0]
    session = CompiledSession(model.read_bytes(), "int8", instructions="portable")
    theirs = np.concatenate([*session.stream([noisy[None]])], axis=1)[0]
    off = np.abs(ours - theirs) / np.abs(theirs).max()
    # Sums of whole numbers are the same everywhere, floats but for their last bits: which may, seldom, be those that
    # take a value to the next of its 8-bit codes.
    assert np.quantile(off, 0.9) <= 1e-6 and off.max() <= 1e-2


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
