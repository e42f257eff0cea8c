"""Clustering gives few values, keeps zeros, and learns only the values."""

import numpy as np
import pytest
import torch
import toy

from sottovoce.techniques.cluster import Cluster, Codebook, clustered
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


def test_after_clustering_only_the_values_learn() -> None:
    model = toy.built("lstm", {"hidden": 8, "layers": 1})
    Cluster(values=4).apply(model, None)          # type: ignore[arg-type]
    for weight in weights(model):
        assert not weight.original.requires_grad
        assert len(torch.unique(weight.value.detach())) <= 4
