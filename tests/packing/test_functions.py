"""Whatever spelling a model has for a step, its file computes the same; what the format has nothing for is named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sottovoce.errors import SottovoceError
from sottovoce.models.frontend import Frames, OverlapAdd
from sottovoce.packing import pack
from sottovoce.run import on_arrays
from sottovoce.runtime import Session

SIZE = 16
Steps = Callable[["Framed", Tensor], Tensor]


class Framed(nn.Module):
    """Frames of a waveform [batch, frames, SIZE], some steps, and the waveform again."""

    def __init__(self, config: tuple[Steps, nn.Module | None]) -> None:
        super().__init__()
        self.config = config
        self.steps, self.part = config
        self.frames, self.overlap_add = Frames("hann_sqrt", SIZE, SIZE // 2), OverlapAdd("hann_sqrt", SIZE, SIZE // 2)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.overlap_add(self.steps(self, self.frames(waveform)), waveform)


def framed(steps: Steps, part: nn.Module | None = None) -> Framed:
    torch.manual_seed(0)
    return Framed((steps, part)).eval()


SAME: dict[str, tuple[Steps, nn.Module | None]] = {
    "with numbers": (lambda model, x: 2 - 3 * (x * 0.5 + 1) / 4 - 1, None),
    "with numbers, by name": (lambda model, x: torch.sub(1, x.mul(2).add(1).sub(0.5).div(3)), None),
    "of two": (lambda model, x: torch.div(x * (x + 1), torch.add(x.sigmoid(), 1)).sub(x), None),
    "functions": (lambda model, x: F.relu(torch.tanh(x)) + F.elu(x) + F.silu(x) + torch.sigmoid(x), None),
    "methods": (lambda model, x: x.relu().log1p() + x.tanh() + x.float().sigmoid(), None),
    "in place": (lambda model, x: F.relu(x + 1, inplace=True), None),
    "log_softmax": (lambda model, x: F.log_softmax(x, dim=-1) + x.log_softmax(-1), None),
    "joined": (lambda model, x: torch.cat([x[..., :8], x[..., 4:12]], dim=-1), None),
    "turned": (lambda model, x: torch.stack([x, -1 * x], dim=-1).transpose(-2, -1).flatten(-2)[..., 8:24], None),
    "spread": (lambda model, x: x.unflatten(-1, (-1, 4)).transpose(-1, -2).flatten(-2, -1), None),
    "one more axis": (lambda model, x: (x[..., None] * x.unsqueeze(-1)).squeeze(-1), None),
    "modules": (lambda model, x: model.part(x), nn.Sequential(
        nn.Linear(SIZE, 8), nn.ReLU(inplace=True), nn.Linear(8, 9, bias=False), nn.ELU(), nn.LayerNorm(9), nn.SiLU(),
        nn.Linear(9, 8), nn.Tanh(), nn.PReLU(), nn.Dropout(), nn.Linear(8, SIZE), nn.Sigmoid())),
    "LSTM": (lambda model, x: model.part(x)[0], nn.LSTM(SIZE, SIZE, 2, batch_first=True, dropout=0.5)),
    "GRU": (lambda model, x: model.part(x)[0], nn.GRU(SIZE, SIZE // 2, batch_first=True, bidirectional=True)),
}


@pytest.mark.parametrize("name", SAME)
def test_the_file_computes_what_the_model_does(name: str) -> None:
    model = framed(*SAME[name])
    waveform = np.random.default_rng(0).normal(0, 0.5, 200).astype(np.float32)
    expected = on_arrays(model)(waveform)
    assert np.abs(Session(pack(model, {"sample_rate": 16_000})).run(waveform) - expected).max() < 1e-5


REFUSED: dict[str, tuple[Steps, nn.Module | None, str]] = {
    "a function": (lambda model, x: torch.fft.rfft(x).abs(), None, "fft_rfft(frames): has no place in the file format"),
    "a method": (lambda model, x: x.cumsum(1), None, "cumsum(frames, 1): has no place in the file format yet"),
    "an axis from the front": (lambda model, x: torch.cat([x, x], 1), None, "has no place in the file format yet"),
    "an option": (lambda model, x: torch.add(x, x, alpha=2), None, "add(frames, frames, 2): has no place in the file"),
    "values by name": (lambda model, x: torch.cat(tensors=[x, x], dim=-1), None, "cat([frames, frames], -1): has no"),
    "inputs by name": (lambda model, x: model.part(input=x), nn.Linear(SIZE, SIZE),
                       "part: expected its inputs by position, got input by name"),
    "a number divided": (lambda model, x: 1 / x, None, "truediv(1, frames): has no place in the file format yet"),
    "divided by nothing": (lambda model, x: x / 0, None, "truediv(frames, 0): has no place in the file format yet"),
    "a weight": (lambda model, x: x * model.part.weight, nn.Linear(SIZE, SIZE),
                 "part.weight(): has no place in the file format yet"),
    "a layer": (lambda model, x: model.part(x.transpose(-1, -2)), nn.Conv1d(SIZE, SIZE, 1),
                "part: Conv1d has no place in the file format yet; there is sottovoce.models.layers.TimeConv"),
    "a transform": (lambda model, x: torch.stft(x, 8), None, "there is sottovoce.models.frontend.Stft"),
    "frames that come second": (lambda model, x: model.part(x)[0], nn.LSTM(SIZE, SIZE),
                                "part: expected batch_first=True, biases, no projection and no states to begin with"),
    "states to begin with": (lambda model, x: model.part(x, x)[0], nn.GRU(SIZE, SIZE, batch_first=True), "no states"),
    "states after": (lambda model, x: model.part(x)[1], nn.GRU(SIZE, SIZE, batch_first=True), "getitem(part, 1): has"),
    "another ELU": (lambda model, x: model.part(x), nn.ELU(0.5), "part: expected alpha=1, got 0.5"),
    "a norm of two axes": (lambda model, x: model.part(x), nn.LayerNorm((3, SIZE)), "expected the last axis alone"),
    "a norm without weights": (lambda model, x: model.part(x), nn.LayerNorm(SIZE, elementwise_affine=False),
                               "expected the last axis alone, with a weight and a bias"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_place_is_named_with_its_line(name: str) -> None:
    steps, part, message = REFUSED[name]
    with pytest.raises(SottovoceError) as refused:
        pack(framed(steps, part))
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"{Path(__file__)}, line {steps.__code__.co_firstlineno}: ")


def test_what_looks_at_values_is_named() -> None:
    def looks(model: Framed, x: Tensor) -> Tensor:
        return x if x.mean() > 0 else -x

    with pytest.raises(SottovoceError, match="Framed: expected steps that do not depend on the values") as refused:
        pack(framed(looks))
    assert f"{Path(__file__)}, line {looks.__code__.co_firstlineno + 1}: TraceError" in str(refused.value)
