"""The penalties of sparse regularization: their gradient, their size, the weights they choose and how these shrink."""

from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from torch import Tensor, nn

from sottovoce.errors import RecipeError
from sottovoce.run import Run, compress
from sottovoce.techniques.cluster import Codebook, clustered
from sottovoce.techniques.half import Half
from sottovoce.techniques.prune import Mask
from sottovoce.techniques.regularize import penalty, sizes, strength
from sottovoce.techniques.train import Train, next_round
from sottovoce.techniques.weights import Weight, weights


def layers() -> nn.Module:
    """A matrix and kernels of one and two axes, each with a group that is zero and a few more zeros."""
    torch.manual_seed(0)
    model = nn.ModuleList([nn.Linear(5, 4), nn.Conv1d(3, 2, 4), nn.Conv2d(2, 3, (2, 3)), nn.Conv1d(4, 6, 1)])
    with torch.no_grad():
        for weight in weights(model):
            weight.original[torch.rand_like(weight.original) < 0.2] = 0.0
            weight.original[(slice(None), 1) if weight.original.dim() == 2 else (0, 1)] = 0.0
    return model


def clusters(value: Tensor) -> Codebook:
    codes, centroids = clustered(value.numpy(), 3)
    return Codebook(torch.from_numpy(codes), torch.from_numpy(centroids))


FORMS = {"free": None, "masked": lambda value: Mask(value != 0), "half": lambda value: Half(), "clustered": clusters}


def groups(value: Tensor) -> list[Tensor]:
    """Columns of a matrix, kernels of a convolution."""
    return list(value.T) if value.dim() == 2 else [kernel for row in value for kernel in row]


def by_the_paper(held: list[Weight], l1: float, group: float) -> Tensor:
    """R_l1 + R_l21 as they are written down, zero groups left out."""
    values = [weight.value for weight in held]
    present = [one for value in values for one in groups(value) if one.any()]
    singles = sum(int(value.count_nonzero()) for value in values)
    first = sum(value.abs().sum() for value in values) * l1 / singles
    return first + sum(one.numel() ** 0.5 * one.norm() for one in present) * group / len(present)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("l1", "group"), [(0.7, 0.0), (0.0, 0.3), (0.7, 0.3)])
def test_the_gradient_is_that_of_the_penalty_and_comes_on_top(form: str, l1: float, group: float) -> None:
    model = layers()
    held, make = weights(model), FORMS[form]
    for weight in held if make else []:
        weight.hold(make(weight.value.detach()))
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    expected = torch.autograd.grad(by_the_paper(held, l1, group), learning, allow_unused=True)
    for parameter in learning:
        parameter.grad = torch.ones_like(parameter)
    penalty(model, l1, group)()
    for parameter, gradient in zip(learning, expected, strict=True):
        assert parameter.grad is not None
        wanted = torch.ones_like(parameter) + (0 if gradient is None else gradient)
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-5, atol=1e-7)


def test_a_zero_group_and_a_zero_weight_are_left_where_they_are() -> None:
    model = layers()
    penalty(model, 1.0, 1.0)()
    for weight in weights(model):
        assert weight.original.grad is not None and weight.original.grad.isfinite().all()
        assert (weight.original.grad[weight.value == 0] == 0).all()
        assert (weight.original.grad[weight.value != 0] != 0).all()


def test_what_was_pruned_no_longer_counts() -> None:
    model = nn.Linear(4, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2, 0, 0], [0, 2, 0, 0]]))
    penalty(model, 3.0, 0.0)()
    assert model.weight.grad is not None and model.weight.grad.tolist() == [[1, -1, 0, 0], [0, 1, 0, 0]]
    l1, group = sizes(model)
    assert l1 == pytest.approx(5 / 3) and group == pytest.approx(2**0.5 * (1 + 8**0.5) / 2)


def test_sizes_are_those_of_the_paper() -> None:
    model = layers()
    l1, group = sizes(model)
    assert l1 == pytest.approx(by_the_paper(weights(model), 1.0, 0.0).item(), rel=1e-5)
    assert group == pytest.approx(by_the_paper(weights(model), 0.0, 1.0).item(), rel=1e-5)


def test_auto_makes_each_penalty_a_tenth_of_the_loss() -> None:
    model, loss = layers(), 0.4
    for name, size in zip(("l1", "group"), sizes(model), strict=True):
        assert strength("auto", size, loss, name) * size == pytest.approx(0.04)
    assert strength(0.25, 7.0, loss, "l1") == 0.25
    assert strength("auto", 0.0, loss, "l1") == 0.0          # nothing left to penalise


@pytest.mark.parametrize("loss", [0.0, -0.3, float("nan"), float("inf")])
def test_auto_needs_a_loss_to_go_by(loss: float) -> None:
    with pytest.raises(RecipeError, match=r"group: 'auto' needs a loss above 0 to go by, got .*; give a number"):
        strength("auto", 1.0, loss, "group")


def test_auto_is_chosen_once_and_shrinks_from_round_to_round(tmp_path: Path) -> None:
    inner = '[{ kind = "train", steps = 2, l1 = "auto", group = 0.5, decay = 0.5 }]'
    run = Run(toy.recipe(f'[[stages]]\nkind = "iterate"\nrounds = 3\nstages = {inner}', tmp_path), tmp_path / "run")
    compress(run)
    rows = [row for row in run.rows if row.kind == "train"]
    first = rows[0].details["l1"]
    assert rows[0].settings["l1"] == "auto" and first > 0
    assert [row.settings["l1"] for row in rows[1:]] == [first / 2, first / 4]
    assert [row.settings["group"] for row in rows] == [0.5, 0.25, 0.125]


def test_a_stage_without_penalties_is_the_same_in_every_round() -> None:
    assert next_round(Train(steps=3), {}) == Train(steps=3)
    assert next_round("another", {"l1": 3}) == "another"


def test_a_strong_group_penalty_empties_groups(tmp_path: Path) -> None:
    def smallest(settings: str) -> float:
        """The median norm of a column of the output layer, after training."""
        table = f'[[stages]]\nkind = "train"\nsteps = 30\nlr = 0.01\n{settings}\n'
        model = compress(Run(toy.recipe(table, tmp_path), tmp_path / settings))
        held = next(weight for weight in weights(model) if weight.name == "output.weight")
        return float(held.value.detach().norm(dim=0).median())

    assert smallest("group = 100.0") < 0.5 * smallest("group = 0.0")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"l1": -1.0}, "l1 must be a number, 0 or more, or 'auto', got -1.0"),
    ({"group": float("nan")}, "group must be a number, 0 or more, or 'auto', got nan"),
    ({"decay": 0.0}, "decay must be above 0 and at most 1, got 0.0"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Train(steps=1, **settings)


def test_a_word_that_is_not_auto_is_refused_at_the_door(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"stage 1 \(train\): l1: expected a number, got 'atuo'"):
        toy.recipe('[[stages]]\nkind = "train"\nsteps = 1\nl1 = "atuo"', tmp_path)
