"""A model of a user's own goes in as the page says, and a file that cannot be used is named with its line."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import soundfile as sf
import torch
import torch.nn.functional as F
import toy
from torch import Tensor, nn

from sottovoce.beginning import trained
from sottovoce.errors import FormatError
from sottovoce.models import MODELS, ModelKind
from sottovoce.models.own import own_models
from sottovoce.recipe import ModelSettings

PAGE = (toy.ROOT / "docs" / "your-own-model.md").read_text()
CODE = re.search(r"```python\n(# mine.py\n.*?)```", PAGE, re.DOTALL).group(1)       # type: ignore[union-attr]
FROM_PYTHON = re.search(r"## From Python\n\n```python\n(.*?)```", PAGE, re.DOTALL).group(1)     # type: ignore[union-attr]
BLOCKS = dict(re.findall(r"```toml\n# (mine.toml)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def mine(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Writes mine.py; what it adds to our table is taken away at the end."""
    before, paths = dict(MODELS), [*sys.path]

    def write(code: str) -> Path:
        (tmp_path / "mine.py").write_text(code)
        return tmp_path / "mine.py"

    yield write
    MODELS.clear()
    MODELS.update(before)
    sys.path[:] = paths


class AsTrained(nn.Module):
    """The network of the page between magnitudes and gains, as it would be without us: channels first."""

    def __init__(self, channels: int = 16, hidden: int = 128) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, (2, 3), (1, 2))
        self.norm = nn.BatchNorm2d(channels)
        self.lstm = nn.LSTM(128 * channels, hidden, num_layers=2, batch_first=True)
        self.mask = nn.Linear(hidden, 257)

    def forward(self, magnitude: Tensor) -> Tensor:
        image = F.pad(magnitude.log1p().unsqueeze(1), (0, 0, 1, 0))
        image = torch.relu(self.norm(self.conv(image)))
        hidden, _ = self.lstm(image.transpose(1, 2).flatten(2))
        return torch.sigmoid(self.mask(hidden))


@pytest.mark.parametrize("saved", [
    lambda state: state,
    lambda state: {"epoch": 7, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}},
    lambda state: {f"net.{name}": tensor.half() for name, tensor in state.items()},
])
def test_a_checkpoint_of_torch_gives_the_gains_it_was_trained_to(saved: Callable, mine: Callable,
                                                                 tmp_path: Path) -> None:
    kind = own_models(mine(CODE))["crn"]
    MODELS["crn"] = kind
    torch.manual_seed(0)
    model = AsTrained()
    model(torch.rand(2, 9, 257))                         # for the norm's statistics
    torch.save(saved(model.half().float().state_dict()), tmp_path / "mine.pt")
    ours = trained(ModelSettings("crn", kind.config()), tmp_path / "mine.pt").eval()
    magnitude = torch.rand(2, 30, 257)
    with torch.no_grad():
        assert torch.allclose(ours.gain(magnitude), model.eval()(magnitude), atol=1e-5)      # type: ignore[operator]


def test_the_page_goes_from_checkpoint_to_enhanced_file(mine: Callable, sottovoce: Callable, recipe: Callable,
                                                        tmp_path: Path) -> None:
    code = mine(CODE)
    torch.save(AsTrained().state_dict(), tmp_path / "mine.pt")
    plain = re.search(r"\[model\]\n.*?\n(?=\n\[task\])", recipe("").read_text(), re.DOTALL).group()   # type: ignore[union-attr]
    path = recipe(toy.stage_table("prune") + toy.stage_table("distill"), (plain, BLOCKS["mine.toml"]),
                  ('["si_sdr"]', "[]"))
    assert "model crn: 1" in sottovoce("validate", path, "--models", code).out
    assert sottovoce("compress", path, "--models", code, "--run", tmp_path / "run").status == 0
    MODELS.pop("crn")
    noise = 0.1 * torch.randn(16_000)
    sf.write(tmp_path / "noisy.wav", noise.numpy(), 16_000)
    done = sottovoce("enhance", tmp_path / "noisy.wav", "-o", tmp_path / "out.wav", "-m", tmp_path / "run/model.sotto")
    assert done.status == 0 and sf.info(tmp_path / "out.wav").frames == 16_000
    assert "unknown 'crn', did you mean 'gcrn'? (one of your own needs --models" in sottovoce("validate", path).err


