"""Structured pruning by magnitude: the smallest units go, as many as a target needs, for good or for now."""

import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import nn

from sottovoce.artefact.shrink import shrink
from sottovoce.beginning import check
from sottovoce.errors import RecipeError
from sottovoce.packing import pack
from sottovoce.run import Run, compress
from sottovoce.runtime import Session
from sottovoce.techniques.cut import Cut
from sottovoce.techniques.factorize import Factorize
from sottovoce.techniques.prune import Prune
from sottovoce.techniques.weights import learned, plain
from sottovoce.units import Place

MODELS: dict[str, dict[str, Any]] = {
    "conformer": {"symbols": 5, "layers": 2, "channels": 16, "heads": 4, "middle": 12, "images": 3},
    "fdnn": {"units": 24, "layers": 2},
    "lstm": {"hidden": 24, "layers": 2},
    "gru": {"hidden": 24, "layers": 2},
    "gcrn": {"channels": [16, 32, 32, 64, 66], "groups": 11},
}
KINDS = ["middle", "heads", "convolution", "local", "hidden"]


def built(name: str) -> Any:
    """A model in which units of a kind are of several magnitudes, in every tensor."""
    model = toy.built(name, MODELS[name])
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(torch.rand(parameter.shape[-1:]) + 0.3).add_(0.1 * torch.randn_like(parameter))
    return model


def applied(model: nn.Module, target: float, **more: Any) -> tuple[Any, dict[str, Any]]:
    notes: dict[str, Any] = {}
    example = (torch.zeros(1, 8000),)
    task = SimpleNamespace(example=lambda: example, sample_rate=16_000)
    run: Any = SimpleNamespace(note=lambda **details: notes.update(details), task=task)
    return Cut(target, **more).apply(model, run), notes


def left(model: nn.Module) -> int:
    """Parameters that no mask holds at zero."""
    return sum(int(weight.value.count_nonzero()) for weight in learned(model))


def largest(model: Any, kinds: tuple[str, ...]) -> int:
    """Parameters that the largest unit of these kinds may take with it."""
    sizes = {weight.name: weight.value.shape for weight in learned(model)}

    def taken(place: Place, count: int) -> int:
        numbers = place.numbers(count)
        return sizes[place.tensor].numel() // len(numbers) * int(numbers[numbers >= 0].bincount().max())

    return max(sum(taken(place, group.count) for place in group.places)
               for group in model.units() if group.kind in kinds or not kinds)


@pytest.mark.parametrize("target", [0.05, 0.15])
@pytest.mark.parametrize(("name", "kinds"), [*((name, ()) for name in MODELS), ("conformer", ("middle",)),
                                             ("conformer", ("heads", "hidden"))])
def test_the_target_is_met_within_a_unit(name: str, kinds: tuple[str, ...], target: float) -> None:
    model, whole = built(name), left(built(name))
    slack = largest(model, kinds) / whole
    cut, notes = applied(model, target, kinds=kinds)
    assert target <= notes["removed"] < target + slack
    assert 1 - left(cut) / whole == pytest.approx(notes["removed"], abs=0.02)        # what is of no use goes, too
    assert all(stay == count for name, (stay, count) in notes["units"].items()
               if kinds and not any(kind in name for kind in kinds))


@pytest.mark.parametrize("kinds", [(kind,) for kind in KINDS])
def test_the_smallest_of_a_kind_go(kinds: tuple[str, ...]) -> None:
    model = built("conformer")
    group = next(group for group in model.units() if group.kind in kinds)
    small = torch.tensor([group.count - 1])
    with torch.no_grad():
        for place in group.places:
            if place.scaled:
                factors = place.spread(torch.ones(group.count).index_fill(0, small, 1e-3))
                model.get_parameter(place.tensor).transpose(place.axis, -1).mul_(factors)
    before = {group.name: group.count for group in model.units()}
    _, notes = applied(model, 1e-6, kinds=kinds)
    assert {name: [count - (name == group.name), count] for name, count in before.items() if name in notes["units"]
            } == notes["units"]


@pytest.mark.parametrize("kinds", [(), *((kind,) for kind in KINDS[:4])])
def test_the_cut_model_computes_what_the_zeros_leave(kinds: tuple[str, ...]) -> None:
    """But for channels of the stream, whose norms go on over zeros until they are cut."""
    kinds = kinds or tuple(KINDS[:4])
    x = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    silent, notes = applied(built("conformer"), 0.03, kinds=kinds, hold=False)
    cut, same = applied(built("conformer"), 0.03, kinds=kinds)
    assert notes == same and left(cut) < left(built("conformer"))
    with torch.no_grad():
        assert (silent(x) - cut(x)).abs().max() < 1e-5 < (built("conformer")(x) - cut(x)).abs().max()


