"""Training on whole utterances: its objective rises, its lattices are made once, and it is the same however cut off."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kaldifst
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sottovoce.data.batches import Batch
from sottovoce.data.rows import Span
from sottovoce.decoding.alternatives import LatticeDecoder
from sottovoce.decoding.lattices import Lattice
from sottovoce.decoding.paths import OBJECTIVES, Paths
from sottovoce.decoding.phones import PhoneGraph
from sottovoce.errors import RecipeError
from sottovoce.techniques.sequence import SequenceTraining, won
from sottovoce.training import Schedule, fit

STATES, FRAMES, WIDTH = 4, 9, 3
ROWS = [np.array([int(state) for state in row]) for row in ("001123301", "233000111", "012223233")]
GRAPH = """
0 1 1 1 1.2
1 1 1 0 0.4
1 2 2 0 0.4
2 2 2 0
2 0 0 0 0.1
0 3 3 2 0.5
3 3 3 0
3 4 4 0
4 4 4 0
4 0 0 0
0
""".lstrip()


class Frames(nn.Module):
    """Features of frames to log probabilities of states."""

    def __init__(self, config: Any = None) -> None:
        super().__init__()
        self.config, self.output = config, nn.Linear(WIDTH, STATES)

    def forward(self, frames: Tensor) -> Tensor:
        return torch.log_softmax(self.output(frames), -1)


def model(seed: int = 0) -> Frames:
    torch.manual_seed(seed)
    return Frames()


class Toy:
    """Two rows, the first of two utterances and a frame that is of none; one utterance is too short for a word."""

    log_priors = np.log([0.3, 0.3, 0.2, 0.2])

    def __init__(self) -> None:
        self.searched = 0
        features = np.random.default_rng(0).normal(0, 0.3, (2, 2 * FRAMES + 1, WIDTH))
        features[0, :FRAMES] += np.eye(STATES)[ROWS[0]][:, :WIDTH]
        features[0, FRAMES + 1 :] += np.eye(STATES)[ROWS[1]][:, :WIDTH]
        features[1, :FRAMES] += np.eye(STATES)[ROWS[2]][:, :WIDTH]
        self.batch = Batch((torch.from_numpy(features).float(),), ())

    def batches(self, start: int, stride: int) -> Iterator[Batch]:
        while True:
            yield self.batch

    def spans(self, batch: Batch) -> list[Span]:
        return [Span("a/1", 0, 0, ROWS[0]), Span("a/2", 0, FRAMES + 1, ROWS[1]), Span("b/1", 1, 0, ROWS[2]),
                Span("b/short", 1, FRAMES, ROWS[0][:1])]

    def alternatives(self, beam: float, lattice_beam: float) -> "Toy":
        self.search = LatticeDecoder(kaldifst.compile(GRAPH), beam, lattice_beam)
        return self

    def lattice(self, scores: np.ndarray) -> Lattice | None:
        self.searched += 1
        return self.search.lattice(scores)

    def anything(self) -> PhoneGraph:
        return PhoneGraph.seen(ROWS, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        spans = self.spans(batch)
        return torch.cat([nn.functional.nll_loss(span.of(outputs), torch.from_numpy(span.states), reduction="none")
                          for span in spans]).mean()

    def imitation(self, outputs: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        return -(teacher.exp() * outputs).sum(-1).mean()


class Memory:
    """Keeps what a fit saves, and lets it live for so many steps."""

    def __init__(self, steps: int) -> None:
        self.kept: dict[str, Tensor] | None = None
        self.steps = steps

    def load(self) -> dict[str, Tensor] | None:
        return self.kept

    def save(self, tensors: Any) -> None:
        self.kept = {name: tensor.clone() for name, tensor in tensors.items()}

    def step(self, step: int, loss: float) -> None:
        self.steps -= 1
        if not self.steps:
            raise KeyboardInterrupt


def trained(folder: Path, task: Any = None, steps: int = 3, memory: Memory | None = None,
            **settings: Any) -> tuple[Frames, dict[str, Any]]:
    """A model after the stage, and what the stage noted."""
    task, memory = task or Toy(), memory or Memory(0)
    notes: dict[str, Any] = {}

    def fitted(learner: nn.Module, loss: Any, schedule: Schedule, penalties: Any) -> Any:
        return fit(learner, task.batches, loss, schedule, penalties=penalties, checkpoint=memory, on_step=memory.step)

    run: Any = SimpleNamespace(task=task, fit=fitted, note=notes.update, folder=lambda: folder,
                               teacher=lambda which: model({"dense": 1, "previous": 2}[which]))
    stage = SequenceTraining(steps, **{"lr": 0.02, "lattice_beam": 50.0, "beam": 50.0, **settings})
    return stage.apply(model(), run), notes                                       # type: ignore[return-value]


def ways(lattice: str) -> Callable[[np.ndarray], Paths]:
    task = Toy()
    search = task.alternatives(50.0, 50.0)
    return lambda scores: task.anything() if lattice == "free" else search.lattice(scores)       # type: ignore[return-value]


both = pytest.mark.parametrize("lattice", ["decoder", "free"])
each = pytest.mark.parametrize("objective", OBJECTIVES)


@both
@each
@pytest.mark.parametrize("scale", [0.1, 1.0])
def test_the_gradient_is_that_of_the_objective(lattice: str, objective: str, scale: float) -> None:
    torch.manual_seed(0)
    outputs = torch.log_softmax(torch.randn(FRAMES, STATES, dtype=torch.float64), -1).requires_grad_()
    paths = ways(lattice)(scale * (outputs.detach().numpy() - Toy.log_priors))
    assert torch.autograd.gradcheck(
        lambda outputs: won(outputs, Toy.log_priors, scale, objective, paths, ROWS[0]), (outputs,), rtol=1e-4)


@both
@each
def test_the_objective_rises_with_every_step_that_is_kept(lattice: str, objective: str) -> None:
    """All utterances at once by plain ascent: a step that did not raise it is taken back, and the next half as long."""
    task, learner, rate = Toy(), model(), 4.0
    spans = task.spans(task.batch)[:3]
    with torch.no_grad():
        start = [span.of(learner(*task.batch.inputs)).numpy() - task.log_priors for span in spans]
    paths = [ways(lattice)(scores) for scores in start]

    def value() -> Tensor:
        outputs = learner(*task.batch.inputs)
        return sum((won(span.of(outputs), task.log_priors, 1.0, objective, each, span.states)
                    for span, each in zip(spans, paths, strict=True)), torch.zeros(()))

    kept, refused = [value()], 0
    for _ in range(30):
        learner.zero_grad()
        value().backward()
        before = {name: tensor.clone() for name, tensor in learner.state_dict().items()}
        with torch.no_grad():
            for parameter in learner.parameters():
                assert parameter.grad is not None
                parameter += rate * parameter.grad
        if (now := value()) > kept[-1]:
            kept.append(now)
        else:
            learner.load_state_dict(before)
            rate, refused = rate / 2, refused + 1
    assert len(kept) > 10 and refused < 20
    right = sum(len(span.states) for span in spans)
    assert kept[-1] - kept[0] > (0.1 * right if objective == "smbr" else 1.0)


@both
@each
def test_the_stage_raises_the_objective_and_tells_it(lattice: str, objective: str, tmp_path: Path) -> None:
    _, notes = trained(tmp_path, steps=30, lattice=lattice, objective=objective, weight=0.0, scale=1.0)
    assert len(notes["objective"]) == 10 and notes["objective"][-1] > notes["objective"][0] + 0.05
    assert notes["left_out"] == (lattice == "decoder")


def test_lattices_are_made_once_and_an_utterance_without_one_is_left_out(tmp_path: Path) -> None:
    first, again = Toy(), Toy()
    one, notes = trained(tmp_path, first)
    assert first.searched == 4 and notes["left_out"] == 1
    sizes = {path.name: path.stat().st_size > 0 for path in tmp_path.iterdir()}
    assert sizes == {"a%2F1.npz": True, "a%2F2.npz": True, "b%2F1.npz": True, "b%2Fshort.npz": False}
    other, _ = trained(tmp_path, again)
    assert not again.searched
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_a_fit_that_is_cut_off_goes_on_to_the_same_weights_and_tells_all_of_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sottovoce.training.SAVE_SECONDS", 0.0)
    monkeypatch.setattr("sottovoce.training.GOOD_STEPS", 1)
    whole, told = trained(tmp_path / "whole", steps=6)
    memory = Memory(4)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", steps=6, memory=memory)
    assert memory.kept
    rest, told_again = trained(tmp_path / "parts", steps=6, memory=memory)
    assert told == told_again and len(told["objective"]) == 6
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), rest.parameters(), strict=True))


@pytest.mark.parametrize("settings", [{}, {"teacher": "dense"}, {"teacher": "previous"}, {"weight": 0.0}])
def test_beside_it_the_model_learns_from_the_task_or_a_teacher(settings: dict[str, Any], tmp_path: Path) -> None:
    task, seen = Toy(), []

    def fitted(learner: nn.Module, loss: Any, schedule: Schedule, penalties: Any) -> Any:
        outputs = learner(*task.batch.inputs)
        seen.append(float(loss(outputs, task.batch).detach()))
        parts = [won(span.of(outputs), task.log_priors, 0.5, "smbr", task.anything(), span.states)
                 for span in task.spans(task.batch)]
        teacher = {"dense": 1, "previous": 2}.get(settings.get("teacher", ""))
        rest = task.loss(outputs, task.batch) if teacher is None else (
            task.imitation(outputs, model(teacher)(*task.batch.inputs), task.batch))
        seen.append(float(settings.get("weight", 0.2) * rest.detach() - sum(parts).detach() / (3 * FRAMES + 1)))
        return SimpleNamespace(setbacks=())

    run: Any = SimpleNamespace(task=task, fit=fitted, note=lambda **details: None,
                               teacher=lambda which: model({"dense": 1, "previous": 2}[which]))
    SequenceTraining(1, lattice="free", scale=0.5, **settings).apply(model(), run)
    assert seen[0] == pytest.approx(seen[1], rel=1e-5)


@pytest.mark.parametrize(("settings", "message"), [
    ({"scale": 0.0}, "scale must be a positive number, got 0.0"),
    ({"beam": float("inf")}, "beam must be a positive number, got inf"),
    ({"lattice_beam": -1.0}, "lattice_beam must be a positive number"),
    ({"weight": -0.2}, "weight must be a number, 0 or more, got -0.2"),
    ({"steps": 0}, "steps must be at least 1"),
])
def test_what_cannot_be_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SequenceTraining(**{"steps": 1, **settings})


def test_a_task_without_states_is_refused() -> None:
    run: Any = SimpleNamespace(task=SimpleNamespace(loss=None))
    with pytest.raises(RecipeError, match="expected a task whose frames are aligned with states"):
        SequenceTraining(1).apply(model(), run)
