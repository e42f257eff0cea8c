"""Clips as they are drawn and read, and what is said of those that cannot be."""

from pathlib import Path

import pytest
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource

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


@pytest.mark.parametrize(("speaker", "group"), [("ann", "ann"), (None, "clip-7"), ("", "clip-7")])
def test_a_clip_without_a_speaker_is_a_group_of_its_own(speaker: str | None, group: str) -> None:
    assert Pool(clip(AudioSource("memory", [0], b""), speaker)).groups == [group]
