"""Training that meets what is not finite goes back and on; it ends with the same bytes wherever it was cut off."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sottovoce.data.batches import Batch
from sottovoce.techniques.prune import Mask
from sottovoce.techniques.weights import weights
from sottovoce.training import Beside, Fitted, Schedule, Setback, TrainingError, fit, forward

LR = 0.01


class Normed(nn.Module):
    """A layer and a batch norm, whose statistics are part of what is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = nn.Linear(6, 4), nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.layer(x))      # type: ignore[no-any-return]


def fresh() -> Normed:
    torch.manual_seed(0)
    return Normed()


def batches(bad: Mapping[int, float]) -> Any:
    """Batches by number; `bad` ones have this value in a target."""

    def from_step(start: int, stride: int) -> Iterator[Batch]:
        step = start
        while True:
            torch.manual_seed(step)
            inputs, targets = torch.randn(8, 6), torch.randn(8, 4)
            if step in bad:
                targets[0, 0] = bad[step]
            yield Batch((inputs,), (targets,))
            step += stride

    return from_step


def loss(outputs: Tensor, batch: Batch) -> Tensor:
    return (outputs - batch.targets[0]).square().mean()


class Memory:
    """A checkpoint that is kept in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Tensor] | None = None

    def load(self) -> dict[str, Tensor] | None:
        return self.kept

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        self.kept = {name: tensor.clone() for name, tensor in tensors.items()}


def fitted(model: nn.Module, steps: int, bad: Mapping[int, float], **more: Any) -> Fitted:
    return fit(model, batches(bad), more.pop("loss", loss), Schedule(steps, LR, decay_to=1.0), **more)


def same(one: nn.Module, two: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), two.state_dict().items(), strict=True)
    return all(name == other and torch.equal(left, right) for (name, left), (other, right) in pairs)


@pytest.fixture(autouse=True)
def every_five_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.training.GOOD_STEPS", 5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bad_step_is_taken_back_to_the_last_good_state(value: float) -> None:
    # The last of twelve steps is bad: what remains is the state after ten.
    ten, twelve = fresh(), fresh()
    fitted(ten, 10, {})
    fit_of_twelve = fitted(twelve, 12, {11: value})
    assert same(ten, twelve)
    assert fit_of_twelve.setbacks == (Setback(11, 10, LR / 2),)
    assert str(fit_of_twelve.setbacks[0]) == "step 11 was not finite: back to step 10, lr 0.005 from there on"


def test_it_goes_on_with_the_next_batch_at_half_the_rate() -> None:
    model, start, moves = fresh(), fresh(), []
    for steps, bad in ((1, {}), (2, {0: float("nan")})):
        model = fresh()
        fitted(model, steps, bad)
        moves.append(float((model.layer.weight - start.layer.weight).detach().abs().median()))
    # The first step of Adam moves every weight by the learning rate, whatever the gradient.
    assert moves == pytest.approx([LR, LR / 2], rel=1e-3)


def test_gradients_that_are_not_finite_count_as_well() -> None:
    def rooted(outputs: Tensor, batch: Batch) -> Tensor:
        """Finite everywhere, but with a gradient of 0 * infinity where a target is 99."""
        return loss(outputs, batch) + (outputs * (batch.targets[0] != 99)).square().sqrt().mean()

    model = fresh()
    result = fitted(model, 8, {6: 99.0}, loss=rooted)
    assert [setback.step for setback in result.setbacks] == [6]
    assert all(tensor.isfinite().all() for tensor in model.state_dict().values())


@pytest.mark.parametrize("steps", [12, 15])
def test_statistics_of_a_batch_norm_are_put_back_too(steps: int) -> None:
    def spoiling(outputs: Tensor, batch: Batch) -> Tensor:
        """A loss that stays finite while the running mean is lost."""
        if batch.targets[0][0, 0] == 99:
            model.norm.running_mean.data.fill_(float("nan"))     # type: ignore[union-attr]
        return outputs.square().mean()

    model, ten = fresh(), fresh()
    result = fitted(model, steps, {11: 99.0}, loss=spoiling)
    fitted(ten, 10, {}, loss=lambda outputs, batch: outputs.square().mean())
    assert result.setbacks == (Setback(steps - 1, 10, LR / 2),)          # found where a good state would be taken
    assert same(model, ten)


def test_five_times_it_helps_itself_and_then_it_says_so() -> None:
    checkpoint, bad = Memory(), {step: float("nan") for step in range(7, 12)}
    assert len(fitted(fresh(), 20, bad).setbacks) == 5
    with pytest.raises(TrainingError, match=r"step 12: expected a finite loss .* lr 5 times, from 0.01 to 0.0003125"):
        fitted(fresh(), 20, bad | {12: float("nan")}, checkpoint=checkpoint)


@pytest.mark.parametrize("events", [3, 8, 11, 13, 17])
def test_a_fit_cut_off_around_a_setback_ends_with_the_same_bytes(events: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.training.SAVE_SECONDS", -1.0)
    bad = {7: float("nan"), 12: float("inf")}
    whole, cut, checkpoint = fresh(), fresh(), Memory()
    expected = fitted(whole, 20, bad)

    def power_cut(step: int, value: float) -> None:
        if step == events:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fitted(cut, 20, bad, checkpoint=checkpoint, on_step=power_cut)
    again = fresh()
    steps: list[int] = []
    result = fitted(again, 20, bad, checkpoint=checkpoint, on_step=lambda step, value: steps.append(step))
    assert steps[0] == events // 5 * 5           # from the last good state
    assert same(whole, again)
    assert (result.setbacks, result.loss) == (expected.setbacks, expected.loss)
    assert [(setback.step, setback.back_to) for setback in result.setbacks] == [(7, 5), (12, 10)]


def test_a_checkpoint_is_always_a_good_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.training.SAVE_SECONDS", -1.0)
    checkpoint = Memory()
    with pytest.raises(TrainingError):
        fitted(fresh(), 40, {step: float("nan") for step in range(13, 40)}, checkpoint=checkpoint)
    seven = fresh()
    fitted(seven, 10, {})
    assert checkpoint.kept is not None and checkpoint.kept["tally"][0] == 10
    assert all(torch.equal(checkpoint.kept[f"model.{name}"], tensor) for name, tensor in seven.state_dict().items())


def test_losses_that_are_not_finite_stay_out_of_the_mean() -> None:
    assert torch.tensor(fitted(fresh(), 10, {9: float("nan")}).loss).isfinite()


def test_mixed_precision_multiplies_in_bfloat16_and_gives_32_bits() -> None:
    model, seen = fresh(), []
    model.layer.register_forward_hook(lambda *hooked: seen.append(hooked[2].dtype))
    outputs = [forward(model, (torch.randn(8, 6),), precision) for precision in ("fp32", "bf16")]
    assert seen == [torch.float32, torch.bfloat16]
    assert [output.dtype for output in outputs] == [torch.float32, torch.float32]


def test_two_fits_of_one_process_may_differ_in_precision() -> None:
    models = []
    for precision in ("fp32", "bf16", "fp32"):
        models.append(fresh())
        fit(models[-1], batches({}), loss, Schedule(6, LR, precision=precision))     # type: ignore[arg-type]
    assert same(models[0], models[2]) and not same(models[0], models[1])
    difference = models[0].layer.weight - models[1].layer.weight
    assert difference.abs().max() < 0.1 and models[1].layer.weight.dtype == torch.float32


def test_a_form_is_worked_out_once_a_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    model, passes = nn.LSTM(3, 4, num_layers=2), []
    for weight in weights(model):
        weight.hold(Mask(weight.value.detach() > 0))
    original = Mask.forward
    monkeypatch.setattr(Mask, "forward", lambda self, value: passes.append(1) or original(self, value))
    for _ in range(2):
        forward(model, (torch.randn(5, 2, 3),))
    assert len(passes) == 2 * len(weights(model))


@pytest.mark.parametrize("pace", [1.0, 0.25, -0.5])
def test_a_part_learns_at_its_own_pace_and_may_go_up(pace: float) -> None:
    model, start = fresh(), fresh()
    model.layer.pace = pace                      # type: ignore[assignment]
    fitted(model, 1, {})
    outputs = start.train()(next(batches({})(0, 1)).inputs[0])
    loss(outputs, next(batches({})(0, 1))).backward()
    # The first step of Adam moves every weight by the learning rate, whatever the gradient.
    for part, rate in (("layer", pace * LR), ("norm", LR)):
        before, after = start.get_submodule(part).weight, model.get_submodule(part).weight
        assert torch.allclose(after - before, -rate * before.grad.sign(), rtol=1e-2), part


def test_what_learns_beside_a_model_learns_in_its_fit() -> None:
    model, other, alone = fresh(), nn.Linear(1, 1), fresh()
    before = float(other.weight.detach().square())
    fitted(alone, 5, {})
    fitted(Beside(model, other), 5, {}, loss=lambda outputs, batch: loss(outputs, batch) + other.weight.square().sum())
    assert same(model, alone)
    assert float(other.weight.detach().square()) < before
