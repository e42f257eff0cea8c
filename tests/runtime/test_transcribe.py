"""Recordings of any form and length become text: pieces cut where it is quiet, in memory that does not grow."""

from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.errors import DataError, FormatError, SottovoceError
from sottovoce.runtime import Session, transcribe_file, transcribe_list, transcribe_paths
from sottovoce.runtime.transcribe import MOST_SECONDS, WORD, pieces

RATE = 16_000
FBANK = {"n_fft": 400, "hop": 160, "rate": RATE, "low": 20.0, "high": 7600.0, "bins": 3}
SYMBOLS = ["<blk>", WORD + "low", WORD + "middle"]
HERTZ = {"low": 300.0, "middle": 1500.0}


def recognizer(ahead: int = 1, **meta: object) -> Session:
    """Knows two tones by the loudest of three bands; the upper band, where nothing sounds, has the floor.

    Frames to come, which it does not need, let it hear nothing before it has heard all; without them it streams.
    """
    swap = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)               # bands -> symbols
    nodes = (
        Node("fbank", "bands", ("waveform",), attributes=FBANK),
        Node("conv1d", "same", ("bands",), {"weight": "taps", "bias": "bias"},
             {"dilation": 1, "groups": 3, "after": ahead}),
        Node("linear", "scores", ("same",), {"weight": "weight", "bias": "bias"}),
    )
    taps = np.tile(np.float32([0, 1, 0] if ahead else [0, 0, 1]), (3, 1, 1))
    tensors = {"weight": Dense(swap), "bias": Dense(np.zeros(3, np.float32)), "taps": Dense(taps)}
    return Session(Artefact(Graph(("waveform",), ("scores",), nodes), tensors, {"sample_rate": RATE, **meta}))


@pytest.fixture(scope="module", params=[1, 0], ids=["cut", "streamed"])
def session(request: pytest.FixtureRequest) -> Session:
    made = recognizer(request.param, symbols=SYMBOLS)
    assert made.causal == (not request.param)
    return made


def spoken(words: str, rate: int = RATE) -> np.ndarray:
    """A second a word: its tone for 0.6 s, faded in and out, then all but silence."""
    time = np.arange(int(0.6 * rate)) / rate
    fade = np.minimum(1, np.minimum(time, time[::-1]) / 0.02)
    tones = [0.3 * fade * np.sin(2 * np.pi * HERTZ[word] * time) for word in words.split()]
    return np.concatenate([np.pad(tone, (0, rate - len(tone))) for tone in tones]).astype(np.float32)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_channels_are_heard_alike(session: Session, rate: int, channels: int, tmp_path: Path) -> None:
    wave, path = spoken("low middle middle", rate), tmp_path / "a.wav"
    sf.write(path, np.stack([wave] * channels, 1), rate)
    result = transcribe_file(session, path)
    assert (result.text, result.note, result.target) == ("low middle middle", "", None)
    assert result.seconds == pytest.approx(3, abs=0.01)


