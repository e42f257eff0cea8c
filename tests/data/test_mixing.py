"""A mixture is what its plan says, whenever and wherever it is made."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import toy

from sottovoce.data.batches import mixture_batches
from sottovoce.data.corpora import load_corpus
from sottovoce.data.mixing import PLAIN, Mixer, Mixing, Mixture, Noise
from sottovoce.data.plans import read_list, write_list
from sottovoce.data.pool import Pool
from sottovoce.data.synthetic import SYNTHETIC
from sottovoce.errors import DataError

SAMPLE = toy.ROOT / "sample"
SETTINGS = Mixing(seconds=1.0)


@pytest.fixture(scope="module")
def mixer() -> Mixer:
    speech, noise, rooms = (
        Pool(load_corpus(SAMPLE / name, {"split": "train"}), group)
        for name, group in (("speech.jsonl", "speaker"), ("noise.jsonl", "class"), ("rir.jsonl", "room"))
    )
    return Mixer(speech, noise, speech, rooms, SETTINGS)


def power(wave: np.ndarray) -> float:
    return float(np.mean(np.square(wave, dtype=np.float64)))


@pytest.mark.parametrize("index", range(12))
def test_plan_and_waveform_depend_on_seed_and_index_alone(mixer: Mixer, index: int) -> None:
    fresh = replace(mixer, speech=Pool(mixer.speech.cuts), noise=Pool(mixer.noise.cuts, "class"))
    assert mixer.draw(7, index) == fresh.draw(7, index) != mixer.draw(8, index)
    for one, two in zip(mixer.render(mixer.draw(7, index)), fresh.render(mixer.draw(7, index)), strict=True):
        assert one.tobytes() == two.tobytes()


@pytest.mark.parametrize("snr", [-5.0, 0.0, 12.5])
@pytest.mark.parametrize("kind", ["babble", "recorded", *SYNTHETIC])
def test_speech_and_noise_meet_at_the_stated_ratio(mixer: Mixer, kind: str, snr: float) -> None:
    plan = mixer.draw(1, 3)
    layers = [mixer.draw(1, index).noises[0] for index in range(60)]
    layer = next((noise for noise in layers if noise.kind == kind), Noise(kind))
    noisy, clean = mixer.render(replace(plan, noises=(layer,), snr_db=snr, level_db=-6.0))
    assert noisy.shape == clean.shape == (16000,) and noisy.dtype == np.float32
    assert 10 * np.log10(power(clean) / power(noisy - clean)) == pytest.approx(snr, abs=0.05)
    assert 10 * np.log10(power(noisy)) == pytest.approx(-6.0, abs=0.05)


def test_settings_say_what_is_drawn(mixer: Mixer) -> None:
    plans = [mixer.draw(2, index) for index in range(400)]
    assert all(-5 <= plan.snr_db <= 10 and 0.9 <= plan.speed <= 1.1 for plan in plans)
    assert all(6 <= len(n.pieces) <= 8 for plan in plans for n in plan.noises if n.kind == "babble")
    shares = {
        "room": np.mean([plan.room is not None for plan in plans]),
        "second_noise": np.mean([len(plan.noises) == 2 for plan in plans]),
        "babble": np.mean([plan.noises[0].kind == "babble" for plan in plans]),
        "synthetic": np.mean([plan.noises[0].kind in SYNTHETIC for plan in plans]),
    }
    for name, share in shares.items():
        assert share == pytest.approx(getattr(SETTINGS, name), abs=0.08), name
    plain = replace(mixer, settings=PLAIN)
    assert not any(plan.room or plan.noises[0].kind in SYNTHETIC for plan in (plain.draw(2, i) for i in range(50)))


def test_in_a_room_speech_rings_on_but_stays_in_place(mixer: Mixer) -> None:
    plan = replace(mixer.draw(1, 3), room=None, snr_db=100.0, level_db=0.0, equalise=False)
    dry, wet = mixer.render(plan)[1], mixer.render(replace(plan, room=mixer.rooms.cuts[0].id))[1]      # type: ignore[union-attr]
    lags = np.correlate(wet[4000:12000], dry[4000:12000], "full")
    assert not np.allclose(dry, wet, atol=0.1)
    assert abs(int(np.argmax(np.abs(lags))) - 7999) <= 80        # 5 ms: early reflections count


def test_a_speaker_with_much_speech_does_not_drown_the_others(mixer: Mixer) -> None:
    rng = np.random.default_rng(0)
    drawn = [mixer.speech.draw(rng)[1] for _ in range(2000)]
    seconds = {name: mixer.speech.seconds[members].sum() for name, members in mixer.speech.members.items()}
    largest = max(seconds, key=lambda name: seconds[name])
    assert drawn.count(largest) / 2000 < 0.75 * seconds[largest] / sum(seconds.values())
    assert len(set(drawn)) > 0.9 * len(seconds)


def test_a_list_says_the_same_after_the_disk(mixer: Mixer, tmp_path: Path) -> None:
    plans = [mixer.draw(5, index) for index in range(5)]
    write_list(tmp_path / "list.jsonl", plans)
    assert read_list(tmp_path / "list.jsonl", Mixture) == plans


@pytest.mark.parametrize(("text", "message"), [
    ("{", "list.jsonl, line 1: not the plan of a mixture"),
    ('{"id": "x"}', "list.jsonl, line 1: not the plan of a mixture"),
])
def test_a_bad_list_is_named_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        read_list(tmp_path / "list.jsonl", Mixture)


def test_a_plan_with_an_unknown_clip_is_named(mixer: Mixer) -> None:
    plan = mixer.draw(1, 1)
    strange = replace(plan, speech=(replace(plan.speech[0], clip="nobody"),))
    with pytest.raises(DataError, match="'nobody' is not in this corpus"):
        mixer.render(strange)


@pytest.mark.parametrize("workers", [0, 2])
def test_batch_n_is_the_same_from_any_start_and_any_number_of_workers(mixer: Mixer, workers: int) -> None:
    first = mixture_batches(mixer, 9, size=2, workers=0)
    expected = [next(first) for _ in range(4)]
    late = mixture_batches(mixer, 9, size=2, start=2, workers=workers)
    for batch in expected[2:]:
        again = next(late)
        assert again.inputs[0].equal(batch.inputs[0]) and again.targets[0].equal(batch.targets[0])


def test_processes_share_the_sequence_out(mixer: Mixer) -> None:
    whole = mixture_batches(mixer, 9, size=1, workers=0)
    other = mixture_batches(mixer, 9, size=1, start=1, stride=2, workers=0)
    expected = [next(whole) for _ in range(4)]
    assert next(other).inputs[0].equal(expected[1].inputs[0]) and next(other).inputs[0].equal(expected[3].inputs[0])
