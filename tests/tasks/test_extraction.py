"""Extraction as a task: what its loss wants, and lists that ask for each talker of a mixture once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from sottovoce.data.batches import Batch
from sottovoce.data.talkers import TalkerMixing
from sottovoce.errors import RecipeError
from sottovoce.recipe import parse_recipe
from sottovoce.tasks.extract import Evaluation, Extract, presence_of, si_snr
from sottovoce.tasks.lists import Corpus

SAMPLE = toy.ROOT / "sample" / "speech.jsonl"


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Extract:
    speech = Corpus(SAMPLE, {"split": "test"})
    dev = Evaluation(tmp_path_factory.mktemp("lists") / "dev.jsonl", speech, count=2, seconds=1.5)
    return Extract(speech, mixing=TalkerMixing(1.5, 1.0), batch=3, workers=0, dev=dev)


@pytest.fixture(scope="module")
def batch(task: Extract) -> Batch:
    return next(task.batches(seed=0, start=0))


def outputs(task: Extract, batch: Batch, voice: torch.Tensor, other: torch.Tensor, sure: float = 1.0) -> tuple:
    frames = 1501
    oracle = presence_of(batch.targets[2], frames, voice.shape[-1], task.presence)
    return voice, other, (0.5 + sure * (oracle - 0.5)).unsqueeze(1).expand(-1, 4, -1)


def test_the_loss_falls_towards_both_talkers_and_stays_above_zero(task: Extract, batch: Batch) -> None:
    (mixture, _), (voice, other, _) = batch
    losses = [float(task.loss(outputs(task, batch, *given), batch)) for given in (
        (other, voice, -0.9), (mixture, mixture, 0.0), (0.7 * voice + 0.3 * mixture, other, 0.5), (voice, other, 0.999),
    )]
    assert losses == sorted(losses, reverse=True) and 0 < losses[-1] < 0.01
    swapped = float(task.loss(outputs(task, batch, other, voice, 0.999), batch))
    assert swapped > losses[1]                   # the order is fixed: the other talker first is wrong


def test_presence_is_worth_what_the_task_says(task: Extract, batch: Batch) -> None:
    voice, other, _ = batch.targets
    unsure = outputs(task, batch, voice, other, 0.0)
    losses = [float(replace(task, endpoint_weight=weight).loss(unsure, batch)) for weight in (0.0, 1.0, 3.0)]
    assert np.diff(losses) == pytest.approx([np.log(2), 2 * np.log(2)], abs=1e-4)


def test_a_student_imitates_both_outputs_of_its_teacher(task: Extract, batch: Batch) -> None:
    (mixture, _), (voice, other, _) = batch
    teacher, student = outputs(task, batch, 0.5 * mixture, other), outputs(task, batch, mixture, 2 * other, 0.0)
    assert float(task.imitation(student, teacher, batch)) < 0.01
    assert float(task.imitation(outputs(task, batch, voice, mixture), teacher, batch)) > 10


@pytest.mark.parametrize("snr", [-10.0, 0.0, 20.0])
def test_the_ratio_is_free_of_scale_and_mean(snr: float) -> None:
    torch.manual_seed(0)
    clean = torch.randn(2, 8000)
    clean -= clean.mean(-1, keepdim=True)
    noise = torch.randn(2, 8000)
    noise -= noise.mean(-1, keepdim=True)
    noise -= clean * (noise * clean).sum(-1, keepdim=True) / clean.square().sum(-1, keepdim=True)
    noise *= (clean.norm(dim=-1) / noise.norm(dim=-1) * 10 ** (-snr / 20)).unsqueeze(-1)
    for estimate in (clean + noise, -3 * (clean + noise) + 1):
        assert si_snr(estimate, clean).tolist() == pytest.approx([snr, snr], abs=0.06)
    assert torch.isfinite(si_snr(estimate, 0 * clean)).all()


@pytest.mark.parametrize("frames", [16, 17, 31, 500])
def test_presence_is_where_the_span_is_on_any_grid_of_frames(frames: int) -> None:
    spans, samples = torch.tensor([[0, 4000], [2000, 3000], [0, 0]]), 4000
    for kind, ends in (("onset", (4000, 4000, 4000)), ("onset_offset", (4000, 3000, 0))):
        found = presence_of(spans, frames, samples, kind)                          # type: ignore[arg-type]
        expected = [(end - int(start)) / samples for (start, _), end in zip(spans, ends, strict=True)]
        assert found.shape == (3, frames)
        assert found.mean(-1).tolist() == pytest.approx(expected, abs=1 / frames)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_list_asks_for_each_talker_once_and_its_own_scores_add_up_to_nothing(task: Extract, rate: int) -> None:
    at_rate = replace(task, rate=rate)
    evaluation = at_rate.evaluation("dev")
    assert [mixture.id for mixture in evaluation.mixtures] == ["000-a", "000-b", "001-a", "001-b"]
    assert {wave.shape for waves in evaluation.waveforms for wave in waves[2:4]} == {(round(1.5 * rate),)}
    given, best = at_rate.scores(None, "dev"), at_rate.scores(lambda mixture, enrolment: mixture, "dev")
    assert given == best and all(set(found) == {"si_sdr", "sdr"} for found in given)
    for one, two in zip(given[::2], given[1::2], strict=True):
        assert one["si_sdr"] == pytest.approx(-two["si_sdr"], abs=1.0)
    assert set(at_rate.groups("dev")) <= {"same gender", "different gender"}


def test_swaps_show_whether_the_enrolment_decides(task: Extract) -> None:
    known = {waves[1].tobytes(): waves[2] for waves in task.evaluation("dev").waveforms}
    for found in task.swaps(lambda mixture, enrolment: known[enrolment.tobytes()], "dev"):
        assert found["wanted"] > 90 > found["other"]
    deaf = task.swaps(lambda mixture, enrolment: mixture, "dev")
    assert [found["wanted"] for found in deaf[::2]] == pytest.approx([found["other"] for found in deaf[1::2]], abs=0.01)


def test_fixed_batches_are_the_list(task: Extract) -> None:
    batches = list(task.fixed("dev"))
    assert [len(batch.inputs[0]) for batch in batches] == [3, 1]
    np.testing.assert_array_equal(batches[1].inputs[1][0], task.evaluation("dev").waveforms[3][1])


def test_check_counts_who_can_be_a_target(task: Extract) -> None:
    first, *_, last = task.check()
    assert first.startswith("speech: 27 clips") and "23 speakers, " in first and last.startswith("dev: 4 mixtures")
    with pytest.raises(RecipeError, match=r"\[task.test\]"):
        task.scores(None, "test")


TABLE = '[model]\nname = "wase"\n[task]\nname = "extract"\nspeech = { path = "speech.jsonl" }\n'
BAD = {
    "rate = 11025": "task: rate must be 8000 or 16000, got 11025",
    "endpoint_weight = -1": "task: endpoint_weight must not be negative",
    "batch = 0": "task: batch must be at least 1",
    'presence = "offset"': "task: presence: expected one of onset, onset_offset, got 'offset'",
    "mixing = { gain_db = -1 }": "task: mixing: gain_db must be 0..100",
    "mixing = { enrolment_seconds = 0 }": "task: mixing: enrolment_seconds must be above 0",
    'dev = { plans = "a", speech = { path = "b" }, count = 0 }': "task: dev: count must be at least 1",
    'dev = { plans = "a", speech = { path = "b" }, metrics = ["pesq_wb"] }': "task: dev: metrics: unknown 'pesq_wb'",
}


@pytest.mark.parametrize("line", BAD)
def test_a_setting_that_cannot_be_is_named(line: str) -> None:
    with pytest.raises(RecipeError, match=BAD[line].replace("[", r"\[")):
        parse_recipe(TABLE + line, "toy.toml", Path())
