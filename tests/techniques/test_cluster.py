"""Clustering gives few values, keeps zeros, and learns only the values; how many, and at what cost in bits."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy

from sottovoce.run import Run, compress
from sottovoce.techniques.cluster import Cluster, Codebook, clustered, entropy, entropy_constrained
from sottovoce.techniques.weights import weights

RNG = np.random.default_rng(0)
CASES = {
    "normal": RNG.normal(size=(20, 30)),
    "sparse": RNG.normal(size=(20, 30)) * (RNG.random((20, 30)) < 0.1),
    "positive": RNG.random((20, 30)) + 1,
    "few distinct": RNG.integers(-2, 3, (20, 30)),
    "all zero": np.zeros((20, 30)),
    "one outlier": np.where(np.arange(600).reshape(20, 30) == 7, 1e3, RNG.normal(size=(20, 30))),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [1, 3, 15])
def test_codes_point_to_the_nearest_centroid_and_zeros_stay(case: str, count: int) -> None:
    value = CASES[case].astype(np.float32)
    codes, centroids = clustered(value, count)
    assert len(centroids) <= count and (np.diff(centroids) > 0).all()
    assert ((codes == 0) == (value == 0)).all()
    table = np.concatenate([[0], centroids])
    for element, code in zip(value[value != 0], codes[value != 0], strict=True):
        assert abs(table[code] - element) <= np.abs(centroids - element).min() * (1 + 1e-5)


def test_few_distinct_values_are_kept_exactly() -> None:
    value = CASES["few distinct"].astype(np.float32)
    codes, centroids = clustered(value, 15)
    assert (np.concatenate([[0], centroids]).astype(np.float32)[codes] == value).all()


def test_k_means_is_no_worse_than_the_even_grid_it_starts_from() -> None:
    value = CASES["normal"].astype(np.float32)
    codes, centroids = clustered(value, 15)
    error = np.square(centroids[codes - 1] - value).sum()
    grid = np.linspace(value.min(), value.max(), 15)
    assert error < np.square(grid[np.abs(value[..., None] - grid).argmin(-1)] - value).sum()


def test_the_gradient_of_a_centroid_is_the_sum_over_its_weights() -> None:
    codes = torch.tensor([[0, 1, 2], [2, 2, 0]], dtype=torch.int32)
    form = Codebook(codes, torch.tensor([-1.0, 0.5]))
    form(torch.zeros(2, 3)).backward(torch.tensor([[10.0, 1.0, 2.0], [3.0, 4.0, 20.0]]))
    assert form.centroids.grad is not None and form.centroids.grad.tolist() == [1.0, 9.0]


def noting(**services: Any) -> tuple[Any, dict[str, Any]]:
    """A run with these services, and what is noted in it."""
    noted: dict[str, Any] = {}
    return SimpleNamespace(note=noted.update, **services), noted


def test_after_clustering_only_the_values_learn() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    Cluster(values=4).apply(model, noting()[0])
    for weight in weights(model):
        assert not weight.original.requires_grad
        assert len(torch.unique(weight.value.detach())) <= 4


def price(value: np.ndarray, codes: np.ndarray, centroids: np.ndarray, rate: float) -> float:
    """What the rate-aware choice minimises, per element: squared error in variances, and bits."""
    error = np.square(np.concatenate([[0], centroids])[codes] - value, dtype=float).mean()
    return float(error / value[value != 0].var(dtype=float) + rate * entropy(codes))


@pytest.mark.parametrize("case", ["normal", "sparse", "positive"])
@pytest.mark.parametrize("rate", [0.003, 0.03, 0.3])
def test_a_price_on_bits_buys_a_better_bargain_than_k_means(case: str, rate: float) -> None:
    value = CASES[case].astype(np.float32)
    codes, centroids = entropy_constrained(value, 15, rate)
    assert price(value, codes, centroids, rate) < price(value, *clustered(value, 15), rate)
    assert (codes[value == 0] == 0).all() and (np.diff(centroids) > 0).all()


def test_the_dearer_the_bits_the_fewer_and_the_more_zeros() -> None:
    value = CASES["sparse"].astype(np.float32)
    codes = [entropy_constrained(value, 15, rate)[0] for rate in (0.001, 0.01, 0.1, 1.0)]
    bits, zeros = [entropy(one) for one in codes], [int((one == 0).sum()) for one in codes]
    assert bits == sorted(bits, reverse=True) and zeros == sorted(zeros) and zeros[0] < zeros[-1]


@pytest.mark.parametrize("case", CASES)
def test_each_weight_takes_the_code_that_costs_it_least(case: str) -> None:
    value, rate = CASES[case].astype(np.float32), 0.02
    codes, centroids = entropy_constrained(value, 7, rate)
    nonzero = value[value != 0].astype(float)
    if len(nonzero):
        present, counts = np.unique(codes, return_counts=True)
        table = np.concatenate([[0], centroids])[present]
        cost = np.square(nonzero[:, None] - table) - rate * nonzero.var() * np.log2(counts / value.size)
        taken = cost[np.arange(len(nonzero)), np.searchsorted(present, codes[value != 0])]
        assert (taken <= cost.min(1) * (1 + 1e-4) + 1e-9).all()


def test_bits_are_counted_as_a_textbook_does() -> None:
    assert entropy(np.array([0, 0, 1, 2], np.int32)) == 1.5
    assert entropy(np.zeros(7, np.int32)) == 0


def values_of(name: str, model: torch.nn.Module) -> int:
    value = next(weight.value.detach() for weight in weights(model) if weight.name == name)
    return len(torch.unique(value[value != 0]))


def test_a_tolerance_gives_each_tensor_the_least_power_of_two_that_bears_it() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    needed = {"lstm.weight_hh_l0": 1, "lstm.weight_ih_l0": 4, "output.weight": 32}
    before = {weight.name: weight.value.detach().clone() for weight in weights(model)}

    def loss(model: torch.nn.Module) -> float:
        """One, and one more for each tensor that has fewer values than it needs."""
        changed = [w.name for w in weights(model) if not torch.equal(w.value, before[w.name])]
        assert len(changed) <= 1, "all other tensors are intact"
        return 1.0 + sum(values_of(name, model) < needed[name] for name in changed)

    run, noted = noting(validation_loss=loss)
    Cluster(tolerance=0.5).apply(model, run)
    assert {name: values_of(name, model) for name in needed} == needed
    assert {name: row["values"] for name, row in noted["tensors"].items()} == needed
    assert {row["rise"] for row in noted["tensors"].values()} == {0.0} and "remarks" not in noted


def test_the_search_ends_before_every_weight_has_its_own_value_and_says_so() -> None:
    model = toy.built("lstm", {"hidden": 4, "layers": 1})
    losses = iter([1.0] + [3.0] * 100)
    run, noted = noting(validation_loss=lambda model: next(losses))
    Cluster(tolerance=0.5, only="lstm.weight_hh_l0").apply(model, run)
    assert values_of("lstm.weight_hh_l0", model) <= 64               # it has 64 weights
    assert noted["remarks"] == "lstm.weight_hh_l0: the loss rises by 2 with 64 values, 0.5 allowed"


@pytest.mark.parametrize("settings", [{"values": 16}, {"tolerance": 0.1}, {"values": 16, "rate": 0.1}])
def test_a_tensor_with_little_in_it_is_clustered_and_remarked_on(settings: dict[str, Any]) -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    small = {weight.name: weight for weight in weights(model)}
    with torch.no_grad():
        small["lstm.weight_hh_l0"].original.zero_()
        small["output.weight"].original.sign_()
    run, noted = noting(validation_loss=lambda model: 1.0)
    Cluster(**settings).apply(model, run)
    assert not small["lstm.weight_hh_l0"].value.any()
    assert noted["tensors"]["lstm.weight_hh_l0"]["values"] == noted["tensors"]["lstm.weight_hh_l0"]["entropy"] == 0
    assert "lstm.weight_hh_l0: all zero" in noted["remarks"]
    if "values" in settings:
        assert "output.weight: 2 distinct nonzero values, fewer than 15" in noted["remarks"]
        assert (small["output.weight"].value.abs() == 1).all()


def test_in_a_run_the_ledger_has_what_each_tensor_got(tmp_path: Path) -> None:
    stages = '[[stages]]\nkind = "cluster"\ntolerance = 0.01\nrate = 0.01\n'
    run = Run(toy.recipe(stages, tmp_path), tmp_path / "run")
    model = compress(run)
    noted = run.rows[-1].details["tensors"]
    assert set(noted) == {weight.name for weight in weights(model)}
    assert all(row.keys() == {"values", "entropy", "rise"} and row["rise"] < 0.01 for row in noted.values())
    assert {row["values"] for row in noted.values()} <= set(range(1, 257))


def test_the_validation_loss_is_that_of_the_model_in_use(tmp_path: Path) -> None:
    run = Run(toy.recipe("", tmp_path), tmp_path / "run")
    model = run.start()
    dropped = model.output.register_forward_pre_hook(
        lambda layer, inputs: torch.nn.functional.dropout(inputs[0], 0.9, layer.training)
    )
    assert run.validation_loss(model) == run.validation_loss(model)
    dropped.remove()
