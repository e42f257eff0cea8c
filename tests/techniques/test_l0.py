"""Structured pruning by gates: what is counted is there, what is cut computes what was gated, the target is met."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import Tensor, nn
from torch.func import functional_call

from sottovoce.artefact.file import decode
from sottovoce.beginning import begin, check
from sottovoce.data.batches import Batch
from sottovoce.errors import FormatError, RecipeError
from sottovoce.ledger import Watcher
from sottovoce.recipe import parse_recipe
from sottovoce.run import Run, compress, on_arrays
from sottovoce.runtime import Session
from sottovoce.techniques.gates import Extent, Gates, kept, uses
from sottovoce.techniques.l0 import L0, Constraint
from sottovoce.techniques.prune import Prune
from sottovoce.techniques.weights import learned, plain, weights
from sottovoce.training import Fitted, fit
from sottovoce.units import Cuttable, Divisible, Group, Place

CONFORMER = {"symbols": 5, "layers": 2, "channels": 16, "heads": 4, "middle": 12, "images": 3}
KINDS = ["middle", "heads", "convolution", "local", "hidden"]
Kinds = tuple[str, ...]
CHOICES: list[Kinds] = [*((kind,) for kind in KINDS), ()]         # of kinds; all of them


def settings(**more: Any) -> L0:
    return L0(**{"steps": 1, "target": 0.5, **more})


def conformer() -> nn.Module:
    return toy.built("conformer", CONFORMER)


def some(model: nn.Module, kinds: Kinds, seed: int = 0) -> dict[str, Tensor]:
    """Units of these kinds that stay, at least one of each group of several."""
    torch.manual_seed(seed)
    found = {group.name: torch.rand(group.count) < 0.6 for group in settings(kinds=kinds).groups(model)}
    for keep in found.values():
        keep[0] |= len(keep) > 1
    return found


def extent(model: nn.Module, costs: dict[str, float] | None = None) -> Extent:
    assert isinstance(model, Divisible)
    return Extent({weight.name: weight.value.shape for weight in learned(model)}, model.units(), costs)


@pytest.mark.parametrize("kinds", CHOICES)
def test_the_expected_size_is_the_counted_size_where_nothing_is_left_to_chance(kinds: Kinds) -> None:
    model = conformer()
    assert isinstance(model, Cuttable)
    stay = some(model, kinds)
    size = extent(model)
    assert size.whole == sum(weight.value.numel() for weight in learned(model))
    counted = sum(weight.value.numel() for weight in learned(model.without(stay)))
    assert float(size({name: keep.float() for name, keep in stay.items()})) == counted < size.whole


@pytest.mark.parametrize("kinds", CHOICES)
def test_the_expected_multiply_adds_are_those_of_the_cut_model(kinds: Kinds) -> None:
    model, x = conformer(), (torch.zeros(1, 16_000),)
    assert isinstance(model, Cuttable)
    stay = some(model, kinds)
    cut = model.without(stay)
    sizes = {weight.name: weight.value.numel() for weight in learned(cut)}
    counted = sum(sizes[name] * count for name, count in uses(cut, x).items())
    counted += sum(group.extra * float(stay.get(group.name, torch.ones(group.count)).sum()) for group in model.units())
    expected = extent(model, uses(model, x))({name: keep.float() for name, keep in stay.items()})
    assert float(expected) == pytest.approx(counted, rel=1e-6)


def test_the_penalty_has_the_gradient_of_its_differences() -> None:
    model = toy.built("fdnn", {"units": 3, "layers": 2})
    gates = {group.name: Gates(group.count, temperature=0.7) for group in model.units()}         # type: ignore[operator]
    constraint = Constraint(extent(model), gates, 0.5, 0.5, -1.0).double()
    constraint.anneal(0.3)
    names = [name for name, _ in constraint.named_parameters()]
    torch.manual_seed(0)
    values = [torch.randn(parameter.shape, dtype=torch.float64, requires_grad=True) for parameter in
              constraint.parameters()]
    assert torch.autograd.gradcheck(
        lambda *tensors: functional_call(constraint, dict(zip(names, tensors, strict=True)), ()), values)


@pytest.mark.parametrize("temperature", [1.0, 2 / 3])
@pytest.mark.parametrize("log_alpha", [-4.0, -1.0, 2.0])
def test_gates_are_as_often_open_as_they_say(log_alpha: float, temperature: float) -> None:
    gates = Gates(20_000, temperature).train()
    nn.init.constant_(gates.log_alpha, log_alpha)
    torch.manual_seed(0)
    gates.anneal(0.0)
    drawn = gates()
    assert ((drawn >= 0) & (drawn <= 1)).all()
    assert float((drawn > 0).float().mean()) == pytest.approx(float(gates.open().mean().detach()), abs=0.01)
    assert torch.equal(gates(), drawn)                           # in all tensors and passes of a step
    gates.eval()
    assert len(gates().unique()) == 1


def spread(alphas: Tensor) -> Tensor:
    """From surely closed, as a single one is, to surely open."""
    return torch.linspace(-8, 4, len(alphas))[torch.randperm(len(alphas))]


Applied = tuple[nn.Module, nn.Module, dict[str, Any]]


def applied(model: nn.Module, log_alphas: Any, kinds: Kinds = (), **more: Any) -> Applied:
    """The gated model after the stage, what the stage makes of it, and its notes; training sets log alphas by name."""
    notes: dict[str, Any] = {}
    trained: list[nn.Module] = []

    def fit(learner: nn.Module, loss: Any, schedule: Any) -> Fitted:
        for name, parameter in learner.named_parameters():
            if name.endswith("log_alpha"):
                parameter.data.copy_(log_alphas(parameter))
        trained.append(learner.eval().model)                     # type: ignore[arg-type]
        return Fitted(0, 0, 0)

    run: Any = SimpleNamespace(fit=fit, note=lambda **details: notes.update(details), task=None)
    cut = settings(kinds=kinds, **more).apply(model, run)
    return trained[0], cut, notes


@pytest.mark.parametrize("kinds", CHOICES)
def test_the_cut_model_computes_what_the_gated_one_did(kinds: Kinds) -> None:
    torch.manual_seed(1)
    x = torch.randn(2, 8000)
    dense = conformer()(x)
    gated, cut, notes = applied(conformer(), spread, kinds, target=0.13)
    assert (gated(x) - cut(x)).abs().max() < 1e-5 < (dense - cut(x)).abs().max()
    counts = [sum(weight.value.numel() for weight in learned(model)) for model in (conformer(), cut)]
    assert notes["removed"] == pytest.approx(1 - counts[1] / counts[0], abs=0.02) and counts[1] < counts[0]
    assert cut.training is False and all(parameter.requires_grad for parameter in cut.parameters())
    gated_again, cut_again, _ = applied(cut, spread)
    assert (gated_again(x) - cut_again(x)).abs().max() < 1e-5 < (cut_again(x) - gated(x)).abs().max()


def test_zeros_of_masks_stay_in_the_cut_model() -> None:
    model = Prune(ratio=0.5).apply(conformer(), None)            # type: ignore[arg-type]
    _, cut, _ = applied(model, spread)
    held = weights(cut)
    assert len(held) > 20 and all(((weight.value == 0) == ~kept(weight)).all() for weight in held)


@pytest.mark.parametrize("kind", KINDS)
def test_groups_may_close_wholly(kind: str) -> None:
    _, cut, notes = applied(conformer(), lambda alphas: torch.full_like(alphas, -10.0), (kind,), target=0.999)
    assert torch.isfinite(cut(torch.randn(1, 8000))).all()
    left = sorted({stay for stay, _ in notes["units"].values()})
    assert left == ([1] if kind == "hidden" else [0])            # a stream of nothing is none
    assert "missed" in notes


class Ranked(nn.Module):
    """Units of which each matters more than the one before it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.leave = nn.Linear(8, 64), nn.Linear(64, 4)
        self.leave.weight.data.mul_(torch.linspace(0, 3, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.leave(torch.relu(self.enter(x)))             # type: ignore[no-any-return]

    def units(self) -> list[Group]:
        places = (Place("enter.weight", 0), Place("enter.bias", 0), Place("leave.weight", 1, scaled=True))
        return [Group("units", "units", 64, places)]


@pytest.mark.parametrize("target", [0.3, 0.6])
def test_the_multipliers_reach_the_target_and_what_matters_stays(target: float) -> None:
    model, whole, notes = Ranked(), Ranked(), {}

    def batches(start: int, stride: int) -> Iterator[Batch]:
        for step in range(start, 10**9, stride):
            x = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
            yield Batch((x,), (whole(x).detach(),))

    task = SimpleNamespace(loss=lambda outputs, batch: (outputs - batch.targets[0]).square().mean())
    run: Any = SimpleNamespace(fit=lambda learner, loss, schedule: fit(learner, batches, loss, schedule), task=task,
                               note=lambda **details: notes.update(details))
    stage = settings(steps=600, target=target, lr=1e-3, gate_lr=0.2, multiplier_lr=0.05, rise=0.6)
    stay = stage.apply(model, run).leave.weight.detach().any(0)      # type: ignore[union-attr,operator]
    assert notes["removed"] == pytest.approx(target, abs=1 / 64)
    assert "missed" not in notes and stay[32:].sum() > stay[:32].sum()


@pytest.mark.parametrize("objective", ["size", "multiply_adds"])
def test_what_was_removed_is_what_the_ledger_counts(objective: str, tmp_path: Path) -> None:
    stage = f'{toy.stage_table("l0")}objective = "{objective}"\n'
    run = Run(toy.recipe(stage, tmp_path, "units = 64", name="fdnn"), tmp_path)
    compress(run)
    before, after = run.rows
    removed, count = after.details["removed"], {"size": "nonzeros"}.get(objective, objective)
    assert removed > 0.05 and ("missed" in after.details) == (abs(removed - 0.5) > 0.02)
    assert getattr(after, count) / getattr(before, count) == pytest.approx(1 - removed, abs=1e-3)


RECOGNIZER = """
name = "toy"
seed = 1
[model]
name = "conformer"
symbols = 29
layers = 1
channels = 16
heads = 4
middle = 12
images = 3
[task]
name = "recognize"
units = "characters"
speech = { path = "speech.jsonl", where = { split = "train", corpus = "librispeech-train-clean-100" } }
seconds = 4.0
workers = 0
dev = { speech = { path = "speech.jsonl", where = { split = "test" } }, count = 2 }
[[stages]]
kind = "l0"
steps = 20
target = 0.4
gate_lr = 0.9
multiplier_lr = 0.9
features = "blocks.*"
[[stages]]
kind = "prune"
ratio = 0.5
[[stages]]
kind = "distill"
steps = 2
features = "blocks.*"
mapped = true
[[stages]]
kind = "iterate"
rounds = 1
max_drop = { cer = 0.0 }
stages = [{ kind = "distill", steps = 2, teacher = "previous" }]
"""


def test_a_run_goes_on_with_the_cut_model_wherever_it_was_cut_off(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.training.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("sottovoce.training.GOOD_STEPS", 1)
    recipe = parse_recipe(RECOGNIZER, "toy.toml", toy.ROOT / "sample")
    whole = Run(recipe, tmp_path / "whole")
    cut = compress(whole)

    class Stopped(Watcher):
        left = 7

        def step(self, step: int, steps: int, loss: float) -> None:
            self.left -= 1
            if not self.left:
                raise KeyboardInterrupt

    for _ in range(10):
        try:
            compress(Run(recipe, tmp_path / "again", Stopped()))
            break
        except KeyboardInterrupt:
            continue
    files = [(tmp_path / name / "model.sotto").read_bytes() for name in ("whole", "again")]
    assert files[0] == files[1]
    artefact = decode(files[0])
    assert artefact.meta["config"]["blocks"] and whole.rows[1].parameters < whole.rows[0].parameters
    assert whole.dense().config == recipe.model.config != cut.config
    x = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    assert np.abs(Session(artefact).run(x) - on_arrays(cut)(x)).max() < 1e-4


def test_another_recipe_begins_with_the_cut_model(tmp_path: Path) -> None:
    first, *_ = RECOGNIZER.partition('[[stages]]\nkind = "prune"')
    cut = compress(Run(parse_recipe(first, "toy.toml", toy.ROOT / "sample"), tmp_path))
    checkpoint = f'images = 3\ncheckpoint = "{tmp_path}/stages/01-l0.safetensors"'
    model, _, _ = first.partition("[[stages]]")
    again = parse_recipe(model.replace("images = 3", checkpoint), "again.toml", toy.ROOT / "sample")
    list(check(again))
    begun = begin(again.model, again.task)
    assert begun.config == cut.config and all(torch.equal(one, other) for one, other in zip(
        begun.state_dict().values(), plain(cut).state_dict().values(), strict=True))
    whole = parse_recipe(model.replace("images = 3", checkpoint + "\nblocks = []"), "again.toml", toy.ROOT / "sample")
    with pytest.raises(FormatError, match=r"01-l0\.safetensors: checkpoint of another model"):
        begin(whole.model, whole.task)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"target": 1.0}, "target must be between 0 and 1"), ({"rise": 0.0}, "rise"), ({"temperature": 0.0}, "temperature"),
    ({"gate_lr": 0.0}, "gate_lr"), ({"lr": 0.0}, "lr"),
])
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        settings(**wrong)


@pytest.mark.parametrize(("model", "more", "message"), [
    ("tcnn", "", r"stage 1 \(l0\): units: expected a model that says what can be removed from it, got TcnnEnhancer"),
    ("fdnn", 'kinds = ["heads"]', r"stage 1 \(l0\): kinds: the model has no units of kind 'heads'; there are: hidden"),
])
def test_a_model_without_such_units_is_refused_before_the_run(model: str, more: str, message: str,
                                                              tmp_path: Path) -> None:
    stage, size = f'[[stages]]\nkind = "l0"\nsteps = 1\ntarget = 0.5\n{more}', "blocks" if model == "tcnn" else "layers"
    recipe = toy.recipe(stage, tmp_path, f"{size} = 1", name=model)
    with pytest.raises(RecipeError, match=message):
        list(check(recipe))
