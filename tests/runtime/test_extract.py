"""One talker out of files: told by a recording of any form, and every bad recording is one clear line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from conftest import HOP, RATE, passing_through

from sottovoce.errors import DataError
from sottovoce.runtime.extract import enrolled, extract_file, extract_list, extract_paths
from sottovoce.runtime.session import Session


class Told(Session):
    """Gives the mixture back, louder by the seconds of its enrolment."""

    given_to: list[np.ndarray]

    def given(self, *conditions: np.ndarray) -> "Told":
        bound = Told(passing_through())
        bound.given_to = list(conditions)
        return bound

    def stream(self, blocks: Any) -> Any:
        gain = np.float32(len(self.given_to[0]) / self.sample_rate)
        return (gain * block for block in super().stream(blocks))


@pytest.fixture
def told() -> Told:
    return Told(passing_through())


def voice(seconds: float, rate: int = RATE, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Noise [samples, channels] as a voice, quiet enough to be made louder."""
    return 0.02 * np.random.default_rng(seed).standard_normal((round(seconds * rate), channels))


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    sf.write(path, samples, rate, subtype="FLOAT")
    return path


def gain(source: Path, target: Path) -> float:
    """By how much the source became louder."""
    given, made = (sf.read(path, always_2d=True)[0] for path in (source, target))
    assert given.shape == made.shape
    return float(np.linalg.norm(made) / np.linalg.norm(given))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_any_two_forms_fit_and_the_output_is_as_the_mixture(
    rate: int, channels: int, told: Told, tmp_path: Path
) -> None:
    samples = np.sin(np.arange(rate)[:, None] / rate * 2000 * np.arange(1, channels + 1)) * 0.1
    mixture = write(tmp_path / "mixture.wav", samples, rate)
    enrolment = write(tmp_path / "voice.wav", voice(3, 48_000, 2), 48_000)
    result = extract_file(told, mixture, enrolment, tmp_path / "out.wav")
    assert sf.info(result.target).samplerate == rate
    assert gain(mixture, tmp_path / "out.wav") == pytest.approx(3, abs=0.15)


def test_a_voice_is_told_without_its_silences_and_at_most_a_minute(told: Told, tmp_path: Path) -> None:
    pauses = np.concatenate([0 * voice(2), voice(2), 0 * voice(3), voice(1.5), 0 * voice(1)])
    (known,) = enrolled(told, write(tmp_path / "pauses.wav", pauses)).given_to             # type: ignore[attr-defined]
    assert len(known) / RATE == pytest.approx(3.5, abs=0.6) and np.abs(known).max() == 1
    (known,) = enrolled(told, write(tmp_path / "long.wav", voice(70))).given_to            # type: ignore[attr-defined]
    assert len(known) == 60 * RATE


BAD: dict[str, tuple[Callable[[Path, Path], Any], str]] = {
    "silent": (lambda path, _: write(path, np.full(RATE, 0.3)), "expected a voice, got silence"),
    "short": (lambda path, _: write(path, voice(0.8)), "expected at least 1 s of a voice, got 0.80 s beside its"),
    "click": (lambda path, _: write(path, np.eye(1, 3 * RATE, RATE)[0]), "expected at least 1 s of a voice, got 0.2"),
    "text": (lambda path, _: path.write_text("Dear diary"), "expected an audio file, got unreadable data"),
    "missing": (lambda path, _: None, "expected an audio file, got no such file"),
    "copy": (lambda path, mixture: path.write_bytes(mixture.read_bytes()), "expected a recording other than the enrol"),
    "link": (lambda path, mixture: path.symlink_to(mixture), "expected a recording other than the enrolment"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_enrolment_is_named_and_nothing_is_written(name: str, told: Told, tmp_path: Path) -> None:
    mixture = write(tmp_path / "mixture.wav", voice(2))
    make, message = BAD[name]
    make(tmp_path / "voice.wav", mixture)
    with pytest.raises(DataError, match=f"^{tmp_path}/(voice|mixture).wav: {message}"):
        extract_file(told, mixture, tmp_path / "voice.wav", tmp_path / "out.wav")
    assert not (tmp_path / "out.wav").exists()


def test_a_folder_is_done_but_for_the_enrolment_in_it(told: Told, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    enrolment = write(tmp_path / "in" / "anna.wav", voice(2, seed=1))
    one, two = write(tmp_path / "in" / "one.wav", voice(1)), write(tmp_path / "in" / "deep" / "two.wav", voice(1))
    bad, *good = extract_paths(told, [tmp_path / "in"], enrolment, tmp_path / "out")
    assert bad.source == enrolment and "expected a recording other than the enrolment" in bad.error
    assert [result.target for result in good] == [tmp_path / "out" / "deep" / "two.wav", tmp_path / "out" / "one.wav"]
    assert [gain(source, result.target) for source, result in zip((two, one), good, strict=True)] == [
        pytest.approx(2, abs=0.1)] * 2                                                     # type: ignore[arg-type]
    (kept,) = extract_paths(told, [one], enrolment, enrolment)
    assert "expected an output that is no input" in kept.error and sf.info(enrolment).frames == 2 * RATE


def test_a_list_has_a_voice_for_each_mixture(told: Told, tmp_path: Path) -> None:
    mixture = write(tmp_path / "mixture.wav", voice(1))
    for seconds in (2, 4):
        write(tmp_path / f"{seconds}.wav", voice(seconds, seed=seconds))
    table = tmp_path / "list.csv"
    table.write_text("\ufeffmixture,enrol,output,remark\nmixture.wav,2.wav,,a\nmixture.wav,4.wav,deep/b.flac,\n"
                     "mixture.wav,none.wav,c.wav,\nmixture.wav,2.wav,,again\n", encoding="utf-8")
    first, second, third, fourth = extract_list(told, table, tmp_path / "out")
    assert (first.target, second.target) == (tmp_path / "out" / "mixture.wav", tmp_path / "out" / "deep" / "b.flac")
    assert gain(mixture, tmp_path / "out" / "mixture.wav") == pytest.approx(2, abs=0.1)
    assert gain(mixture, tmp_path / "out" / "deep" / "b.flac") == pytest.approx(4, abs=0.1)
    assert third.error == f"{tmp_path}/none.wav: expected an audio file, got no such file"
    assert "expected its own output" in fourth.error


@pytest.mark.parametrize(("text", "message"), [
    ("", "list.csv: expected the columns mixture, enrol and maybe output, got none"),
    ("mixture;enrol\na;b\n", "list.csv: expected the columns mixture, enrol and maybe output, got mixture;enrol"),
    ("mixture,enrol\n", "list.csv: expected a line for each mixture, got none"),
    ("mixture,enrol\na.wav,b.wav\na.wav\n", "list.csv, line 3: expected a file in the column enrol, got none"),
    ("mixture,enrol\n,b.wav\n", "list.csv, line 2: expected a file in the column mixture, got none"),
    (None, "list.csv: expected a CSV file, got: No such file"),
])
def test_a_bad_list_is_named_with_its_line(text: str | None, message: str, told: Told, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "list.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        extract_list(told, tmp_path / "list.csv", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_silence_and_less_than_a_hop_give_as_much_back(told: Told, tmp_path: Path) -> None:
    enrolment = write(tmp_path / "voice.wav", voice(2, seed=1))
    for samples in (np.zeros(RATE), voice(1)[: HOP // 2, 0]):
        source = write(tmp_path / "mixture.wav", samples)
        extract_file(told, source, enrolment, tmp_path / "out.wav")
        assert sf.info(tmp_path / "out.wav").frames == len(samples)