def test_a_join_says_what_its_parts_say(session: Session, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    parts = [" ".join(random.choice(list(HERTZ), size)) for size in random.integers(3, 12, 12)]
    sf.write(tmp_path / "join.flac", np.concatenate([spoken(words) for words in parts]), RATE)
    assert sum(len(words.split()) for words in parts) > 3 * MOST_SECONDS
    result = transcribe_file(session, tmp_path / "join.flac", tmp_path / "join.txt")
    assert result.text == " ".join(parts)
    assert (tmp_path / "join.txt").read_text() == f"{result.text}\n"


@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_pieces_are_the_whole_cut_in_silence(offset: float) -> None:
    whole = spoken("low " * 50) + np.float32(offset)
    found = list(pieces(np.array_split(whole, 17), RATE))
    np.testing.assert_array_equal(np.concatenate(found), whole)
    assert len(found) > 2 and all(len(piece) <= MOST_SECONDS * RATE for piece in found)
    assert all(np.ptp(np.concatenate([one[-1000:], other[:1000]])) == 0
               for one, other in pairwise(found))


def test_a_recording_without_end_is_no_matter() -> None:
    taken = 0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal taken
        for taken in count(1):
            yield np.random.default_rng(taken).normal(0, 0.1, RATE).astype(np.float32)

    endless = pieces(blocks(), RATE)
    heard = sum(len(next(endless)) for _ in range(5))
    assert taken * RATE - heard <= (MOST_SECONDS + 1) * RATE


@pytest.mark.parametrize("samples", [1, 79])
def test_less_than_a_frame_is_an_empty_transcript_with_a_word_of_warning(
    session: Session, samples: int, tmp_path: Path
) -> None:
    sf.write(tmp_path / "short.wav", np.zeros(samples), RATE)
    result = transcribe_file(session, tmp_path / "short.wav")
    assert (result.text, result.error) == ("", "") and "less than one frame" in result.note


def test_folders_and_lists_are_named_and_a_bad_file_stops_nothing(session: Session, tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    (tmp_path / "none").mkdir()
    sf.write(tmp_path / "in" / "a.wav", spoken("low"), RATE)
    sf.write(tmp_path / "in" / "sub" / "b.flac", spoken("middle"), RATE)
    (tmp_path / "in" / "empty.wav").touch()
    for output in (None, tmp_path / "out"):
        good, bad, other, none = transcribe_paths(session, [tmp_path / "in", tmp_path / "none"], output)
        assert (good.text, other.text) == ("low", "middle")
        assert "got an empty one" in bad.error and "got none in it" in none.error
    assert (tmp_path / "out" / "sub" / "b.txt").read_text() == "middle\n"
    (tmp_path / "list.csv").write_text("audio,output\nin/a.wav,\nin/sub/b.flac,two.txt\n")
    results = transcribe_list(session, tmp_path / "list.csv", tmp_path / "listed")
    assert [result.target and result.target.name for result in results] == ["a.txt", "two.txt"]
    assert [result.text for result in transcribe_list(session, tmp_path / "list.csv")] == ["low", "middle"]


def test_nothing_is_written_over_what_was_heard(session: Session, tmp_path: Path) -> None:
    sf.write(tmp_path / "a.wav", spoken("low"), RATE)
    before = (tmp_path / "a.wav").read_bytes()
    (result,) = transcribe_paths(session, [tmp_path / "a.wav"], tmp_path / "a.wav")
    assert "expected an output that is no input" in result.error
    with pytest.raises(DataError, match="expected an output other than the input"):
        transcribe_file(session, tmp_path / "a.wav", tmp_path / "a.wav")
    assert (tmp_path / "a.wav").read_bytes() == before


def test_words_are_found_piece_by_piece(session: Session, tmp_path: Path) -> None:
    heard = []

    def finder(log_probabilities: np.ndarray) -> list[str]:
        heard.append(len(log_probabilities))
        return ["hello", "world"]

    sf.write(tmp_path / "a.wav", spoken("low " * (MOST_SECONDS + 5)), RATE)
    assert transcribe_file(session, tmp_path / "a.wav", words=finder).text == "hello world hello world"
    assert sum(heard) == pytest.approx(100 * (MOST_SECONDS + 5), abs=2)


WRONG: dict[str, tuple[Callable[[], Session], str]] = {
    "no symbols": (recognizer, "expected the symbols"),
    "other things than symbols": (lambda: recognizer(symbols=[1, 2, 3]), "expected the symbols"),
    "another number": (lambda: recognizer(symbols=SYMBOLS[:2]), r"expected \[frames, 2\], .* got \[0, 3\]"),
}


@pytest.mark.parametrize("made", WRONG)
def test_a_model_that_cannot_say_its_symbols_is_refused(made: str, tmp_path: Path) -> None:
    make, message = WRONG[made]
    with pytest.raises(FormatError, match=message):
        transcribe_file(make(), tmp_path / "a.wav")


def test_a_model_that_gives_a_waveform_is_refused(wire: Session, tmp_path: Path) -> None:
    with pytest.raises(SottovoceError, match="expected the symbols"):
        transcribe_file(wire, tmp_path / "a.wav")
