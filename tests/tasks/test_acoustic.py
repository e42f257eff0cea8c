"""Acoustic models as a task: rows of one speaker, states of every frame, and rates that the right states bring to 0."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from sottovoce.beginning import begin
from sottovoce.data.batches import Batch
from sottovoce.data.rows import HOP, NONE
from sottovoce.errors import RecipeError
from sottovoce.metrics.statistics import means
from sottovoce.models import MODELS
from sottovoce.recipe import ModelSettings, parse_recipe
from sottovoce.tasks.acoustic import Acoustic, StateDecoder
from sottovoce.tasks.lists import Corpus
from sottovoce.tasks.recognize import Evaluation

SAMPLE = toy.ROOT / "sample" / "speech.jsonl"
TRAIN = {"split": "train", "corpus": "librispeech-train-clean-100"}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Acoustic:
    dev = Evaluation(Corpus(SAMPLE, {"split": "test"}), count=4)
    return Acoustic(Corpus(SAMPLE, TRAIN), tmp_path_factory.mktemp("kept"), least=20, row_seconds=30.0, seconds=60.0,
                    workers=0, dev=dev)


@pytest.fixture(scope="module")
def batch(task: Acoustic) -> Batch:
    return next(task.batches(seed=0, start=0))


def sure(states: np.ndarray, count: int, share: float = 0.9) -> np.ndarray:
    """Log probabilities [..., count] that put that much on the states; on number 0 where there is none."""
    return np.log(np.eye(count, dtype=np.float32)[np.maximum(states, 0)] * share + (1 - share) / count)


def test_a_row_is_one_speaker_and_every_frame_has_its_state(task: Acoustic, batch: Batch) -> None:
    (waveform,), (states, _) = batch
    assert waveform.shape == (len(states), states.shape[1] * HOP) and int(states.max()) < task.states
    spans, pool = task.spans(batch), task.pools["speech"]
    assert {span.row for span in spans} == {*range(len(states))}
    for row in range(len(states)):
        mine = [span for span in spans if span.row == row]
        assert len({pool.groups[pool.index[span.utterance]] for span in mine}) == 1
        assert sum(len(span.states) for span in mine) == int((states[row] != NONE).sum())
        hops = -(-len(pool.read(mine[-1].utterance, 0.0, 100.0)) // HOP)
        rest = waveform[row, (mine[-1].first + hops) * HOP :]
        assert torch.equal(rest, waveform[row, : len(rest)])         # it begins again to fill the batch
    for span in spans:
        clip = pool.read(span.utterance, 0.0, 100.0)
        assert np.array_equal(waveform[span.row, span.first * HOP :].numpy()[: len(clip)], clip)
        assert np.array_equal(span.states, task.aligned.of(span.utterance)[: len(span.states)])
        assert 0 <= -(-len(clip) // HOP) - len(span.states) <= 1


def test_rows_chosen_from_a_batch_keep_their_utterances(task: Acoustic, batch: Batch) -> None:
    last = Batch(*(tuple(tensor[-1:] for tensor in part) for part in batch))
    mine = [span for span in task.spans(batch) if span.row == len(batch.inputs[0]) - 1]
    assert mine and [(span.utterance, span.first) for span in task.spans(last)] == [
        (span.utterance, span.first) for span in mine]


def test_the_loss_falls_as_the_states_become_sure(task: Acoustic, batch: Batch) -> None:
    states = batch.targets[0].numpy()
    outputs = [torch.from_numpy(sure(states, task.states, share)) for share in (0.1, 0.5, 0.999)]
    losses = [float(task.loss(output, batch)) for output in outputs]
    assert losses == sorted(losses, reverse=True) and 0 <= losses[-1] < 0.01
    assert float(task.imitation(outputs[1], outputs[1], batch)) == pytest.approx(0, abs=1e-6)
    assert float(task.imitation(outputs[0], outputs[1], batch)) > 0.1


def test_batches_depend_on_their_number_alone(task: Acoustic, batch: Batch) -> None:
    again = next(task.batches(seed=0, start=0))
    pairs = zip(batch.inputs + batch.targets, again.inputs + again.targets, strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)
    assert sum(len(fixed.inputs[0]) for fixed in task.fixed("dev")) == len({*task.speakers("dev")})


def test_a_share_of_the_frames_is_learnt_as_among_the_others(task: Acoustic, batch: Batch) -> None:
    some = replace(task, share=0.25)
    (waveform, frames), (states, _) = thinned = next(some.batches(seed=0, start=0))
    assert torch.equal(waveform, batch.inputs[0]) and frames.shape[1] == -(-batch.targets[0].shape[1] // 4)
    assert (frames.diff() > 0).all() and (states != NONE).all()
    assert torch.equal(states, batch.targets[0].gather(1, frames))
    model = MODELS["hdnn"].module(MODELS["hdnn"].config(states=task.states, hidden=4, layers=2))
    wanted = model(waveform).gather(1, frames.unsqueeze(-1).expand(-1, -1, task.states))
    outputs = model(*thinned.inputs)
    assert torch.allclose(outputs, wanted, atol=1e-5)
    assert torch.allclose(some.loss(outputs, thinned), task.loss(wanted, thinned))
    assert some.step_seconds == task.step_seconds / 4
    with pytest.raises(RecipeError, match=r"^task: expected a share of 1, to learn from whole utterances, got 0\.25$"):
        some.spans(thinned)


def test_a_model_has_the_frames_of_its_batches(task: Acoustic, batch: Batch) -> None:
    model = MODELS["hdnn"].module(MODELS["hdnn"].config(states=task.states, hidden=4, layers=2))
    outputs = model(batch.inputs[0])
    assert outputs.shape[:2] == batch.targets[0].shape
    assert torch.isfinite(task.loss(outputs, batch))


@pytest.mark.parametrize(("given", "wanted"), [({}, None), ({"states": 7}, 7)])
def test_a_model_begins_with_the_states_of_its_task_where_the_recipe_names_no_number(
    given: dict[str, int], wanted: int | None, task: Acoustic,
) -> None:
    settings = ModelSettings("dnn", MODELS["dnn"].config(hidden=4, layers=1, **given), given=frozenset(given))
    assert begin(settings, task).config.states == (wanted or task.states)


def test_right_states_have_no_errors_and_none_have_all(task: Acoustic, tmp_path: Path) -> None:
    decoder = StateDecoder(tmp_path / "graph", words=2000, ngrams=5000, scale=0.3)
    finding = replace(task, decoder=decoder)
    answers = iter(finding.rows("dev"))

    def oracle(waveform: np.ndarray) -> np.ndarray:
        states = np.concatenate([np.pad(finding.aligned.of(clip), (0, 2), mode="edge")[: -(-samples // HOP)]
                                 for clip, samples in clips(finding, next(answers).clips)])
        return sure(states, finding.states)

    scores = finding.scores(oracle, "dev")
    assert len(scores) == 4 == len(finding.speakers("dev")) == len(finding.groups("dev"))
    assert means(scores)["fer"] == 0 and 0 <= means(scores)["per"] <= means(scores)["wer"] < 60      # in a small graph
    assert finding.scores(None, "dev") == [{"fer": 100.0, "wer": 100.0, "per": 100.0}] * 4
    assert list(finding.check())[-1] == f"decoder: 2002 words in {tmp_path}/graph"
    clip = finding.rows("dev")[0].clips[0]
    states = finding.aligned.of(clip)
    labels = finding.labels(sure(states, finding.states))
    assert labels.shape == states.shape and (labels == states).mean() > 0.5
    with pytest.raises(RecipeError, match=r"expected a table \[task.decoder\]"):
        task.labels(sure(states, finding.states))
    assert task.scores(None, "dev") == [{"fer": 100.0}] * 4


def clips(task: Acoustic, names: tuple[str, ...]) -> list[tuple[str, int]]:
    pool = task.pools["dev"]
    return [(name, len(pool.read(name, 0.0, 100.0))) for name in names]


def test_phones_follow_each_other_as_in_the_alignments(task: Acoustic) -> None:
    graph = task.anything()
    assert len(graph.phones) == task.states and int(graph.phones.max()) < 40
    assert graph.first.sum() == pytest.approx(1)


TABLE = '[model]\nname = "lstm"\n[task]\nname = "acoustic"\nspeech = { path = "speech.jsonl" }\nalignments = "kept"\n'
BAD = {
    "least = 0": "task: least must be at least 1",
    "row_seconds = 0": "task: seconds and row_seconds must be above 0",
    'decoder = { graph = "g", scale = 0 }': "task: decoder: scale and beam must be above 0",
    "most = 1": "task: unknown key 'most'",
}


@pytest.mark.parametrize("line", BAD)
def test_a_setting_that_cannot_be_is_named(line: str) -> None:
    with pytest.raises(RecipeError, match=BAD[line]):
        parse_recipe(f'name = "toy"\n{TABLE}{line}\n', "toy.toml", Path())
