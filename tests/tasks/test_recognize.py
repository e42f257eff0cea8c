"""Recognition as a task: what its loss wants, lists without drawing, and rates that a right transcript brings to 0."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import toy

from sottovoce.beginning import check
from sottovoce.data.batches import Batch
from sottovoce.data.utterances import Speaking
from sottovoce.errors import RecipeError
from sottovoce.metrics.statistics import means
from sottovoce.recipe import parse_recipe
from sottovoce.tasks.lists import Corpus
from sottovoce.tasks.recognize import Decoder, Evaluation, Recognize

SAMPLE = toy.ROOT / "sample" / "speech.jsonl"


@pytest.fixture(scope="module")
def task() -> Recognize:
    dev = Evaluation(Corpus(SAMPLE, {"split": "test"}), count=4)
    speech = Corpus(SAMPLE, {"split": "train", "corpus": "librispeech-train-clean-100"})
    return Recognize(speech, speaking=Speaking(speed=(1.0, 1.0)), seconds=25.0, workers=0, dev=dev)


@pytest.fixture(scope="module")
def batch(task: Recognize) -> Batch:
    return next(task.batches(seed=0, start=0))


SMALL = "layers = 1\nchannels = 8\nheads = 1\nmiddle = 4"
MISFITS = [                              # units, model, what is said of it
    ("characters", f'name = "conformer"\n{SMALL}', "expected 29 symbols, .*got 40"),
    ("phones", 'name = "lstm"\nhidden = 4', "expected 40 symbols, as task recognize, got none"),
]


@pytest.mark.parametrize(("units", "model", "message"), MISFITS)
def test_a_model_has_the_symbols_of_its_task(units: str, model: str, message: str) -> None:
    text = f'name = "toy"\n[model]\n{model}\n[task]\nname = "recognize"\nunits = "{units}"\n[task.speech]\npath = "a"\n'
    with pytest.raises(RecipeError, match=message):
        list(check(parse_recipe(text + '[[stages]]\nkind = "prune"\nratio = 0.5', "toy.toml", Path())))


@pytest.mark.parametrize(("name", "settings", "has"), [
    ("conformer", SMALL, "no symbols, as task enhance, got 40"),
    ("hdnn", "states = 7", "no states, as task enhance, got 7"),
])
def test_a_recognizer_does_not_enhance(name: str, settings: str, has: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=f"{name}: expected {has}"):
        list(check(toy.recipe(toy.stage_table("prune"), tmp_path, settings, name=name)))


def spoken(task: Recognize, batch: Batch, sure: float) -> torch.Tensor:
    """Log probabilities that put `sure` on a right path; behind the end of an utterance, on symbol 1."""
    (waveform,), (samples, symbols, counts) = batch
    frames = waveform.shape[1] // 640
    best = torch.ones(len(samples), frames, dtype=torch.long)
    for row, length, codes, count in zip(best, samples, symbols, counts, strict=True):
        row[: -(-int(length) * frames // waveform.shape[1])] = 0
        row[: 2 * count : 2] = codes[:count]
    total = len(task.vocabulary.symbols)
    return torch.full((*best.shape, total), (1 - sure) / (total - 1)).scatter(2, best.unsqueeze(2), sure).log()


def test_the_loss_falls_as_symbols_become_sure_whatever_comes_behind_the_end(task: Recognize, batch: Batch) -> None:
    losses = [float(task.loss(spoken(task, batch, sure), batch)) for sure in (0.1, 0.5, 0.9, 0.9999)]
    assert losses == sorted(losses, reverse=True) and 0 <= losses[-1] < 0.01
    half = spoken(task, batch, 0.9).bfloat16()
    assert task.loss(half, batch).dtype == torch.float32


def test_a_student_imitates_its_teacher_frame_by_frame(task: Recognize, batch: Batch) -> None:
    teacher = spoken(task, batch, 0.9)
    assert float(task.imitation(teacher, teacher, batch)) == pytest.approx(0, abs=1e-6)
    assert float(task.imitation(spoken(task, batch, 0.5), teacher, batch)) > 0.1


@pytest.mark.parametrize(("units", "metrics"), [("phones", {"per"}), ("characters", {"wer", "cer"})])
def test_a_right_transcript_has_no_errors_and_none_has_all(task: Recognize, units: str, metrics: set[str]) -> None:
    spelling = replace(task, units=units)                                          # type: ignore[arg-type]
    answers = iter([utterance.codes for utterance in spelling.utterances("dev")])

    def oracle(waveform: np.ndarray) -> np.ndarray:
        path = [code for symbol in next(answers) for code in (0, symbol)]
        return np.eye(len(spelling.vocabulary.symbols))[path]

    assert spelling.scores(oracle, "dev") == [dict.fromkeys(metrics, 0.0)] * 4
    assert spelling.scores(None, "dev") == [dict.fromkeys(metrics, 100.0)] * 4
    assert set(spelling.groups("dev")) == {"librispeech-train-clean-100", "librispeech-test-other"}


def test_words_are_scored_beside_phones(task: Recognize, tmp_path: Path) -> None:
    spelling = replace(task, decoder=Decoder(tmp_path / "graph", words=2000, ngrams=20_000))
    heard = [[code for symbol in utterance.codes for code in (0, symbol)] for utterance in spelling.utterances("dev")]
    answers = iter(heard)

    def oracle(waveform: np.ndarray) -> np.ndarray:
        return np.log(0.95 * np.eye(40)[next(answers)] + 0.05 / 40)

    scores = spelling.scores(oracle, "dev")
    assert [list(score) for score in scores] == [["per", "wer"]] * 4 and all(score["per"] == 0 for score in scores)
    assert 0 < means(scores)["wer"] < 60                                        # some words are not in so small a graph
    assert spelling.scores(None, "dev") == [{"per": 100.0, "wer": 100.0}] * 4
    assert list(spelling.check())[-1] == f"decoder: 2002 words in {tmp_path}/graph"


def test_fixed_batches_are_the_list(task: Recognize) -> None:
    batches = list(task.fixed("dev"))
    lengths = sorted(int(length) for batch in batches for length in batch.targets[0])
    assert lengths == sorted(round(utterance.seconds * 16_000) for utterance in task.utterances("dev"))
    with pytest.raises(RecipeError, match=r"\[task.test\]"):
        task.scores(None, "test")


def test_check_says_what_is_left_out(task: Recognize) -> None:
    told = list(task.check())
    assert told[0].startswith("speech: ") and "transcribed utterances" in told[0]
    assert "speech: 147 utterances left out: without text" in told


TABLE = '[model]\nname = "lstm"\n[task]\nname = "recognize"\nspeech = { path = "speech.jsonl" }\n'
BAD = {
    'units = "pieces"': "task: pieces: expected a model",
    'units = "words"': "task: units: expected one of phones, characters, pieces",
    "seconds = 0": "task: seconds and most_seconds must be above 0",
    "speaking = { speed = [1.1, 0.9] }": "task: speaking: speed must be",
    'dev = { speech = { path = "b" }, count = 0 }': "task: dev: count must be at least 1",
    'units = "characters"\ndecoder = { graph = "g" }': 'task: decoder: expected units "phones", .* got "characters"',
    'decoder = { graph = "g", words = 0 }': "task: decoder: words, ngrams and active must be at least 1",
    'decoder = { graph = "g", scale = 0 }': "task: decoder: scale and beam must be above 0",
}


@pytest.mark.parametrize("line", BAD)
def test_a_setting_that_cannot_be_is_named(line: str) -> None:
    with pytest.raises(RecipeError, match=BAD[line]):
        parse_recipe(TABLE + line, "toy.toml", Path())
