"""Adaptation to speakers without transcripts: to each anew, the gates alone, and the model stays as it came."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import toy
from torch import nn

from sottovoce.errors import RecipeError
from sottovoce.metrics.statistics import Rate
from sottovoce.techniques import Cluster
from sottovoce.techniques.adapt import Adapt, adapted, distance, log_probabilities
from sottovoce.techniques.snapshot import snapshot
from sottovoce.training import Schedule

RATE = 1600                                      # Hz: five seconds are not much
LENGTHS = {"ann": 9000, "bob": 7000, "cy": 10_000}       # samples: cy says two things, bob too little
SPEAKERS = ["ann", "bob", "cy", "cy"]


def network(seed: int = 0) -> nn.Module:
    return toy.built("hdnn", {"states": 4, "hidden": 8, "layers": 3, "bins": 5, "context": 3}, seed)


def waveform(name: str) -> np.ndarray:
    random = np.random.default_rng(LENGTHS[name])
    return random.normal(0, 0.1, LENGTHS[name]).astype(np.float32)


class Talks:
    """A task of three speakers, whose frames the teacher knows; it scores how far a model is from that."""

    sample_rate = RATE

    def __init__(self) -> None:
        self.teacher = network(1)
        self.asked: list[np.ndarray] = []

    def truth(self, name: str) -> np.ndarray:
        return log_probabilities(self.teacher, torch.from_numpy(waveform(name))[None])[0].numpy()

    def speakers(self, split: str) -> list[str]:
        return SPEAKERS if split == "dev" else []

    def labels(self, said: np.ndarray) -> np.ndarray:
        self.asked.append(said)
        return np.where(np.arange(len(said)) % 2, said.argmax(-1), -1)

    def scores(self, model: Any, split: str) -> list[dict[str, float]]:
        found = []
        for name in LENGTHS:
            said, truth = model(waveform(name)), self.truth(name)
            loss = -(np.exp(truth) * said).sum(-1)
            halves = np.array_split(loss, SPEAKERS.count(name))
            found += [{"apart": Rate(half.sum(), len(half))} for half in halves]
        return found


def noted(stage: Adapt, model: nn.Module, task: Any) -> dict[str, Any]:
    details: dict[str, Any] = {}
    run: Any = SimpleNamespace(task=task, teacher=lambda which: task.teacher, note=details.update)
    assert stage.apply(model, run) is model
    return details


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("labels", ["teacher", "decoded"])
def test_it_tells_of_each_speaker_and_leaves_the_model_as_it_came(labels: Any, compressed: bool) -> None:
    model, task = network(), Talks()
    if compressed:
        Cluster(values=4).apply(model, SimpleNamespace(note=lambda **details: None))         # type: ignore[arg-type]
    before = snapshot(model)
    details = noted(Adapt(labels=labels, lr=0.02), model, task)
    after = snapshot(model)
    assert before.forms == after.forms
    assert all(torch.equal(tensor, after.tensors[name]) for name, tensor in before.tensors.items())
    speakers = details["speakers"]
    assert {name: told["seconds"] * RATE for name, told in speakers.items()} == LENGTHS
    assert details["left_alone"] == ["bob"] and speakers["bob"]["before"] == speakers["bob"]["after"]
    frames = {name: (length + 80) // 160 for name, length in LENGTHS.items()}
    for side in ("before", "after"):             # of all frames, as every mean of rates
        total = sum(frames[name] * speakers[name][side]["apart"] for name in LENGTHS) / sum(frames.values())
        assert details[side]["apart"] == pytest.approx(total)
    for name in ("ann", "cy"):
        better = speakers[name]["after"]["apart"] < speakers[name]["before"]["apart"]
        assert better if labels == "teacher" else speakers[name]["after"] != speakers[name]["before"]
    asked = ("ann", "cy") if labels == "decoded" else ()                      # of the first pass
    for name, said in zip(asked, task.asked, strict=True):
        first = log_probabilities(model, torch.from_numpy(waveform(name))[None])[0].numpy()
        np.testing.assert_allclose(said, first, atol=1e-5)


@pytest.mark.parametrize(("only", "moved"), [
    ("*gate*", {"transform_gate.weight", "carry_gate.weight"}), ("output.*", {"output.weight", "output.bias"}),
])
def test_what_it_is_told_to_learn_comes_nearer_with_every_pass(only: str, moved: set[str]) -> None:
    model, row = network().requires_grad_(False), torch.from_numpy(waveform("ann"))[None]
    wanted = log_probabilities(network(1), row)
    apart = [float(distance(model(row), SimpleNamespace(targets=(wanted,))))]
    for passes in (1, 3, 5):
        copy = adapted(model, row, wanted, only, Schedule(passes, 0.005, decay_to=1.0))
        apart.append(float(distance(copy(row), SimpleNamespace(targets=(wanted,)))))
        pairs = zip(model.state_dict().items(), copy.state_dict().values(), strict=True)
        assert {name for (name, old), new in pairs if not torch.equal(old, new)} == moved
    assert apart == sorted(apart, reverse=True) and len(set(apart)) == len(apart)


def test_frames_without_a_state_do_not_count() -> None:
    outputs = torch.randn(1, 6, 4).log_softmax(-1)
    for states in ([3, -1, 0, -1, -1, 2], [-1] * 6):
        losses = [-float(outputs[0, frame, state]) for frame, state in enumerate(states) if state >= 0]
        value = distance(outputs, SimpleNamespace(targets=(torch.tensor([states]),)))
        assert float(value) == pytest.approx(sum(losses) / max(1, len(losses)))


@pytest.mark.parametrize(("stage", "task", "message"), [
    (Adapt(), SimpleNamespace(scores=None), "adapt: expected a task that hears speaker by speaker"),
    (Adapt(only="*door*"), Talks(), r"only: '\*door\*' matches no weight; there are: .*carry_gate.weight"),
    (Adapt(split="test"), Talks(), r"adapt: expected a table \[task.test\] with speakers to adapt to, got none"),
])
def test_what_cannot_be_adapted_is_refused(stage: Adapt, task: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        noted(stage, network(), task)


@pytest.mark.parametrize("settings", [{"passes": 0}, {"lr": 0.0}, {"least_seconds": -1.0},
                                      {"checkpoint": Path("a"), "labels": "decoded"}])
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        Adapt(**settings)
