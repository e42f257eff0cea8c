"""What must hold for every stage there is, and for every one to come."""

from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from sottovoce.artefact.file import decode, encode
from sottovoce.ledger import Row
from sottovoce.run import Run, compress
from sottovoce.techniques import STAGES
from sottovoce.techniques.weights import learned, weights

PRUNED = '[[stages]]\nkind = "prune"\nratio = 0.5\n'
CLUSTERED = PRUNED + '[[stages]]\nkind = "cluster"\nvalues = 16\n'
BEFORE = {"pruned": PRUNED, "clustered": CLUSTERED, "half": PRUNED + '[[stages]]\nkind = "half"\n'}


def run_of(stages: str, folder: Path, name: str = "run", seed: int = 3) -> tuple[torch.nn.Module, Run]:
    run = Run(toy.recipe(stages, folder, seed=seed), folder / name)
    return compress(run), run


def test_every_stage_is_under_the_laws() -> None:
    assert set(toy.STAGE_TABLES) == set(STAGES)


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", STAGES)
def test_zero_weights_stay_zero(kind: str, before: str, tmp_path: Path) -> None:
    first, _ = run_of(BEFORE[before], tmp_path, "first")
    after, _ = run_of(BEFORE[before] + toy.stage_table(kind), tmp_path, "second")
    for old, new in zip(weights(first), weights(after), strict=True):
        assert old.name == new.name
        zeros = old.value == 0
        assert zeros.any() and (new.value[zeros] == 0).all(), old.name


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", STAGES)
def test_stored_bytes_decode_to_exactly_the_trained_weights(kind: str, before: str, tmp_path: Path) -> None:
    model, run = run_of(BEFORE[before] + toy.stage_table(kind), tmp_path)
    artefact = decode((run.directory / "model.sotto").read_bytes())
    for weight in learned(model):
        stored = artefact.tensors[weight.name].to_array()
        assert stored.tobytes() == (weight.value.detach() + 0.0).numpy().tobytes(), weight.name


@pytest.mark.parametrize("kind", STAGES)
def test_the_same_seed_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_of(PRUNED + toy.stage_table(kind), tmp_path, name)
    one, two = ((tmp_path / name / "model.sotto").read_bytes() for name in ("one", "two"))
    assert one == two


def test_another_seed_gives_other_weights(tmp_path: Path) -> None:
    (one, _), (two, _) = (run_of(toy.stage_table("train"), tmp_path, str(seed), seed) for seed in (1, 2))
    assert not torch.equal(weights(one)[0].value, weights(two)[0].value)


@pytest.mark.parametrize("kind", STAGES)
def test_the_stated_size_is_the_length_of_the_file(kind: str, tmp_path: Path) -> None:
    model, run = run_of(PRUNED + toy.stage_table(kind), tmp_path)
    from sottovoce.packing import pack

    assert run.rows[-1].bytes == len(encode(pack(model)))
    assert run.rows[-1].nonzeros == sum(int(np.count_nonzero(w.value.detach().numpy())) for w in learned(model))


@pytest.mark.parametrize("kind", ["prune", "cluster", "half"])
def test_a_stage_leaves_alone_what_its_pattern_leaves_out(kind: str, tmp_path: Path) -> None:
    before, _ = run_of("", tmp_path, "before")
    table = toy.stage_table(kind) + 'only = "output.weight"\n'
    after, _ = run_of(table, tmp_path, "after")
    changed = [
        old.name for old, new in zip(learned(before), learned(after), strict=True) if not torch.equal(old.value, new.value)
    ]
    assert changed == ["output.weight"]


class Stopped(Exception):
    """Stands for the power going out."""


class PowerCut:
    """A watcher that lets a run live for a given number of events."""

    def __init__(self, events: int) -> None:
        self.left = events

    def stage(self, name: str) -> None:
        self._count()

    def step(self, step: int, steps: int, loss: float) -> None:
        self._count()

    def row(self, row: Row) -> None:
        self._count()

    def _count(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped


@pytest.mark.parametrize("kind", STAGES)
@pytest.mark.parametrize("events", [1, 4, 7, 9])
def test_a_run_that_is_cut_off_goes_on_to_the_same_bytes(kind: str, events: int, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.training.SAVE_SECONDS", 0.0)
    stages = PRUNED + toy.stage_table(kind) + toy.stage_table("train")
    _, whole = run_of(stages, tmp_path, "whole")
    recipe = toy.recipe(stages, tmp_path)
    for _ in range(40):
        try:
            compress(Run(recipe, tmp_path / "cut", PowerCut(events)))
            break
        except Stopped:
            events += 1          # passing what is done costs an event a stage
    assert (tmp_path / "cut" / "model.sotto").read_bytes() == (whole.directory / "model.sotto").read_bytes()
    assert [row.stage for row in whole.rows] == [row.stage for row in Run(recipe, tmp_path / "cut")._ledger]
