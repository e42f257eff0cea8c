"""Clips as they are drawn and read, and what is said of those that cannot be."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

from sottovoce.data import pool as pools
from sottovoce.data.batches import Batch, numbered_batches
from sottovoce.data.pool import Pool
from sottovoce.errors import DataError


def clip(source: AudioSource, speaker: str | None = None) -> CutSet:
    recording = Recording("recording", [source], sampling_rate=16_000, num_samples=16_000, duration=1.0)
    said = SupervisionSegment("said", "recording", 0.0, 1.0, speaker=speaker, text="hello")
    return CutSet([MonoCut("clip-7", 0.0, 1.0, 0, [said], recording=recording, custom={})])


@pytest.mark.parametrize("data", [b"", b"not audio " * 50])
def test_a_bad_clip_in_memory_goes_by_its_id(data: bytes) -> None:
    with pytest.raises(DataError) as caught:
        Pool(clip(AudioSource("memory", [0], data))).read("clip-7", 0.0, 1.0)
    assert str(caught.value) == "clip 'clip-7': expected audio, could not decode it (Format not recognised)"


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    pool = Pool(clip(AudioSource("file", [0], str(tmp_path / "a.wav"))))
    with pytest.raises(DataError, match=r"a\.wav: there is no such file$"):
        pool.read("clip-7", 0.0, 1.0)
    (tmp_path / "a.wav").write_text("Dear diary")
    with pytest.raises(DataError, match=r"a\.wav: expected audio, could not decode it \(Format not recognised\)$"):
        pool.read("clip-7", 0.0, 1.0)


@pytest.fixture
def wave(tmp_path: Path) -> Path:
    sf.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    return tmp_path / "a.wav"


def worked(pool: Pool) -> np.ndarray:
    """The clip as a worker gives it."""
    stream = numbered_batches(lambda number: Batch((torch.from_numpy(pool.read("clip-7", 0.25, 0.5)),), ()))
    return next(stream).inputs[0].numpy()


def test_what_a_worker_decodes_is_decoded_once(wave: Path) -> None:
    pool = Pool(clip(AudioSource("file", [0], str(wave))))
    first = worked(pool)
    np.testing.assert_allclose(first, sf.read(wave)[0][4_000:12_000], atol=1e-4)
    wave.unlink()
    for again in (worked(pool), pool.read("clip-7", 0.25, 0.5)):
        np.testing.assert_array_equal(again, first)


@pytest.mark.parametrize(("name", "least"), [("CACHE_BYTES", 2 * 16_000), ("LONG_SECONDS", 0.5)])
def test_what_there_is_no_room_for_is_decoded_each_time(wave: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                                        least: float) -> None:
    monkeypatch.setattr(pools, name, least)
    pool = Pool(clip(AudioSource("file", [0], str(wave))))
    np.testing.assert_allclose(worked(pool), pool.read("clip-7", 0.25, 0.5))
    wave.unlink()
    with pytest.raises(DataError, match="there is no such file"):
        pool.read("clip-7", 0.25, 0.5)


def test_it_goes_to_processes_that_are_not_forked(wave: Path) -> None:
    pool = Pool(clip(AudioSource("file", [0], str(wave))), rate=8_000)
    before = pool.read("clip-7", 0.0, 1.0)
    again = pickle.loads(pickle.dumps(pool))
    assert len(before) == 8_000 and again.draw(np.random.default_rng(0)) == pool.draw(np.random.default_rng(0))
    np.testing.assert_array_equal(again.read("clip-7", 0.0, 1.0), before)


@pytest.mark.parametrize(("speaker", "group"), [("ann", "ann"), (None, "clip-7"), ("", "clip-7")])
def test_a_clip_without_a_speaker_is_a_group_of_its_own(speaker: str | None, group: str) -> None:
    assert Pool(clip(AudioSource("memory", [0], b""), speaker)).groups == [group]
