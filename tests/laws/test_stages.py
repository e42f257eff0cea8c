"""What must hold for every stage there is, and for every one to come."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from sottovoce.artefact.cost import multiply_adds
from sottovoce.artefact.file import decode, encode, load
from sottovoce.artefact.shrink import shrink
from sottovoce.ledger import Row, Watcher, read_ledger
from sottovoce.packing import pack
from sottovoce.run import Run, compress, on_arrays
from sottovoce.runtime import Session
from sottovoce.techniques import STAGES
from sottovoce.techniques.weights import learned, weights

PRUNED = '[[stages]]\nkind = "prune"\nratio = 0.5\n'
BEFORE = {
    "pruned": PRUNED,
    "clustered": PRUNED + '[[stages]]\nkind = "cluster"\nvalues = 16\n',
    "half": PRUNED + '[[stages]]\nkind = "half"\n',
}
Made = tuple[torch.nn.Module, Run]
Maker = Callable[..., Made]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    """Runs stages once each: (TOML, seed, kind of the stage that the model is for, or its name) -> model and run."""
    lists = tmp_path_factory.mktemp("lists")

    @cache
    def make(stages: str, seed: int = 3, kind: str = "", name: str = "") -> Made:
        recipe = toy.recipe(stages, lists, seed=seed, **({"name": name} if name else toy.STAGE_MODELS.get(kind, {})))
        run = Run(recipe, tmp_path_factory.mktemp("run"))
        return compress(run), run

    return make


def test_every_stage_is_under_the_laws() -> None:
    # After sharing there are fewer weights than before: tests/techniques/test_share.py has laws of its own.
    # Sequences and speakers need a task of their own: see test_sequence.py and test_adapt.py there.
    assert set(toy.STAGE_TABLES) == set(STAGES) - {"share", "sequence", "adapt"}


# A matrix that is factored is another one.
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", [kind for kind in toy.STAGE_TABLES if kind != "factorize"])
def test_zero_weights_stay_zero(kind: str, before: str, made: Maker) -> None:
    (first, _), (after, _) = (
        made(stages, kind=kind) for stages in (BEFORE[before], BEFORE[before] + toy.stage_table(kind)))
    for old, new in zip(weights(first), weights(after), strict=True):
        assert old.name == new.name
        zeros = old.value == 0
        assert zeros.any() and (new.value[zeros] == 0).all(), old.name


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", toy.STAGE_TABLES)
def test_stored_bytes_decode_to_exactly_the_trained_weights(kind: str, before: str, made: Maker) -> None:
    model, _ = made(BEFORE[before] + toy.stage_table(kind), kind=kind)
    artefact = decode(encode(pack(model)))
    for weight in learned(model):
        stored = artefact.tensors[weight.name].to_array()
        assert stored.tobytes() == (weight.value.detach() + 0.0).numpy().tobytes(), weight.name


EMPTIED = '[[stages]]\nkind = "prune"\nratio = 0.97\n[[stages]]\nkind = "prune"\nratio = 0.9\nonly = "output.weight"\n'


@pytest.mark.parametrize("before", [*BEFORE, "emptied"])
@pytest.mark.parametrize("kind", toy.STAGE_TABLES)
def test_the_file_holds_what_is_left_of_the_trained_weights(kind: str, before: str, made: Maker) -> None:
    model, run = made({**BEFORE, "emptied": EMPTIED}[before] + toy.stage_table(kind), kind=kind)
    artefact = load(run.directory / "model.sotto")
    removed, folded = artefact.meta.get("removed", {}), artefact.meta.get("folded", [])
    assert removed or before != "emptied"
    for weight in learned(model):
        trained = (weight.value.detach() + 0.0).numpy()
        if weight.name not in removed and weight.name not in folded:
            assert artefact.tensors[weight.name].to_array().tobytes() == trained.tobytes(), weight.name
        elif removed.get(weight.name, [None])[-1] is not None:
            kept = artefact.tensors[weight.name].to_array()
            assert removed[weight.name] == [list(trained.shape), list(kept.shape)]
            assert weight.name in folded or np.isin(kept, trained).all(), weight.name
    waveform = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    assert np.abs(Session(artefact).run(waveform) - on_arrays(model)(waveform)).max() < 1e-5


@pytest.mark.parametrize("kind", toy.STAGE_TABLES)
def test_every_stage_takes_a_gru(kind: str, made: Maker) -> None:
    model, run = made(PRUNED + toy.stage_table(kind).replace("hidden.*", "gru"), name="gru")
    assert all((weight.value == 0).any() for weight in weights(model, "gru.*"))
    waveform = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    artefact = load(run.directory / "model.sotto")
    assert np.abs(Session(artefact).run(waveform) - on_arrays(model)(waveform)).max() < 1e-5


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("kind", toy.STAGE_TABLES)
def test_the_stated_size_is_the_length_of_the_file(kind: str, before: str, made: Maker) -> None:
    model, run = made(BEFORE[before] + toy.stage_table(kind), kind=kind)
    artefact = shrink(pack(model, {"sample_rate": run.task.sample_rate}))
    assert run.rows[-1].bytes == len(encode(artefact))
    shipped = load(run.directory / "model.sotto")
    assert run.rows[-1].nonzeros == sum(np.count_nonzero(stored.to_array()) for stored in shipped.tensors.values())
    assert run.rows[-1].multiply_adds == multiply_adds(shipped)[1]


@pytest.mark.parametrize("kind", toy.STAGE_TABLES)
def test_the_same_seed_gives_the_same_bytes(kind: str, made: Maker, tmp_path: Path) -> None:
    _, one = made(PRUNED + toy.stage_table(kind), kind=kind)
    compress(Run(one.recipe, tmp_path))
    assert (tmp_path / "model.sotto").read_bytes() == (one.directory / "model.sotto").read_bytes()


def test_another_seed_gives_other_weights(made: Maker) -> None:
    (one, _), (two, _) = (made(toy.stage_table("train"), seed) for seed in (1, 2))
    assert not torch.equal(weights(one)[0].value, weights(two)[0].value)


@pytest.mark.parametrize("kind", ["prune", "cluster", "half"])
def test_a_stage_leaves_alone_what_its_pattern_leaves_out(kind: str, made: Maker) -> None:
    (before, _), (after, _) = made(""), made(toy.stage_table(kind) + 'only = "output.weight"\n')
    pairs = zip(learned(before), learned(after), strict=True)
    assert [old.name for old, new in pairs if not torch.equal(old.value, new.value)] == ["output.weight"]


class StoppedError(Exception):
    """Stands for the power going out."""


class PowerCut(Watcher):
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
            raise StoppedError


@pytest.mark.parametrize("kind", toy.STAGE_TABLES)
@pytest.mark.parametrize("events", [2, 7])
def test_a_run_that_is_cut_off_goes_on_to_the_same_bytes(kind: str, events: int, made: Maker, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.training.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("sottovoce.training.GOOD_STEPS", 1)
    _, whole = made(PRUNED + '[[stages]]\nkind = "half"\n' + toy.stage_table(kind) + toy.stage_table("train"),
                    kind=kind)
    for _ in range(40):
        try:
            compress(Run(whole.recipe, tmp_path, PowerCut(events)))
            break
        except StoppedError:
            events += 1          # passing what is done costs an event a stage
    assert (tmp_path / "model.sotto").read_bytes() == (whole.directory / "model.sotto").read_bytes()
    assert [row.stage for row in read_ledger(tmp_path / "ledger.jsonl")] == [row.stage for row in whole.rows]