def test_it_goes_from_python_as_the_page_says(mine: Callable, recipe: Callable, tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    mine(CODE)
    settings = recipe(toy.stage_table("prune"), ('name = "lstm"\nhidden = 8\nlayers = 2', 'name = "crn"\nhidden = 8'),
                      ('["si_sdr"]', "[]"))
    settings.rename(tmp_path / "mine.toml")
    monkeypatch.chdir(tmp_path)
    exec(FROM_PYTHON, {})
    assert (tmp_path / "runs" / "mine" / "model.sotto").is_file()


def test_a_file_may_import_what_lies_beside_it(mine: Callable, tmp_path: Path) -> None:
    (tmp_path / "beside_mine.py").write_text(CODE)
    assert [*own_models(mine("from beside_mine import MODELS"))] == ["crn"]


HEAD = """import dataclasses, torch
from torch import nn
from sottovoce.models import MODELS as OURS, ModelKind
from sottovoce.models.frontend import Frames, OverlapAdd
@dataclasses.dataclass(frozen=True)
class Config:
    units: int = 320
"""
BAD_FILES = {
    "x = (": "SyntaxError: '(' was never closed",
    "import nothing_of_that_name": "mine.py, line 1: ModuleNotFoundError: No module named 'nothing_of_that_name'",
    "x = 1": "expected a table MODELS of its own, name -> ModelKind, got none",
    "from sottovoce.models import MODELS": "expected a table MODELS of its own, name -> ModelKind, got {",
    "MODELS = {}": "expected a table MODELS of its own, name -> ModelKind, got {}",
    "MODELS = {'mine': 1}": "MODELS['mine']: expected a ModelKind, got 1",
    f"{HEAD}MODELS = {{'lstm': OURS['lstm']}}": "expected a new name, got 'lstm', which sottovoce has already",
    f"{HEAD}MODELS = {{'mine': ModelKind(dict, nn.Module)}}": "expected a dataclass of settings, got dict",
    f"{HEAD}MODELS = {{'mine': ModelKind(Config, Config)}}": "MODELS['mine']: expected an nn.Module, got Config",
}


@pytest.mark.parametrize("code", BAD_FILES)
def test_a_file_that_cannot_be_used_is_named(code: str, mine: Callable, sottovoce: Callable, recipe: Callable) -> None:
    path = mine(code)
    (line,) = sottovoce("validate", recipe(""), "--models", path).complaints
    assert line.startswith(f"{path}: ") and BAD_FILES[code] in line


@pytest.mark.parametrize(("name", "message"), [
    ("none.py", "expected a Python file with a table MODELS, got no such file"),
    ("text.txt", "expected a Python file, its name ending in .py"),
])
def test_what_is_no_python_file_is_named(name: str, message: str, sottovoce: Callable, recipe: Callable,
                                         tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("MODELS = {}")
    outcome = sottovoce("validate", recipe(""), "--models", tmp_path / name)
    assert outcome.complaints == [f"{tmp_path / name}: {message}"]


MODEL = f"""{HEAD}class Mine(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.frames, self.overlap_add = Frames("hann_sqrt", 320, 160), OverlapAdd("hann_sqrt", 320, 160)
        self.layer = nn.Linear(config.units, 320)
    def forward(self, waveform):
        x = self.frames(waveform)
        y = self.layer(x)
        return self.overlap_add(y, waveform)
MODELS = {{"mine": ModelKind(Config, Mine)}}
"""
BAD_MODELS: list[tuple[str, str, str]] = [               # line of MODEL, what stands there, what is said of it
    ("        super().__init__()", "", "Mine: {file}, line 12: AttributeError: cannot assign module before"),
    ("        self.config = config", "", "Mine: expected its settings kept as self.config"),
    ("        self.config = config", "        self.config = Config()", "Mine: expected its settings kept as self."),
    ("        y = self.layer(x)", "        y = self.layer(x[..., :5])",
     "model mine: {file}, line 16: RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
    ("        y = self.layer(x)", "        y = self.layer(x.cumsum(1))",
     "{file}, line 16: cumsum(frames, 1): has no place in the file format yet"),
    ("        y = self.layer(x)", "        y = self.layer(x) if x.sum() > 0 else x",
     "Mine: expected steps that do not depend on the values, to have them in a file, got {file}, line 16: TraceError"),
    ("        y = self.layer(x)", "        y = self.layer(x); y = nn.functional.relu(y, inplace=True) + y",
     "model mine: expected its output of its file as well, got one "),
    ("        return self.overlap_add(y, waveform)", "        return self.overlap_add(y, waveform)[:, None]",
     "{file}, line 17: getitem(overlap_add, "),
    ("        return self.overlap_add(y, waveform)", "        return {'voice': self.overlap_add(y, waveform)}",
     "model mine: expected a tensor, or a tuple that begins with one, got dict"),
]


@pytest.mark.parametrize(("line", "instead", "message"), BAD_MODELS)
def test_a_model_that_cannot_be_used_is_named(line: str, instead: str, message: str, mine: Callable,
                                              sottovoce: Callable, recipe: Callable) -> None:
    assert f"{line}\n" in MODEL
    path = mine(MODEL.replace(f"{line}\n", f"{instead}\n"))
    settings = recipe("", ('name = "lstm"\nhidden = 8\nlayers = 2', 'name = "mine"'))
    (complaint,) = sottovoce("validate", settings, "--models", path).complaints
    assert complaint.startswith(message.format(file=path))


@pytest.mark.parametrize(("saved", "message"), [
    (ModelKind, "expected what torch.save makes of model.state_dict(), got other objects"),
    ({"epoch": 1}, "expected a state dict, alone or with other things, got 0 in: epoch"),
    ({"model": {"w": torch.zeros(1)}, "ema": {"w": torch.zeros(1)}}, "got 2 in: model, ema"),
    ([1, 2], "got 0 in: list"),
])
def test_a_checkpoint_without_one_state_dict_is_named(saved: Any, message: str, tmp_path: Path) -> None:
    torch.save(saved, tmp_path / "mine.pt")
    with pytest.raises(FormatError) as refused:
        trained(ModelSettings("lstm", MODELS["lstm"].config(hidden=8)), tmp_path / "mine.pt")
    assert str(refused.value).startswith(f"{tmp_path / 'mine.pt'}: ") and message in str(refused.value)
