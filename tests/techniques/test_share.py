"""Sharing: what was several is one, in the model, its checkpoints and its file."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from sottovoce.artefact.file import load
from sottovoce.errors import RecipeError
from sottovoce.run import Run, compress, on_arrays
from sottovoce.runtime import Session
from sottovoce.techniques.share import Share
from sottovoce.techniques.weights import learned, plain

TCNN = "middle = 8\nblocks = 2"
SHARED = '[[stages]]\nkind = "share"\nmodules = "middle.*"\nevery = 6\n'
AFTER = {
    "nothing": "",
    "pruning and distillation": '[[stages]]\nkind = "prune"\nratio = 0.5\n'
                                '[[stages]]\nkind = "distill"\nteacher = "dense"\nsteps = 2\n',
    "codebooks and half precision": '[[stages]]\nkind = "cluster"\nvalues = 8\n[[stages]]\nkind = "half"\n',
}


def run_of(stages: str, directory: Path) -> Run:
    return Run(toy.recipe(stages, directory / "lists", TCNN, name="tcnn"), directory / "run")


@pytest.mark.parametrize("after", AFTER)
def test_shared_weights_are_stored_once_and_used_everywhere(after: str, tmp_path: Path) -> None:
    run = run_of(SHARED + AFTER[after], tmp_path)
    model = compress(run)
    blocks = {weight.name.split(".")[1] for weight in learned(model) if weight.name.startswith("middle.")}
    assert blocks == set("012345")
    artefact = load(run.directory / "model.sotto")
    assert {name.split(".")[1] for name in artefact.tensors if name.startswith("middle.")} == blocks
    assert artefact.meta["parameters"] == sum(weight.value.numel() for weight in learned(model))
    waveform = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    given = on_arrays(model)(waveform)
    np.testing.assert_allclose(Session(artefact).run(waveform), given, atol=1e-5)
    np.testing.assert_array_equal(on_arrays(compress(Run(run.recipe, run.directory)))(waveform), given)


def test_the_start_is_the_one_of_lowest_loss(tmp_path: Path) -> None:
    run = run_of(SHARED, tmp_path)
    model = compress(run)
    details = run.rows[-1].details
    assert details["shared"] == [[f"middle.{n}", f"middle.{n + 6}"] for n in range(6)]
    members = [", ".join(f"middle.{n + first}" for n in range(6)) for first in (0, 6)]
    assert set(details["losses"]) == {*members, "mean"}
    assert details["losses"][details["start"]] == min(details["losses"].values())
    assert run.validation_loss(model) == pytest.approx(min(details["losses"].values()), rel=1e-6)


def test_a_plain_copy_shares_what_the_model_shares(tmp_path: Path) -> None:
    model = compress(run_of(SHARED + AFTER["codebooks and half precision"], tmp_path))
    copy = plain(model)
    assert copy.get_submodule("middle.7") is copy.get_submodule("middle.1")
    noise = torch.randn(1, 4000)
    with torch.no_grad():
        torch.testing.assert_close(copy(noise), model.eval()(noise))


REFUSED = [
    ('modules = "stacks.*"', "expected two or more times 1 modules named 'stacks.*', got none; the model has: frames"),
    ('modules = "middle.*"\nevery = 5', "expected two or more times 5 modules named 'middle.*', got middle.0, "),
    ('modules = "middle.*"', "middle.1 is not built like middle.0; see `every`"),
]


@pytest.mark.parametrize(("settings", "message"), REFUSED)
def test_what_is_not_alike_is_not_shared(settings: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape(message)):
        compress(run_of(f'[[stages]]\nkind = "share"\n{settings}\n', tmp_path))


def test_weights_that_are_held_are_not_shared(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"a stage before it holds middle\.0\.enter\.bias"):
        compress(run_of('[[stages]]\nkind = "half"\n' + SHARED, tmp_path))
    with pytest.raises(ValueError, match="every must be at least 1, got 0"):
        Share("middle.*", 0)