@pytest.mark.parametrize("name", [name for name in MODELS if name != "conformer"])
def test_what_is_held_at_zero_goes_from_the_file(name: str) -> None:
    x = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0))
    silent, _ = applied(built(name).eval(), 0.2, hold=False)
    cut, notes = applied(built(name).eval(), 0.2)
    whole = pack(built(name).eval(), {"sample_rate": 16_000})
    smaller = shrink(pack(cut, {"sample_rate": 16_000}))
    size, before = (sum(math.prod(stored.shape) for stored in file.tensors.values()) for file in (smaller, whole))
    assert 1 - size / before == pytest.approx(notes["removed"], abs=0.03)
    with torch.no_grad():
        assert (silent(x) - cut(x)).abs().max() < 1e-5 < (built(name).eval()(x) - cut(x)).abs().max()
        for ours, wanted in zip(map(Session(smaller).run, x.numpy()), cut(x).numpy(), strict=True):
            np.testing.assert_allclose(ours, wanted, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_zeros_that_are_not_held_may_come_back(name: str) -> None:
    silent, _ = applied(built(name), 0.2, hold=False)
    assert {weight.name: weight.value.shape for weight in learned(silent)} == {
        weight.name: weight.value.shape for weight in learned(built(name))}
    assert all(weight.form is None for weight in learned(silent))
    before = {weight.name: weight.value.detach() == 0 for weight in learned(silent)}
    optimizer = torch.optim.SGD(silent.parameters(), 0.1)
    silent(torch.randn(1, 8000)).square().sum().backward()
    optimizer.step()
    woken = [int((weight.value[before[weight.name]] != 0).sum()) for weight in learned(silent)]
    assert sum(woken) > 0.5 * sum(int(zeros.sum()) for zeros in before.values())
    cut, final = applied(silent, 0.2)
    assert final["removed"] >= 0.2 and left(cut) < left(built(name))


@pytest.mark.parametrize("name", MODELS)
def test_a_second_time_the_share_is_of_what_is_left(name: str) -> None:
    once, first = applied(built(name), 0.3)
    twice, second = applied(once, 0.3)
    slack = largest(built(name), ()) / left(once)
    assert 0.3 <= second["removed"] < 0.3 + slack
    assert left(twice) / left(built(name)) == pytest.approx((1 - first["removed"]) * (1 - second["removed"]), abs=0.03)
    assert torch.isfinite(twice.eval()(torch.randn(1, 8000))).all()


def test_masks_hold_and_codebooks_are_let_go() -> None:
    pruned = Prune(ratio=0.5).apply(built("fdnn"), None)                             # type: ignore[arg-type]
    zeros = {weight.name: weight.value == 0 for weight in learned(pruned)}
    for hold in (False, True):
        pruned, _ = applied(pruned, 0.2, hold=hold)
        assert all((weight.value[zeros[weight.name]] == 0).all() for weight in learned(pruned))
        torch.testing.assert_close(plain(pruned)(torch.ones(1, 4000)), pruned(torch.ones(1, 4000)))


def test_rounds_of_cutting_and_training(tmp_path: Path) -> None:
    """Iterative magnitude pruning."""
    stages = ('[[stages]]\nkind = "iterate"\nrounds = 2\nstages = [{ kind = "cut", target = 0.3 }, '
              '{ kind = "train", steps = 2 }]\n')
    run = Run(toy.recipe(stages, tmp_path, "units = 24\nlayers = 2", name="fdnn"), tmp_path / "run")
    compress(run)
    start, *rounds = [row.nonzeros for row in run.rows if row.kind in ("start", "cut")]
    shares = [row.details["removed"] for row in run.rows if row.kind == "cut"]
    assert all(0.3 <= share < 0.32 for share in shares)
    assert rounds[0] / start == pytest.approx(1 - shares[0], abs=0.01)
    assert rounds[1] / rounds[0] == pytest.approx(1 - shares[1], abs=0.01)


@pytest.mark.parametrize("objective", ["size", "multiply_adds"])
def test_what_was_removed_is_what_the_ledger_counts(objective: str, tmp_path: Path) -> None:
    stage = f'[[stages]]\nkind = "cut"\ntarget = 0.3\nobjective = "{objective}"\n'
    run = Run(toy.recipe(stage, tmp_path, "units = 24\nlayers = 2", name="fdnn"), tmp_path / "run")
    compress(run)
    before, after = run.rows
    count = {"size": "nonzeros"}.get(objective, objective)
    assert getattr(after, count) / getattr(before, count) == pytest.approx(1 - after.details["removed"], abs=1e-3)


@pytest.mark.parametrize(("model", "settings", "message"), [
    ("fdnn", "target = 0.0", "target must be between 0 and 1, got 0.0"),
    ("fdnn", 'target = 0.1\nkinds = ["heads"]', "kinds: the model has no units of kind 'heads'; there are: hidden"),
    ("tcnn", "target = 0.1", "stage 1 (cut): units: expected a model that says what can be removed from it, got Tcnn"),
])
def test_what_cannot_be_is_refused_before_the_run(model: str, settings: str, message: str, tmp_path: Path) -> None:
    stage, size = f'[[stages]]\nkind = "cut"\n{settings}\n', "blocks" if model == "tcnn" else "layers"
    with pytest.raises(RecipeError, match=re.escape(message)):
        list(check(toy.recipe(stage, tmp_path, f"{size} = 1", name=model)))


@pytest.mark.parametrize("kind", ["heads", "hidden"])
def test_a_target_that_cannot_be_met_says_what_was_reached(kind: str) -> None:
    with pytest.raises(RecipeError, match=r"expected 0\.99 of the model to go, got units .* than 0\.\d+ of it"):
        applied(built("conformer"), 0.99, kinds=(kind,))


def test_factored_layers_are_refused() -> None:
    model = Factorize(0.3).apply(built("fdnn"), SimpleNamespace(note=lambda **details: None))    # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=r"a stage before this one factors hidden\.0"):
        applied(model, 0.1)
