"""Pruning clears the smallest weights, as many as asked, and finds what each tensor can bear."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import toy

from sottovoce.errors import RecipeError
from sottovoce.run import Run, compress
from sottovoce.techniques.prune import Prune, smallest_kept
from sottovoce.techniques.weights import weights


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("zeros", [0.0, 0.3])
def test_the_smallest_nonzero_values_go(ratio: float, zeros: float) -> None:
    torch.manual_seed(0)
    value = torch.randn(30, 40) * (torch.rand(30, 40) >= zeros)
    keep = smallest_kept(value, ratio)
    nonzero = value != 0
    assert int(keep.sum()) == int(nonzero.sum()) - int(ratio * int(nonzero.sum()))
    assert not keep[~nonzero].any()
    gone = value[nonzero & ~keep].abs()
    if len(gone) and keep.any():
        assert gone.max() <= value[keep].abs().min()


def test_equal_magnitudes_are_cut_to_the_count() -> None:
    assert int(smallest_kept(torch.ones(10, 10), 0.25).sum()) == 75


def test_ratios_compound() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    for _ in range(2):
        Prune(ratio=0.5).apply(model, None)       # type: ignore[arg-type]
    for weight in weights(model):
        assert abs(int(weight.value.count_nonzero()) / weight.value.numel() - 0.25) < 0.01


def test_the_search_finds_the_largest_step_that_the_loss_bears() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    chosen = {weight.name: weight for weight in weights(model)}
    before = {name: weight.value.detach().clone() for name, weight in chosen.items()}
    limits = {"lstm.weight_hh_l0": 0.35, "lstm.weight_ih_l0": 1.0, "output.weight": 0.0}

    def loss(_: torch.nn.Module) -> float:
        """0 as long as no tensor has lost more than its limit."""
        return float(any(
            1 - int(weight.value.count_nonzero()) / weight.value.numel() > limits[name] + 1e-9
            for name, weight in chosen.items()
        ))

    noted: dict[str, dict[str, float]] = {}
    run = SimpleNamespace(validation_loss=loss, note=lambda **details: noted.update(details))
    Prune(tolerance=0.5).apply(model, run)        # type: ignore[arg-type]
    assert noted["ratios"] == pytest.approx(limits)
    for name, weight in chosen.items():
        kept = weight.value != 0
        assert torch.equal(weight.value[kept], before[name][kept])
        assert abs(1 - kept.float().mean() - limits[name]) < 0.01


def test_a_pattern_that_fits_nothing_is_named_with_what_there_is() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    with pytest.raises(RecipeError, match=r"'conv\*' matches no weight; there are: lstm.weight_hh_l0, lstm"):
        Prune(ratio=0.5, only="conv*").apply(model, None)      # type: ignore[arg-type]


def test_the_search_works_in_a_run_and_leaves_its_ratios_in_the_ledger(tmp_path: Path) -> None:
    run = Run(toy.recipe('[[stages]]\nkind = "prune"\ntolerance = 0.001\n', tmp_path), tmp_path / "run")
    pruned = {weight.name: weight.value for weight in weights(compress(run))}
    ratios = run.rows[-1].details["ratios"]
    assert ratios.keys() == pruned.keys() and any(0 < ratio < 1 for ratio in ratios.values())
    for name, value in pruned.items():
        assert 1 - int(value.count_nonzero()) / value.numel() == pytest.approx(ratios[name], abs=0.01)
