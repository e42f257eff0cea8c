"""What the engine's header and its document promise, beside what it computes."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import toy
from building import ENGINE, SANITIZED, SOURCES, compiled
from test_engine import RECOGNIZERS, conditions, noise, packed

import engine
from sottovoce.export.c import HEADER

STREAMING = [("conformer", toy.STREAMING_SETTINGS[3])]
WHOLE = [case for case in toy.MODEL_CASES if case not in toy.CAUSAL_CASES] + RECOGNIZERS
AROUND = """
extern sv_model *model;
extern sv_session *session;
extern float samples[], scores[];
size_t read_samples(float *to, size_t count);
void write_samples(const float *from, size_t count);
void decode(const float *scores, size_t frames);
"""
TAKERS = ("malloc", "calloc", "realloc", "aligned_alloc")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A file of every toy model."""
    folder = tmp_path_factory.mktemp("models")
    for number, case in enumerate(toy.MODEL_CASES + RECOGNIZERS + STREAMING):
        (folder / f"{number:02}-{case[0]}.sotto").write_bytes(packed(*case))
    return sorted(folder.iterdir())


def ends_well(program: Path, *arguments: Path) -> None:
    done = subprocess.run([program, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_allocated_once_a_session_has_begun(files: list[Path]) -> None:
    wrapped = "-Wl," + ",".join(f"--wrap={name}" for name in TAKERS)
    ends_well(compiled(["tests/allocations.c", *SOURCES], "-O1", wrapped), *files)


def test_two_threads_say_what_one_says_alone(files: list[Path]) -> None:
    program = compiled(["tests/threads.c", *SOURCES], "-g", "-O1", "-pthread", "-fsanitize=thread")
    ends_well(program, *files[::3])                  # a sanitized step takes long


def test_null_is_refused_and_does_no_harm(files: list[Path]) -> None:
    ends_well(compiled(["tests/nulls.c", *SOURCES], *SANITIZED), files[0])


@pytest.mark.parametrize(("name", "settings"), WHOLE)
@pytest.mark.parametrize("precision", [engine.FLOAT32, engine.INT8])
def test_what_is_run_whole_recovers_from_anything(
    library: engine.Engine, name: str, settings: dict[str, object], precision: int
) -> None:
    session = library.open(packed(name, settings), precision).start(*conditions(name))
    waveform = noise(4001)
    fresh = session.run(waveform)
    for bad in (np.nan, np.inf, -np.inf, 3e38):
        spoilt = waveform.copy()
        spoilt[::3] = bad
        assert np.isfinite(session.run(spoilt)).all()
        assert np.array_equal(session.run(waveform), fresh)
        told = [np.where(np.arange(len(voice)) % 3, voice, np.float32(bad)) for voice in conditions(name)]
        again = session.model.start(*told)
        assert np.isfinite(again.run(waveform)).all()


def test_the_examples_of_the_document_compile(tmp_path: Path) -> None:
    examples = re.findall(r"```c\n(.*?)```", (toy.ROOT / "docs" / "engine.md").read_text(), re.DOTALL)
    assert examples
    parts = ["#include <stdio.h>\n", *re.findall(r"^#include.*\n", "".join(examples), re.MULTILINE), AROUND]
    for number, example in enumerate(examples):
        code = re.sub(r"^#include.*\n", "", example, flags=re.MULTILINE)
        parts.append(f"int example{number}(void);\nint example{number}(void) {{\n{code}return 0;\n}}\n")
    (tmp_path / "examples.c").write_text("".join(parts))
    (tmp_path / "model.h").write_text(HEADER)
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only", f"-I{tmp_path}",
                    f"-I{ENGINE}/include", tmp_path / "examples.c"], check=True)
