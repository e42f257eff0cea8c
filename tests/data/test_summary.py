"""Every thing that can be wrong with a file is found and named; a good corpus has none."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from rich.console import Console

from sottovoce.data.corpora import load_corpus
from sottovoce.data.summary import Summary, render, summarize
from sottovoce.errors import DataError

SAMPLE = Path(__file__).parents[2] / "sample"
RATE = 16_000
NOISE: NDArray[np.float64] = np.random.default_rng(1).standard_normal(RATE) / 10        # one second


def clipped() -> NDArray[np.float64]:
    return np.clip(NOISE * 20, -1, 1)


def encoded(wave: NDArray[np.float64], **form: str) -> bytes:
    data = io.BytesIO()
    soundfile.write(data, wave, RATE, **form)
    return data.getvalue()


def half(seconds: int = 1, **form: str) -> bytes:
    whole = encoded(np.tile(NOISE, seconds), **form)
    return whole[: len(whole) // 2]


WAV = {"format": "WAV"}
FILES: dict[str, tuple[bytes, str]] = {      # name -> bytes and what must be said of them
    "text.wav": (b"This is not audio, whatever it is called.", "could not read its header"),
    "empty.wav": (b"", "could not read its header"),
    "none.wav": (encoded(NOISE[:0], **WAV), "expected audio with samples, none.wav has none"),
    "one.wav": (encoded(NOISE[:1], **WAV), "it holds a single sample"),
    "nan.wav": (encoded(np.where(np.arange(RATE) < 3, np.nan, NOISE), **WAV, subtype="FLOAT"),
                "3 of 16000 samples are NaN or infinite"),
    "silent.wav": (encoded(NOISE * 0, **WAV), "silent: no sample is above -80 dB"),
    "clipped.wav": (encoded(clipped(), **WAV), "of its samples are at full scale"),
    "half.flac": (half(format="FLAC"), "could not decode it to its end"),
    "half.wav": (half(**WAV), "truncated: its header states 32000 bytes of audio, 15978 are there"),
    "half.aiff": (half(format="AIFF"), "truncated: its header states"),
    "half.opus": (half(3, format="OGG", subtype="OPUS"), "truncated: the last page of the Ogg stream is"),
    "half.mp3": (half(3, format="MP3"), "truncated: its header states 48000 samples"),
}


def told(summary: Summary) -> list[str]:
    return [f"{problem.file}: {problem.what}" for problem in summary.problems]


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_named_and_the_good_one_still_counted(name: str, tmp_path: Path) -> None:
    data, message = FILES[name]
    (tmp_path / name).write_bytes(data)
    for kind in ("flac", "mp3", "ogg", "wav"):
        soundfile.write(tmp_path / f"good.{kind}", NOISE, RATE)
    summary = summarize(tmp_path)
    assert [line for line in told(summary) if name in line and message in line]
    assert not [line for line in told(summary) if "good" in line]
    assert summary.parts[0].clips >= 4


LINES: dict[str, tuple[dict[str, Any], str]] = {
    "gone": ({"path": "gone.wav"}, "there is no such file"),
    "longer": ({"duration": 1.2}, "the manifest says 1.20 s, the file has 1.00 s"),
    "other rate": ({"sample_rate": 8000}, "the manifest says 8000 Hz, the file has 16000 Hz"),
    "same id": ({"id": "good"}, "id 'good' is already that of"),
    "two splits": ({"split": "test"}, "speaker 'anna' is in test and train"),
    "noisy side": ({"noisy": "gone.wav"}, "there is no such file"),
    "no number": ({"duration": "long"}, "line 2: expected duration to be a number"),
}


@pytest.mark.parametrize("case", LINES)
def test_a_manifest_is_held_against_its_files(case: str, tmp_path: Path) -> None:
    change, message = LINES[case]
    for name in ("good", "other"):
        soundfile.write(tmp_path / f"{name}.wav", NOISE, RATE)
    good = {"id": "good", "path": "good.wav", "speaker": "anna", "split": "train", "duration": 1.04,
            "sample_rate": RATE}
    lines = [good, {**good, "id": "other", "path": "other.wav", **change}]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (problem,) = told(summarize(tmp_path / "clips.jsonl"))
    assert message in problem


def test_the_numbers_are_those_of_the_files(tmp_path: Path) -> None:
    files = (("anna", 8000, 1, 1), ("anna", 8000, 2, 2), ("bert", 48000, 1, 4))
    for speaker, rate, channels, seconds in files:
        (tmp_path / speaker).mkdir(exist_ok=True)
        wave = np.random.default_rng(seconds).standard_normal((seconds * rate, channels)) / 10
        wave[: len(wave) // 4] = 0
        soundfile.write(tmp_path / speaker / f"{seconds}.flac", wave, rate)
    calls: list[tuple[int, int]] = []
    summary = summarize(tmp_path, progress=lambda done, of: calls.append((done, of)))
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert (summary.parts[0].clips, summary.parts[0].speakers) == (3, 2)
    assert summary.parts[0].hours == pytest.approx(7 / 3600)
    assert summary.seconds == (1, 2, 4)
    assert (summary.rates, summary.channels, summary.formats) == (
        {8000: 2, 48000: 1}, {1: 2, 2: 1}, {"FLAC PCM_16": 3})
    assert summary.silence == pytest.approx(0.25, abs=0.01)
    assert summary.problems == ()


def test_the_share_of_clipping_is_that_of_the_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.where(np.arange(RATE) < RATE // 10, 1.0, NOISE), RATE)
    summary = summarize(tmp_path)
    assert summary.clipping == pytest.approx(0.1)
    assert "clipped: 10.0% of its samples" in told(summary)[0]


def test_shar_is_summarized_from_memory(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", NOISE * 0, RATE)
    (tmp_path / "shar").mkdir()
    load_corpus(tmp_path).to_shar(tmp_path / "shar", fields={"recording": "flac"})
    assert told(summarize(tmp_path / "shar")) == ["a.wav: silent: no sample is above -80 dB of full scale"]


def test_the_sample_is_sound() -> None:
    summary = summarize(SAMPLE / "speech.jsonl", {"split": ["dev", "test"]})
    assert summary.problems == ()
    assert [part.split for part in summary.parts] == ["all", "dev", "test"]
    assert summary.parts[2].speakers >= 20
    assert summarize(SAMPLE / "rir.jsonl").problems == ()


def test_the_page_shows_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "odd[red].wav").write_text("text")
    soundfile.write(tmp_path / "silent.wav", NOISE * 0, RATE)
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(render(summarize(tmp_path), shown=1))
    page = console.export_text()
    for words in ("2 problems", "odd[red].wav", "could not read its header", "and 1 more", "16,000 Hz"):
        assert words in page


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found neither"):
        summarize(tmp_path)
