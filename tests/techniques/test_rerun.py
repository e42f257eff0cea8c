"""Running a model again from one of its weights gives the loss that the whole model would give."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import toy
from torch import Tensor, nn

from sottovoce.data.batches import Batch
from sottovoce.errors import SottovoceError
from sottovoce.techniques.prune import Prune
from sottovoce.techniques.rerun import Rerun
from sottovoce.techniques.weights import plain, weights


class Small(nn.Module):
    """What the models below have in common: they are built from their config, and take waveforms."""

    def __init__(self, config: None = None) -> None:
        super().__init__()
        self.config = config
        self.first, self.second = nn.Linear(20, 20), nn.Linear(20, 20)
        self.act = nn.ELU(inplace=True)


class Skips(Small):
    """A value that is kept while the second layer runs goes through a module that works in place."""

    def forward(self, x: Tensor) -> Tensor:
        early = self.first(x)
        late = self.second(x)
        return self.act(early) + late


class Shares(Small):
    """One module used twice, and a weight that no module runs with."""

    def __init__(self, config: None = None) -> None:
        super().__init__(config)
        self.table = nn.Parameter(torch.zeros(20, 20))

    def forward(self, x: Tensor) -> Tensor:
        return self.first(self.second(self.first(x) @ self.table) + x)


class Recurrent(Small):
    """Layers whose states are used too cannot be run one by one."""

    def __init__(self, config: None = None) -> None:
        super().__init__(config)
        self.lstm = nn.LSTM(20, 20, 2, batch_first=True)
        self.both = nn.LSTM(20, 10, 2, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor) -> Tensor:
        outputs, (last, _) = self.lstm(self.first(x).unsqueeze(1))
        return self.second(self.both(outputs)[0].squeeze(1)) + last[1]


class Branches(Small):
    """Looks at its input, so it cannot be traced."""

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) if float(x.mean()) > 10 else self.second(self.first(x))


class InPlace(Small):
    """Changes a value in place."""

    def forward(self, x: Tensor) -> Tensor:
        early = self.first(x)
        late = self.second(early)
        return early.mul_(2) + late


class Picks(Small):
    """Can do without one of its inputs."""

    def forward(self, x: Tensor, rows: Tensor | None = None) -> Tensor:
        x = self.first(x)
        return self.second(x if rows is None else x[rows])


class Scales(Small):
    """Can do without one of its inputs, which is not None when it is left out."""

    def forward(self, x: Tensor, times: float = 2.0) -> Tensor:
        return times * self.second(self.first(x))


MODELS: dict[str, tuple[Callable[[], nn.Module], str]] = {       # name -> model, why it is run whole
    "stacked lstm": (lambda: toy.built("lstm", {"hidden": 8, "layers": 3}), ""),
    "stacked gru": (lambda: toy.built("gru", {"hidden": 8, "layers": 3}), ""),
    "skips": (Skips, ""),
    "shares": (Shares, ""),
    "recurrent": (Recurrent, ""),
    "branches": (Branches, "cannot be traced"),
    "picks": (Picks, ""),
    "scales": (Scales, "cannot be traced: takes other inputs"),
    "in place": (InPlace, "changes values in place"),
    "two voices": (lambda: toy.built("wase", toy.MODEL_SETTINGS["wase"][0]), ""),
}


def made(name: str) -> tuple[nn.Module, list[Batch], str]:
    torch.manual_seed(1)
    model, whole = MODELS[name][0]().eval(), MODELS[name][1]
    size = {"stacked lstm": 4000, "stacked gru": 4000, "two voices": 400}.get(name, 20)
    inputs = 2 if name == "two voices" else 1
    return model, [
        Batch(tuple(torch.randn(count, size) for _ in range(inputs)), (torch.randn(count, size),)) for count in (2, 3)
    ], whole


def loss(outputs: Any, batch: Any) -> Tensor:
    if isinstance(outputs, tuple):           # of voices and their presence
        return (outputs[0] - batch.targets[0]).square().mean() + outputs[-1].square().mean()
    return (outputs - batch.targets[0]).square().mean()


@torch.no_grad()
def whole_loss(model: nn.Module, batches: list[Batch]) -> float:
    return sum(len(batch.inputs[0]) * float(loss(model(*batch.inputs), batch)) for batch in batches) / 5


@pytest.mark.parametrize("name", MODELS)
def test_a_rise_is_that_of_the_whole_model(name: str) -> None:
    model, batches, whole = made(name)
    rerun = Rerun(model, batches, loss)
    assert rerun.whole.startswith(whole) and bool(rerun.whole) == bool(whole)
    assert rerun.base == pytest.approx(whole_loss(model, batches), rel=1e-6)
    seen = []
    for weight, value, rise in rerun.weights([weight.name for weight in weights(model)]):
        seen.append(weight)
        for factor in (1.0, 0.5, 0.0):
            changed = plain(model)
            dict(changed.named_parameters())[weight].data.copy_(factor * value)
            expected = whole_loss(changed, batches) - rerun.base
            assert rise(factor * value) == pytest.approx(expected, rel=1e-4, abs=1e-6), (weight, factor)
    assert sorted(seen) == sorted(weight.name for weight in weights(model))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_later_weights_cost_fewer_steps(kind: str) -> None:
    model, batches, _ = made(f"stacked {kind}")
    rerun, ran = Rerun(model, batches, loss), []
    step = rerun._steps.run_node
    rerun._steps.run_node = lambda node: ran.append(node.name) or step(node)      # type: ignore[func-returns-value]
    for weight, value, rise in rerun.weights([weight.name for weight in weights(model)]):
        ran.clear()
        rise(value)
        if weight == f"{kind}.weight_hh_l2":
            assert f"{kind}_layer2" in ran and f"{kind}_layer1" not in ran and "stft" not in ran


def test_the_model_and_its_forms_are_left_alone() -> None:
    model, batches, _ = made("stacked lstm")
    Prune(ratio=0.5).apply(model, None)                   # type: ignore[arg-type]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for _, value, rise in Rerun(model, batches, loss).weights([weight.name for weight in weights(model)]):
        rise(0 * value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_loss_that_is_not_a_number_is_said() -> None:
    model, batches, _ = made("skips")
    with pytest.raises(SottovoceError, match="expected a finite loss on the development list, got nan"):
        Rerun(model, batches, lambda outputs, batch: outputs.mean() * float("nan"))
