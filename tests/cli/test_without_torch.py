"""What has been compressed is used where nothing of what made it is installed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

HEAVY = (
    "torch", "lhotse", "accelerate", "safetensors", "scipy", "matplotlib", "onnx", "onnxruntime", "pesq", "pystoi",
    "fast_bss_eval", "speechmos", "tensorboard", "jinja2", "PIL",
)
# The command in a process where these packages cannot be imported, as if they had never been installed.
DOOR = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from sottovoce.cli import main
main()
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", DOOR, *map(str, arguments)], capture_output=True, text=True)


def test_enhance_runs(model: Path, tmp_path: Path) -> None:
    sf.write(tmp_path / "in.wav", 0.1 * np.random.default_rng(0).standard_normal(30_000), 44_100)
    done = run("enhance", tmp_path / "in.wav", "-o", tmp_path / "out.wav", "-m", model)
    assert (done.returncode, done.stderr) == (0, "")
    assert sf.info(tmp_path / "out.wav").frames == 30_000


def test_inspect_runs(model: Path) -> None:
    done = run("inspect", model)
    assert (done.returncode, done.stderr) == (0, "") and "lstm.weight_ih_l0" in done.stdout


def test_models_are_listed() -> None:
    done = run("models")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout


@pytest.mark.parametrize("command", ["--version", "--help", "compress --help", "recipes --help", "data summary --help"])
def test_help_needs_nothing(command: str) -> None:
    done = run(*command.split())
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("command", "message"), [
    ("compress r.toml", "is not installed; compressing needs: pip install 'sottovoce[train]'"),
    ("data summary .", "is not installed; compressing needs: pip install 'sottovoce[train]'"),
    ("export m.sotto m.onnx", "is not installed; exporting needs: pip install 'sottovoce[onnx]'"),
])
def test_what_is_missing_is_said_with_how_to_get_it(command: str, message: str) -> None:
    done = run(*command.split())
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1


def test_the_runtime_and_the_door_take_nothing_heavy_along() -> None:
    code = "import sys, sottovoce.runtime, sottovoce.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {*HEAVY} & {*done.stdout.split()}
