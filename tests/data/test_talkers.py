"""A mixture of two talkers is what its plan says, and its enrolment is other speech of the target."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import toy
from numpy.typing import NDArray

from sottovoce.data.batches import mixture_batches
from sottovoce.data.corpora import load_corpus
from sottovoce.data.plans import Piece, read_list, write_list
from sottovoce.data.pool import Pool
from sottovoce.data.talkers import TalkerMixer, TalkerMixing, TalkerMixture
from sottovoce.errors import DataError
from sottovoce.runtime.voice import span, spoken, voice_sample

SAMPLE = toy.ROOT / "sample" / "speech.jsonl"
RATE = 8000
Wave = NDArray[np.float32]


@pytest.fixture(scope="module")
def mixer() -> TalkerMixer:
    """Of speakers with one clip and of speakers with many."""
    return TalkerMixer(Pool(load_corpus(SAMPLE, {"split": "test"}), rate=RATE), TalkerMixing(3.0, 2.0))


def corpus(folder: Path, **seconds: tuple[float, ...]) -> Pool:
    """A pool with these clips of each speaker, in seconds; no two samples of a clip are alike."""
    for speaker, lengths in seconds.items():
        (folder / speaker).mkdir(parents=True)
        for number, length in enumerate(lengths):
            wave = np.linspace(-0.9, 0.9, round(length * RATE))
            sf.write(folder / speaker / f"{number}.wav", wave, RATE, subtype="PCM_16")
    return Pool(load_corpus(folder), rate=RATE)


def shared(one: Piece, other: Piece) -> bool:
    """Whether a sample is in both, as a pool reads them."""
    (first, length), (start, count) = ((round(p.start * RATE), round(p.seconds * RATE)) for p in (one, other))
    return one.clip == other.clip and first < start + count and start < first + length


@pytest.mark.parametrize("lengths", [(2.5,), (6.0,), (20.0,), (3.0, 0.4), (1.2, 1.1), (5.0, 2.0, 8.0, 0.3)])
def test_the_enrolment_is_of_the_target_and_shares_no_sample_with_what_is_mixed(
    lengths: tuple[float, ...], tmp_path: Path
) -> None:
    mixer = TalkerMixer(corpus(tmp_path, anna=lengths, bert=(9.0,)), TalkerMixing(4.0, 3.0))
    plans = [mixer.draw(0, index) for index in range(60)]
    assert {plan.target.clip.split("/")[0] for plan in plans} == {"anna", "bert"}
    for plan in plans:
        speakers = [{piece.clip.split("/")[0] for piece in part} for part in ((plan.target,), plan.enrolment)]
        assert speakers[0] == speakers[1] != {plan.other.clip.split("/")[0]}
        assert not any(shared(plan.target, piece) for piece in plan.enrolment)
        assert plan.target.seconds >= 1 and 1 <= sum(piece.seconds for piece in plan.enrolment) <= 3
        for piece in (plan.target, *plan.enrolment):
            assert 0 <= piece.start and piece.start + piece.seconds <= mixer.speech.seconds[
                mixer.speech.index[piece.clip]] + 1e-9


def test_who_has_too_little_for_both_parts_is_heard_but_never_asked_for(tmp_path: Path) -> None:
    mixer = TalkerMixer(corpus(tmp_path, anna=(9.0,), short=(1.4,), bits=(0.5, 0.6)), TalkerMixing(4.0, 4.0))
    plans = [mixer.draw(0, index) for index in range(40)]
    assert {plan.target.clip for plan in plans} == {"anna/0.wav"}
    assert {plan.other.clip.split("/")[0] for plan in plans} == {"short", "bits"}
    with pytest.raises(DataError, match="at least 2 speakers with enough speech to be a target, got 1"):
        mixer.draw_both(0, 0)


@pytest.mark.parametrize(("speakers", "message"), [
    ({"anna": (9.0, 9.0)}, "speech: expected at least 2 speakers, got 1"),
    ({"anna": (1.5,), "bert": (1.0, 0.5)}, "expected a speaker with 1 s to mix and 1 s of other speech .* among 2"),
])
def test_a_corpus_without_two_talkers_is_refused(
    speakers: dict[str, tuple[float, ...]], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        TalkerMixer(corpus(tmp_path, **speakers), TalkerMixing())


@pytest.mark.parametrize("index", range(6))
def test_plan_and_waveforms_depend_on_seed_and_index_alone(mixer: TalkerMixer, index: int) -> None:
    fresh = replace(mixer, speech=Pool(mixer.speech.cuts, rate=RATE))
    assert mixer.draw(7, index) == fresh.draw(7, index) != mixer.draw(8, index)
    assert mixer.draw_both(7, index) == fresh.draw_both(7, index)
    for one, two in zip(mixer.render(mixer.draw(7, index)), fresh.render(mixer.draw(7, index)), strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("index", range(6))
def test_two_talkers_meet_with_the_gains_of_the_plan(mixer: TalkerMixer, index: int) -> None:
    plan = mixer.draw(1, index)
    mixture, enrolment, target, other, (start, end) = mixer.render(plan)
    assert -2.5 <= plan.gain_db <= 2.5
    np.testing.assert_array_equal(mixture, target + other)
    assert mixture.shape == (3 * RATE,) and enrolment.shape == (2 * RATE,) and mixture.dtype == np.float32
    peaks = [np.abs(wave).max() for wave in (target, other, enrolment)]
    assert 20 * np.log10(peaks) == pytest.approx([plan.gain_db, -plan.gain_db, 0], abs=1e-4)
    assert [abs(wave.mean()) for wave in (target, other)] == pytest.approx([0, 0], abs=1e-5)
    assert 0 <= start < end <= 3 * RATE and np.square(target[start:end]).sum() > 0.9 * np.square(target).sum()


def test_both_plans_of_a_mixture_are_the_same_sound_with_another_target(mixer: TalkerMixer) -> None:
    one, two = map(mixer.render, mixer.draw_both(3, 0))
    for place, same in ((0, 0), (2, 3), (3, 2)):
        np.testing.assert_array_equal(one[place], two[same])
    assert not np.array_equal(one[1], two[1])


def test_a_list_says_the_same_after_the_disk(mixer: TalkerMixer, tmp_path: Path) -> None:
    plans = [mixer.draw(5, index) for index in range(5)]
    write_list(tmp_path / "list.jsonl", plans)
    assert read_list(tmp_path / "list.jsonl", TalkerMixture) == plans


@pytest.mark.parametrize("workers", [0, 1])
def test_batch_n_is_the_same_from_any_start(mixer: TalkerMixer, workers: int) -> None:
    first = mixture_batches(mixer, 9, size=2, workers=0)
    expected = [next(first) for _ in range(3)][2]
    again = next(mixture_batches(mixer, 9, size=2, start=2, workers=workers))
    assert (len(again.inputs), len(again.targets)) == (2, 3)
    assert all(map(np.array_equal, again.inputs + again.targets, expected.inputs + expected.targets))


# ---- where somebody speaks ----------------------------------------------------------------------------------------


def burst(*levels_db: float) -> Wave:
    """Noise of one second at each level."""
    noise = np.random.default_rng(0).standard_normal((len(levels_db), RATE))
    return (noise * 10 ** (np.array(levels_db)[:, None] / 20)).astype(np.float32).reshape(-1)


@pytest.mark.parametrize(("levels", "expected"), [
    ((0,), (0, 1)), ((-60, 0, -60), (1, 2)), ((-60, 0, -60, -10, -40), (1, 4)), ((0, -19), (0, 2)), ((-21, 0), (1, 2)),
])
def test_speech_is_what_is_within_twenty_decibels_of_the_loudest(
    levels: tuple[float, ...], expected: tuple[int, int]
) -> None:
    # Half a frame of 256 ms to either side, and a hop of 64 ms.
    assert np.abs(np.subtract(span(burst(*levels), RATE), np.multiply(expected, RATE))).max() <= 0.2 * RATE


def test_silence_has_no_speech() -> None:
    assert span(np.zeros(RATE, np.float32), RATE) == (0, 0) == span(np.zeros(0, np.float32), RATE)
    assert len(voice_sample(np.zeros(RATE, np.float32), RATE)) == 0


@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_voice_sample_has_no_silences_no_mean_and_peak_one(rate: int) -> None:
    wave = 0.01 * np.repeat(burst(-60, 0, -60, 0, 0, -60), rate // RATE) + 0.2
    voice = voice_sample(wave, rate)
    assert len(voice) / rate == pytest.approx(3, abs=0.7)
    assert np.abs(voice).max() == 1 and abs(voice.mean()) < 0.01
    np.testing.assert_array_equal(spoken(5 * wave - 1, rate), spoken(wave - 0.2, rate))
