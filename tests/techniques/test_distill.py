"""Distillation of what layers give: the right layers, the right distance, and nothing left behind."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import toy
from torch import Tensor, nn

from sottovoce.beginning import check
from sottovoce.checkpoints import load_tensors, save_tensors
from sottovoce.data.batches import Batch
from sottovoce.errors import FormatError, RecipeError
from sottovoce.run import Run, compress
from sottovoce.techniques.distill import Distill, Likeness, watched
from sottovoce.techniques.weights import tie
from sottovoce.training import Fitted


class Stacks(nn.Module):
    """Stacks of blocks in containers; a block gives a pair."""

    def __init__(self) -> None:
        super().__init__()
        self.stacks = nn.ModuleList(nn.ModuleList(Block() for _ in range(2)) for _ in range(3))
        self.last = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        for stack in self.stacks:
            assert isinstance(stack, nn.ModuleList)
            for block in stack:
                x, _ = block(x)
        return self.last(x)                      # type: ignore[no-any-return]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(self.one(x)), self.two(x)


def model(seed: int = 0) -> Stacks:
    torch.manual_seed(seed)
    return Stacks()


X = torch.linspace(-1, 1, 12).view(3, 4)


@pytest.mark.parametrize(("pattern", "count"), [
    ("stacks.*", 12), ("stacks.*.1", 6), ("stacks.0.0.one", 1), ("last", 1),
])
def test_the_outermost_modules_that_run_are_watched_each_pass_anew(pattern: str, count: int) -> None:
    stacks = model()
    with watched(stacks, pattern) as seen:
        for _ in range(2):
            out = stacks(X)
            assert len(seen) == count
        assert pattern != "last" or seen[0] is out
    stacks(2 * X)
    assert len(seen) == count                    # nobody looks any more


def test_modules_that_are_one_are_watched_as_often_as_they_run() -> None:
    stacks, shared = model(), model()
    tie(shared, {"stacks.1": "stacks.0", "stacks.2": "stacks.0"})
    with watched(stacks, "stacks.*") as ours, watched(shared, "stacks.*") as theirs:
        stacks(X), shared(X)
        assert len(ours) == len(theirs) == 12


def test_a_pattern_of_nothing_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"features: 'tcn.\*' matches no module; there are stacks, last"):
        Distill(4, features="tcn.*").apply(model(), SimpleNamespace(teacher=lambda which: model()))      # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0.25, 1.0])
@pytest.mark.parametrize(("features", "mapped"), [("", False), ("stacks.*.1", False), ("stacks.*.1", True)])
def test_the_loss_is_what_it_says(features: str, mapped: bool, weight: float) -> None:
    student, teacher = model(1), model(2)
    batch = Batch((X,), (torch.ones(3, 4),))
    found: list[float] = []

    def fit(model: nn.Module, loss: Any, *_: Any) -> Fitted:
        value = loss(model(X), batch)
        value.backward()
        found.append(value.item())
        maps = [tensor for name, tensor in model.named_parameters() if name.endswith("map")]
        assert len(maps) == mapped and all(map.grad.any() and torch.equal(map, torch.eye(4)) for map in maps)
        return Fitted(0, 0, 0)

    task = SimpleNamespace(loss=lambda outputs, batch: (outputs - batch.targets[0]).square().mean(),
                           imitation=lambda outputs, teacher, batch: (outputs - teacher).abs().mean(),
                           example=lambda: (X,))
    run = SimpleNamespace(task=task, teacher=lambda which: teacher, fit=fit)
    Distill(4, weight=weight, features=features, feature_weight=3.0, mapped=mapped).apply(student, run)     # type: ignore[arg-type]

    outputs, wanted, apart, x, y = student(X), teacher(X), [], X, X
    for one, other in zip(student.stacks, teacher.stacks, strict=True):
        for number in range(2):
            (x, skip), (y, wanted_skip) = one[number](x), other[number](y)       # type: ignore[index]
            if number == 1:
                apart += [(x - y).square().mean(), (skip - wanted_skip).square().mean()]
    value = (1 - weight) * task.loss(outputs, batch) + weight * task.imitation(outputs, wanted, batch)
    assert found == [pytest.approx(float(value + (3 * torch.stack(apart).mean() if features else 0)), rel=1e-5)]


def test_one_map_is_for_modules_of_one_width() -> None:
    wide = model()
    wide.last = nn.Linear(4, 6)
    run: Any = SimpleNamespace(task=SimpleNamespace(example=lambda: (X,)), teacher=lambda which: wide)
    with pytest.raises(RecipeError, match=r"features: one map for all needs outputs of one width, got \[4, 6\]"):
        Distill(4, features="*", mapped=True).apply(wide, run)


def test_modules_of_other_widths_are_named() -> None:
    far = Likeness([torch.zeros(2, 5, 4)], [torch.zeros(2, 5, 6)])
    with pytest.raises(RecipeError, match=r"expected outputs \[2, 5, 6\], as the teacher has, got \[2, 5, 4\]"):
        far()
    assert Likeness([torch.zeros(2, 5, 4)], [torch.zeros(2, 5, 6)], (4, 6))() == 0


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_temperature_is_that_of_both_and_the_hard_labels_have_none(temperature: float) -> None:
    (logits, others), labels = torch.randn(2, 2, 7, 5), torch.randint(0, 5, (2, 7))

    def cross_entropy(outputs: Tensor, wanted: Tensor) -> Tensor:
        return -(wanted.exp() * outputs).sum(-1).mean()

    task = SimpleNamespace(loss=lambda outputs, batch: nn.functional.nll_loss(outputs.transpose(1, 2), labels),
                           imitation=lambda outputs, teacher, batch: cross_entropy(outputs, teacher),
                           example=lambda: (torch.zeros(2, 7, 5),))
    found: list[float] = []

    def fit(model: nn.Module, loss: Any, *_: Any) -> Fitted:
        found.append(float(loss(logits.log_softmax(-1), Batch((others,), (labels,)))))
        return Fitted(0, 0, 0)

    run: Any = SimpleNamespace(task=task, teacher=lambda which: nn.LogSoftmax(-1), fit=fit)
    q = 0.2                                      # the paper's weight of the hard labels
    Distill(4, weight=1 / (1 + q), temperature=temperature).apply(nn.Identity(), run)
    soft, wanted = ((each / temperature).softmax(-1) for each in (logits, others))
    hard = nn.functional.cross_entropy(logits.transpose(1, 2), labels)
    assert found == [pytest.approx(float(-(wanted * soft.log()).sum(-1).mean() + q * hard) / (1 + q), rel=1e-5)]


def test_a_temperature_needs_log_probabilities() -> None:
    run: Any = SimpleNamespace(task=SimpleNamespace(example=lambda: (X,)), teacher=lambda which: model())
    with pytest.raises(RecipeError, match="temperature: expected a model that gives log probabilities"):
        Distill(4, temperature=2.0).apply(model(), run)


@pytest.mark.parametrize("settings", [{"weight": 0.0}, {"weight": 1.1}, {"feature_weight": 0.0}, {"mapped": True},
                                      {"temperature": 0.0}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Distill(4, **settings)


DISTILL = '[[stages]]\nkind = "distill"\nsteps = 2\n'


def test_the_dense_model_as_a_file_teaches_what_it_teaches_as_itself(tmp_path: Path) -> None:
    runs = {}
    for name, teacher in (("itself", ""), ("file", f'checkpoint = "{tmp_path}/itself/stages/00-start.safetensors"\n')):
        runs[name] = Run(toy.recipe(DISTILL + teacher, tmp_path), tmp_path / name)
        compress(runs[name])
    states = [load_tensors(tmp_path / name / "stages/01-distill.safetensors")[0] for name in runs]
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())
    assert runs["file"].rows[-1].settings["checkpoint"] == "00-start.safetensors"        # without the folders


def test_a_checkpoint_of_another_kind_or_size_teaches(tmp_path: Path) -> None:
    made = Run(toy.recipe("", tmp_path, model="units = 12\nlevel_seconds = 1.0", name="fdnn"), tmp_path / "teacher")
    compress(made)
    file = tmp_path / "teacher/stages/00-start.safetensors"
    recipe = toy.recipe(f'{DISTILL}weight = 1.0\ncheckpoint = "{file}"\n', tmp_path)
    list(check(recipe))
    student = Run(recipe, tmp_path / "student")
    teacher = student.teacher(file)
    assert type(teacher).__name__ == "FdnnEnhancer"
    assert all(torch.equal(tensor, load_tensors(file)[0][name]) for name, tensor in teacher.state_dict().items())
    compress(student)


NO_TEACHERS = [(None, "no such checkpoint"), ("other", "checkpoint of another model")]


@pytest.mark.parametrize(("content", "message"), NO_TEACHERS)
def test_a_teacher_that_is_none_is_refused_before_the_run(content: str | None, message: str, tmp_path: Path) -> None:
    if content is not None:
        save_tensors(tmp_path / "teacher.safetensors", toy.built("lstm", {"hidden": 4, "layers": 1}).state_dict())
    recipe = toy.recipe(f'{DISTILL}checkpoint = "{tmp_path}/teacher.safetensors"\n', tmp_path)
    with pytest.raises(FormatError, match=f"teacher.safetensors: {message}"):
        list(check(recipe))
