"""Low rank: a factored layer is the best of its rank, in the model, its checkpoints, its copies and its file."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import nn

from sottovoce.artefact.cost import multiply_adds
from sottovoce.artefact.file import load
from sottovoce.artefact.shrink import shrink
from sottovoce.beginning import check
from sottovoce.errors import FormatError, RecipeError
from sottovoce.export.check import check as check_export
from sottovoce.export.onnx import export_onnx
from sottovoce.packing import pack
from sottovoce.run import Run, compress, on_arrays
from sottovoce.runtime import Session
from sottovoce.runtime.transcribe import BLANK
from sottovoce.techniques.factorize import Factorize
from sottovoce.techniques.factors import Factored, linears, ranks_of
from sottovoce.techniques.snapshot import restore, snapshot
from sottovoce.techniques.weights import learned, plain

FACTORED = '[[stages]]\nkind = "factorize"\ntarget = 0.3\n'
AFTER = {
    "nothing": "",
    "pruning and distillation": '[[stages]]\nkind = "prune"\nratio = 0.5\n'
                                '[[stages]]\nkind = "distill"\nteacher = "dense"\nsteps = 2\n',
    "levels and rounded inputs": '[[stages]]\nkind = "quantize"\nbits = 4\n'
                                 '[[stages]]\nkind = "activations"\nranges = "static"\nutterances = 2\n',
    "another rank": FACTORED,
}


class Layers(nn.Module):
    """Three layers of known singular values, the last of which no two thinner ones would make smaller."""

    def __init__(self, config: None = None) -> None:
        super().__init__()
        self.config = config
        torch.manual_seed(0)
        self.first, self.second, self.third = nn.Linear(20, 30), nn.Linear(30, 20, bias=False), nn.Linear(20, 1)
        with torch.no_grad():
            for layer, fall in ((self.first, 0.5), (self.second, 0.8)):
                left, _, right = torch.linalg.svd(layer.weight, full_matrices=False)
                layer.weight.copy_(left * fall ** torch.arange(20) @ right)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.third(torch.relu(self.second(torch.relu(self.first(x)))))        # type: ignore[no-any-return]


class Notes:
    """As much of a run as the stage uses."""

    def __init__(self) -> None:
        self.details: dict[str, Any] = {}

    def note(self, **details: Any) -> None:
        self.details |= details


def parameters(model: nn.Module) -> int:
    return sum(weight.value.numel() for weight in learned(model))


def applied(target: float, **more: Any) -> tuple[nn.Module, dict[str, Any]]:
    notes: Any = Notes()
    return Factorize(target, **more).apply(Layers(), notes), notes.details


@pytest.mark.parametrize("target", [0.05, 0.3, 0.6, 0.85])
def test_the_share_that_goes_is_the_least_that_reaches_the_target(target: float) -> None:
    model, notes = applied(target)
    whole = parameters(Layers())
    assert notes["removed"] == pytest.approx(1 - parameters(model) / whole)
    assert target <= notes["removed"] < target + 50 / whole              # 50 for each rank
    assert notes["ranks"].get("first", [20])[0] < notes["ranks"].get("second", [20])[0] or target == 0.85
    assert "third" not in notes["ranks"] and isinstance(model.third, nn.Linear)


def test_a_factored_matrix_is_the_nearest_of_its_rank() -> None:
    model, notes = applied(0.3)
    model.requires_grad_(False)
    assert ranks_of(model) == {name: rank for name, (rank, _) in notes["ranks"].items()}
    for name, rank in ranks_of(model).items():
        whole, made = linears(Layers())[name], linears(model)[name]
        left_out = torch.linalg.matrix_norm(whole.weight - made.weight) ** 2
        values = torch.linalg.svdvals(whole.weight).square()
        torch.testing.assert_close(left_out, values[rank:].sum(), atol=1e-9, rtol=1e-3)
        assert (left_out / values.sum()).item() <= notes["lost"] + 1e-6
        assert (made.bias is None) == (whole.bias is None)


def test_a_matrix_of_low_rank_stays_what_it_is() -> None:
    model, x = Layers(), torch.randn(4, 20)
    with torch.no_grad():
        model.first.weight[:, 5:] = model.first.weight[:, :1]                        # of rank 5
        before = model(x)
        after = Factorize(0.1, "first").apply(model, Notes())                        # type: ignore[arg-type]
        torch.testing.assert_close(after(x), before, atol=1e-5, rtol=0)
    assert ranks_of(after) == {"first": 5}


def test_what_is_factored_can_be_factored_again() -> None:
    once, _ = applied(0.3)
    twice = Factorize(0.2).apply(once, Notes())                                      # type: ignore[arg-type]
    straight, _ = applied(1 - parameters(twice) / parameters(Layers()))
    assert ranks_of(twice) == ranks_of(straight) and not any("." in name for name in ranks_of(twice))
    for name, layer in linears(straight).items():
        torch.testing.assert_close(linears(twice)[name].weight, layer.weight, atol=1e-5, rtol=0)


@pytest.mark.parametrize("after", AFTER)
def test_the_structure_lives_on(after: str, tmp_path: Path) -> None:
    """In checkpoints, copies and the file, whose two linear operations every runtime knows."""
    run = Run(toy.recipe(FACTORED + AFTER[after], tmp_path, "units = 24\nlayers = 2", name="fdnn"), tmp_path / "run")
    model = compress(run)
    assert ranks_of(model).keys() >= {"hidden.0"}
    assert ranks_of(plain(model)) == ranks_of(model) == ranks_of(run.recall(run.keep(model)))
    artefact = load(run.directory / "model.sotto")
    assert "hidden.0.down.weight" in artefact.tensors and "hidden.0.weight" not in artefact.tensors
    assert artefact.meta["parameters"] == parameters(model)
    waveform = np.random.default_rng(0).normal(0, 0.1, 4000).astype(np.float32)
    given = on_arrays(model)(waveform)
    np.testing.assert_allclose(Session(artefact).run(waveform), given, atol=1e-4)
    np.testing.assert_array_equal(on_arrays(compress(Run(run.recipe, run.directory)))(waveform), given)
    assert multiply_adds(artefact)[1] == run.rows[-1].multiply_adds
    check_export(export_onnx(artefact), artefact)


def test_a_recognizer_that_was_cut_is_factored_too() -> None:
    model = toy.built("conformer", toy.RECOGNIZER_SETTINGS["conformer"][2])
    model = Factorize(0.1).apply(model, Notes())                                     # type: ignore[arg-type]
    artefact = pack(model, {"sample_rate": 16_000, "symbols": [BLANK, *"abcd"]})
    waveform = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0))
    given = on_arrays(model)(waveform.numpy())
    assert ranks_of(model)
    for ours in (artefact, shrink(artefact)):
        np.testing.assert_allclose(Session(ours).run(waveform.numpy()), given, atol=1e-4)
    check_export(export_onnx(artefact), artefact)


@pytest.mark.parametrize("modules", ["middle.*", "middle.*.enter"])
def test_shared_layers_stay_shared(modules: str, tmp_path: Path) -> None:
    share = f'[[stages]]\nkind = "share"\nmodules = "{modules}"\nevery = 6\n'
    factorize = '[[stages]]\nkind = "factorize"\ntarget = 0.01\nmodules = "middle.*.enter"\n'
    run = Run(toy.recipe(share + factorize, tmp_path, "middle = 8\nblocks = 2", name="tcnn"), tmp_path / "run")
    model = compress(run)
    assert ranks_of(model)
    for copy in (model, plain(model), compress(Run(run.recipe, run.directory))):
        for name, rank in ranks_of(model).items():
            _, number, layer = name.split(".")
            twin = copy.get_submodule(f"middle.{int(number) + 6}.{layer}")
            assert isinstance(twin, Factored) and twin.rank == rank and twin is copy.get_submodule(name)


def test_a_checkpoint_of_other_layers_is_refused() -> None:
    kept = snapshot(applied(0.3)[0])
    with pytest.raises(FormatError, match="fourth is no linear layer"):
        restore(Layers(), *kept._replace(factored={"fourth": 3}))


REFUSED: list[tuple[str, str, str]] = [
    ("target = 0.3", "lstm", "expected 0.3 of the parameters to go, got 0.149 with matrices of rank 1 in all of 1 "),
    ('target = 0.1\nmodules = "lstm"', "lstm", "modules: 'lstm' matches no linear layer; there are: output"),
    ("target = 1.0", "fdnn", "target must be between 0 and 1, got 1.0"),
]


@pytest.mark.parametrize(("settings", "model", "message"), REFUSED)
def test_what_cannot_be_done_is_refused(settings: str, model: str, message: str, tmp_path: Path) -> None:
    sizes = {"lstm": "hidden = 8\nlayers = 2", "fdnn": "units = 12"}[model]
    with pytest.raises(RecipeError, match=re.escape(message)):
        recipe = toy.recipe(f'[[stages]]\nkind = "factorize"\n{settings}\n', tmp_path, sizes, name=model)
        list(check(recipe))
        compress(Run(recipe, tmp_path / "run"))


def test_layers_that_hear_rounded_values_are_refused(tmp_path: Path) -> None:
    stages = '[[stages]]\nkind = "activations"\n' + FACTORED
    recipe = toy.recipe(stages, tmp_path, "units = 12", name="fdnn")
    with pytest.raises(RecipeError, match=r"a stage before it rounds what hidden\.0 gets"):
        compress(Run(recipe, tmp_path / "run"))
