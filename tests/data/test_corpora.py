"""However a corpus is stored, the same clips come out; what cannot be read is named with file and line."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, RecordingSet, SupervisionSet

from sottovoce.data.corpora import load_corpus, read_clips
from sottovoce.errors import DataError

SAMPLE = Path(__file__).parents[2] / "sample"
RATE = 16_000
LINES = [
    {"id": "a", "path": "ann/a.wav", "speaker": "ann", "gender": "F", "text": "I", "split": "tr", "hz": 8000},
    {"id": "b", "path": "ann/b.flac", "speaker": "ann", "gender": "F", "text": "", "split": "tr", "hz": 600},
    {"id": "c", "path": "bo/c.wav", "speaker": "bo", "gender": "M", "text": "O", "split": "test", "hz": 8000},
]


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """Three files of two speakers, and a manifest of them one folder up."""
    noise = np.random.default_rng(0).standard_normal(3 * RATE).astype(np.float32) / 10
    for number, line in enumerate(LINES, 1):
        file = tmp_path / "audio" / str(line["path"])
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, noise[: number * 2000], RATE)
    return tmp_path / "audio"


def manifest(folder: Path, lines: list[Any], name: str = "clips.jsonl") -> Path:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def facts(cuts: CutSet) -> list[tuple[Any, ...]]:
    """All that a clip is, its samples among them."""
    return [
        (cut.id, cut.duration, cut.sampling_rate, said.speaker, said.gender, said.text,
         {name: cut.custom[name] for name in ("split", "hz")}, cut.load_audio().tobytes())
        for cut in cuts for said in cut.supervisions
    ]


def lengths(folder: Path) -> list[dict[str, Any]]:
    return [{**line, "sample_rate": RATE, "duration": soundfile.info(folder / str(line["path"])).duration}
            for line in LINES]


def as_manifest(folder: Path, out: Path) -> Path:
    return manifest(folder, LINES)


def as_gzipped_manifest_with_lengths(folder: Path, out: Path) -> Path:
    return manifest(folder, lengths(folder), "clips.jsonl.gz")


def as_folder_with_manifest(folder: Path, out: Path) -> Path:
    return manifest(folder, LINES).parent


def as_cuts(folder: Path, out: Path) -> Path:
    load_corpus(as_manifest(folder, out)).to_file(out / "cuts.jsonl.gz")
    return out / "cuts.jsonl.gz"


def as_recordings_and_supervisions(folder: Path, out: Path) -> Path:
    cuts = load_corpus(as_manifest(folder, out))
    RecordingSet.from_recordings(cut.recording for cut in cuts).to_file(out / "recordings.jsonl")
    for cut in cuts:
        cut.supervisions[0].custom = cut.custom
    SupervisionSet.from_segments(cut.supervisions[0] for cut in cuts).to_file(out / "supervisions.jsonl")
    return out


def as_shar(folder: Path, out: Path) -> Path:
    load_corpus(as_manifest(folder, out)).to_shar(out, fields={"recording": "flac"}, shard_size=2)
    return out


@pytest.mark.parametrize("form", [
    as_gzipped_manifest_with_lengths,
    as_folder_with_manifest,
    as_cuts,
    as_recordings_and_supervisions,
    as_shar,
])
def test_every_form_of_a_corpus_gives_the_same_clips(form: Any, audio: Path, tmp_path: Path) -> None:
    expected = facts(load_corpus(as_manifest(audio, tmp_path)))
    out = tmp_path / "out"
    out.mkdir()
    assert len(expected) == 3
    assert facts(load_corpus(form(audio, out))) == expected
    assert facts(load_corpus(form(audio, out), {"speaker": "ann", "hz": 8000})) == expected[:1]


def test_a_folder_of_audio_takes_speakers_from_its_folders(audio: Path) -> None:
    (audio / "notes.txt").write_text("no audio")
    cuts = list(load_corpus(audio))
    assert [(cut.id, cut.supervisions[0].speaker, cut.num_samples) for cut in cuts] == [
        ("ann/a.wav", "ann", 2000), ("ann/b.flac", "ann", 4000), ("bo/c.wav", "bo", 6000)]
    assert all(cut.supervisions == [] for cut in load_corpus(audio / "ann"))
    assert [cut.id for cut in load_corpus(audio / "bo" / "c.wav")] == ["c.wav"]


@pytest.mark.parametrize(("where", "ids"), [
    ({}, "abc"),
    ({"split": "tr"}, "ab"),
    ({"split": ["tr", "test"]}, "abc"),
    ({"hz": 8000}, "ac"),
    ({"hz": "8000"}, "ac"),
    ({"speaker": "!ann"}, "c"),
    ({"id": ["!a", "!c"]}, "b"),
    ({"split": "tr", "hz": "!600"}, "a"),
])
def test_where_keeps_and_excludes(where: dict[str, Any], ids: str, audio: Path, tmp_path: Path) -> None:
    assert "".join(cut.id for cut in load_corpus(as_manifest(audio, tmp_path), where)) == ids


def test_a_pair_is_its_clean_side_with_the_noisy_one_beside_it(audio: Path) -> None:
    path = manifest(audio, [{"id": "p", "clean": "ann/a.wav", "noisy": "bo/c.wav", "snr_db": 5.0}])
    (cut,) = load_corpus(path)
    assert cut.load_audio().shape == cut.load_noisy()[:, :2000].shape == (1, 2000)
    assert cut.custom["noisy"].sources[0].source.endswith("c.wav")
    assert cut.custom["snr_db"] == 5.0


def test_the_first_of_several_channels_is_taken(tmp_path: Path) -> None:
    wave = np.stack([np.full(800, 0.25), np.full(800, -0.5)], 1)
    soundfile.write(tmp_path / "stereo.wav", wave, RATE)
    (cut,) = load_corpus(tmp_path)
    assert isinstance(cut, MonoCut)
    assert np.allclose(cut.load_audio(), 0.25)


def test_lhotse_paths_beside_the_manifest_are_found_from_anywhere(
    audio: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = load_corpus(audio)
    for cut in cuts:
        cut.recording.sources[0].source = cut.id
    cuts.to_file(audio / "cuts.jsonl")
    monkeypatch.chdir(tmp_path)
    assert all(cut.load_audio().size for cut in load_corpus(audio / "cuts.jsonl"))


BAD_LINES = {
    "{": "line 2: expected a JSON object",
    "[1]": "line 2: expected a JSON object, got list",
    '{"id": "x", "text": "no audio"}': "line 2: expected a field 'path', or 'clean' and 'noisy', got id",
    '{"path": "a", "duration": -1}': "line 2: expected duration to be a number of at least 0.001, got -1",
    '{"path": "a", "sample_rate": "x"}': "line 2: expected sample_rate to be a number of at least 1",
    '{"path": "gone.wav"}': "line 2: expected audio in gone.wav, there is no such file",
    '{"path": "text.wav"}': "line 2: expected audio in text.wav, could not read its header",
    '{"path": "none.wav"}': "line 2: expected audio with samples, none.wav has none",
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_a_bad_line_is_refused_by_number_or_left_out(line: str, audio: Path) -> None:
    (audio / "text.wav").write_text("This is not audio, whatever it is called.")
    soundfile.write(audio / "none.wav", np.zeros(0), RATE)
    path = manifest(audio, [LINES[0], line, LINES[1]])
    with pytest.raises(DataError) as error:
        load_corpus(path)
    assert f"{path}, {BAD_LINES[line]}" in str(error.value)
    assert "\n" not in str(error.value)
    complaints: list[str] = []
    kept = read_clips(path, complain=lambda file, what: complaints.append(f"{file}: {what}"))
    assert [clip.id for clip in kept] == ["a", "b"]
    assert complaints == [str(error.value)]


def refused(path: Path, where: dict[str, Any] | None = None) -> str:
    with pytest.raises(DataError) as error:
        load_corpus(path, where)
    return str(error.value)


def test_what_is_no_corpus_is_refused(audio: Path, tmp_path: Path) -> None:
    path = as_manifest(audio, tmp_path)
    assert "no such file or folder" in refused(tmp_path / "gone")
    assert "no clip has a field 'splitt'; there are gender, hz, id, path" in refused(path, {"splitt": "x"})
    assert "no clips where split = 'dev'" in refused(path, {"split": "dev"})
    assert "'a' is there twice" in refused(manifest(audio, [LINES[0], LINES[0]]))
    assert "the file is empty" in refused(manifest(audio, []))
    (tmp_path / "empty").mkdir()
    assert "found neither" in refused(tmp_path / "empty")
    assert "found noise.jsonl, rir.jsonl, speech.jsonl; name one of them" in refused(SAMPLE)
    (tmp_path / "x.jsonl.gz").write_bytes(b"not gzip at all")
    assert "could not read" in refused(tmp_path / "x.jsonl.gz")
    segment = {"id": "s", "recording_id": "r", "start": 0, "duration": 1}
    assert "supervisions have no audio" in refused(manifest(tmp_path, [segment], "supervisions.jsonl"))


def test_a_damaged_shar_folder_is_refused(audio: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shar"
    folder.mkdir()
    as_shar(audio, folder)
    tar = folder / "recording.000000.tar"
    tar.write_bytes(tar.read_bytes()[:700])
    assert f"{folder}: expected a Shar folder" in refused(folder)


def test_the_sample_has_its_speakers_noises_and_rooms_apart() -> None:
    for name, group, least in (("speech", "speaker", 190), ("noise", "id", 100), ("rir", "room", 8)):
        splits: dict[str, set[str]] = {}
        for cut in load_corpus(SAMPLE / f"{name}.jsonl"):
            who = cut.supervisions[0].speaker if group == "speaker" else cut.custom.get(group, cut.id)
            splits.setdefault(who, set()).add(cut.custom["split"])
            assert Path(cut.recording.sources[0].source).is_file()
            assert "SA" not in cut.custom["licence"] and cut.custom["source"]
        assert len(splits) >= least
        assert all(len(names) == 1 for names in splits.values())
        assert {name for names in splits.values() for name in names} == {"train", "dev", "test"}
