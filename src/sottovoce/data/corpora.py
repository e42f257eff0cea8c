"""Corpora to lhotse cuts: a folder of audio, a JSONL manifest, lhotse manifests or a lhotse Shar folder.

Whatever the source, a clip is a MonoCut with speaker, text and gender in a supervision and all else that is
known of it in `custom`. No audio is decoded here; a header is read only where no manifest says the length.
"""

import gzip
import json
import math
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tarfile import TarError
from typing import Any

import soundfile
from lhotse import CutSet, MonoCut, MultiCut, Recording, SupervisionSegment
from lhotse.audio import AudioSource
from lhotse.serialization import deserialize_item

from sottovoce.errors import DataError

AUDIO = frozenset(".wav .flac .ogg .opus .oga .mp3 .aif .aiff .aifc .au .caf .rf64 .w64 .sph".split())
SPOKEN = ("speaker", "text", "gender")      # what a supervision holds
PLACED = {"id", "path", "clean", "noisy", "duration", "sample_rate", *SPOKEN}    # not repeated in custom
MAX_FRAMES = 1 << 40                        # libsndfile says more when it cannot tell the length

Where = Mapping[str, Any]
Fields = Mapping[str, Any]
Complaint = Callable[[str, str], None]


def load_corpus(path: str | Path, where: Where | None = None) -> CutSet:
    """The clips at `path` for which every condition of `where` holds, in the order of the source.

    `path` is a folder of audio (the speaker is the folder a file lies in), a JSONL manifest with one clip a
    line and paths relative to itself, a lhotse manifest of recordings or cuts, a folder with any of these, or
    a Shar folder (its audio is held in memory, still encoded). Of several channels the first is taken.

    `where` maps a field to the value or list of values it must have; "!value" excludes:
    {"split": "train", "corpus": ["!ljspeech", "!kathleen"]}. Raises DataError with file and line for what
    cannot be read, for a field that no clip has, for an id that is there twice and when no clip is left.
    """
    cuts = list(read_clips(path, where))
    seen: set[str] = set()
    for cut in cuts:
        if cut.id in seen:
            raise DataError(f"{path}: expected clips to have ids of their own, {cut.id!r} is there twice")
        seen.add(cut.id)
    if not cuts:
        raise DataError(f"{path}: no clips" + (f" where {_spell(where)}" if where else " in there"))
    return CutSet(cuts)


def refuse(file: str, what: str) -> None:
    """Raise DataError: the complaint of those who need every file to be good."""
    raise DataError(f"{file}: {what}")


def read_clips(
    path: str | Path, where: Where | None = None, complain: Complaint = refuse
) -> Iterator[MonoCut]:
    """The clips of `load_corpus` one by one; a bad file or line goes to `complain` and is then left out."""
    path = Path(path)
    conditions = _Conditions(where or {})
    yield from _reader(path)(path, conditions, complain)
    conditions.check(path)


class _Conditions:
    """What `where` asks for, and which fields the clips turned out to have. Values are compared as text."""

    def __init__(self, where: Where) -> None:
        self.wanted: dict[str, frozenset[str]] = {}
        self.excluded: dict[str, frozenset[str]] = {}
        self.fields: set[str] = set()
        for field, value in where.items():
            values = [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
            self.wanted[field] = frozenset(v for v in values if not v.startswith("!"))
            self.excluded[field] = frozenset(v[1:] for v in values if v.startswith("!"))

    def hold(self, clip: Fields) -> bool:
        self.fields.update(clip)
        for field, wanted in self.wanted.items():
            value = str(clip.get(field))
            if (wanted and value not in wanted) or value in self.excluded[field]:
                return False
        return True

    def check(self, path: Path) -> None:
        for field in self.wanted:
            if self.fields and field not in self.fields:
                there_are = ", ".join(sorted(self.fields))
                raise DataError(f"{path}: no clip has a field {field!r}; there are {there_are}")


def _spell(where: Where) -> str:
    return ", ".join(f"{field} = {value!r}" for field, value in where.items())


# Which source is it? Manifests are told by what their first line holds.

Reader = Callable[[Path, _Conditions, Complaint], Iterator[MonoCut]]


def _reader(path: Path) -> Reader:
    if path.is_file():
        if path.suffix.lower() in AUDIO:
            return _audio_files
        kind = _kind(path)
        if kind == "supervisions":
            raise DataError(f"{path}: supervisions have no audio; name the folder with their recordings")
        return _clip_lines if kind == "clips" else _lhotse
    if not path.is_dir():
        raise DataError(f"{path}: no such file or folder")
    if any(path.glob("cuts.*.jsonl*")) and any(path.glob("*.tar*")):
        return _shar
    kinds = [_kind(file) for file in _manifests(path)]
    return _clip_lines if "clips" in kinds else _lhotse if kinds else _audio_files


def _manifests(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")])


def _kind(manifest: Path) -> str:
    """clips, cuts, recordings or supervisions."""
    for place, fields in _lines(manifest, refuse):
        if "path" in fields or "clean" in fields:
            return "clips"
        if "sources" in fields:
            return "recordings"
        if "type" in fields:
            return "cuts"
        if "recording_id" in fields:
            return "supervisions"
        raise DataError(f"{place}: expected a field 'path' or an item of lhotse, got {', '.join(fields)}")
    raise DataError(f"{manifest}: expected one JSON object a line, the file is empty")


def _lines(manifest: Path, complain: Complaint) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place (file and line) and object of each line."""
    try:
        with (gzip.open if manifest.suffix == ".gz" else open)(manifest, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                place = f"{manifest}, line {number}"
                try:
                    fields = json.loads(line)
                except json.JSONDecodeError as error:
                    complain(place, f"expected a JSON object, {error.msg} at column {error.colno}")
                    continue
                if isinstance(fields, dict):
                    yield place, fields
                else:
                    complain(place, f"expected a JSON object, got {type(fields).__name__}")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise DataError(f"{manifest}: expected lines of JSON, could not read them ({error})") from None


# A folder of audio

def _audio_files(path: Path, conditions: _Conditions, complain: Complaint) -> Iterator[MonoCut]:
    folder = path if path.is_dir() else path.parent
    files = sorted(f for f in folder.rglob("*") if f.suffix.lower() in AUDIO) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: expected audio ({' '.join(sorted(AUDIO))}) or a manifest, found neither")
    for file in files:
        fields = {"id": file.relative_to(folder).as_posix(), "path": file.name}
        if file.parent != folder:
            fields["speaker"] = file.parent.name
        if conditions.hold(fields):
            recording = _header(file, fields["id"], str(file), complain)
            if recording:
                yield _clip(recording, fields)


def _header(file: Path, name: str, place: str, complain: Complaint) -> Recording | None:
    try:
        info = soundfile.info(file)
    except (soundfile.SoundFileError, OSError) as error:
        why = f"could not read its header ({reason(error)})" if file.exists() else "there is no such file"
        complain(place, f"expected audio in {file.name}, {why}")
        return None
    if not 0 < info.frames < MAX_FRAMES:
        has = "none" if info.frames <= 0 else "no end"
        complain(place, f"expected audio with samples, {file.name} has {has}")
        return None
    return _recording(file, name, info.samplerate, info.frames, info.channels)


def reason(error: BaseException) -> str:
    """The last part of an error's text, which says what happened."""
    return str(error).strip().splitlines()[-1].split(": ")[-1] if str(error) else type(error).__name__


def _recording(file: Path, name: str, rate: int, samples: int, channels: int = 1) -> Recording:
    source = AudioSource(type="file", channels=list(range(channels)), source=str(file))
    return Recording(name, [source], sampling_rate=rate, num_samples=samples, duration=samples / rate)


def _clip(recording: Recording, fields: Fields) -> MonoCut:
    spoken = {name: fields[name] for name in SPOKEN if fields.get(name) is not None}
    name, seconds = recording.id, recording.duration
    said = [SupervisionSegment(name, name, 0.0, seconds, **spoken)] if spoken else []
    custom = {field: value for field, value in fields.items() if field not in PLACED}
    return MonoCut(name, 0.0, seconds, 0, said, recording=recording, custom=custom)


# A manifest with one clip a line

def _clip_lines(path: Path, conditions: _Conditions, complain: Complaint) -> Iterator[MonoCut]:
    manifests = [file for file in _manifests(path) if _kind(file) == "clips"]
    if len(manifests) > 1:
        names = ", ".join(file.name for file in manifests)
        raise DataError(f"{path}: expected one manifest, found {names}; name one of them")
    for place, fields in _lines(manifests[0], complain):
        if conditions.hold(fields):
            cut = _from_line(manifests[0].parent, place, fields, complain)
            if cut:
                yield cut


def _from_line(folder: Path, place: str, fields: Fields, complain: Complaint) -> MonoCut | None:
    """Of a pair, the clip is the clean side and custom["noisy"] the recording of the other."""
    audio, noisy = fields.get("path", fields.get("clean")), fields.get("noisy", "")
    if not (isinstance(audio, str) and isinstance(noisy, str)):
        complain(place, f"expected a field 'path', or 'clean' and 'noisy', got {', '.join(fields)}")
        return None
    name = str(fields.get("id", audio))
    seconds, rate = fields.get("duration"), fields.get("sample_rate")
    for field, least in (("duration", 0.001), ("sample_rate", 1)):
        value = fields.get(field)
        if value is not None and not (type(value) in (int, float) and least <= value < math.inf):
            complain(place, f"expected {field} to be a number of at least {least}, got {value!r}")
            return None
    if seconds is None or rate is None:
        recording = _header(folder / audio, name, place, complain)
        if recording is None:
            return None
    else:
        recording = _recording(folder / audio, name, int(rate), round(seconds * rate) or 1)
    cut = _clip(recording, fields)
    if noisy:
        cut.custom["noisy"] = _recording(folder / noisy, name, recording.sampling_rate, recording.num_samples)
    return cut


# Manifests and Shar folders of lhotse

def _lhotse(path: Path, conditions: _Conditions, complain: Complaint) -> Iterator[MonoCut]:
    """Cuts as they are; without cuts, one clip per recording with all its supervisions."""
    files: dict[str, list[Path]] = {"cuts": [], "recordings": [], "supervisions": []}
    for file in _manifests(path):
        files[_kind(file)].append(file)
    cuts = (item for file in files["cuts"] for item in _items(file, complain))
    for place, cut in cuts if files["cuts"] else _joined(files, complain):
        yield from _kept(cut, place, conditions, complain)


def _items(file: Path, complain: Complaint) -> Iterator[tuple[str, Any]]:
    for place, fields in _lines(file, complain):
        try:
            item = deserialize_item(fields)
        except (KeyError, TypeError, ValueError, AttributeError, AssertionError) as error:
            complain(place, f"expected an item of lhotse, got {type(error).__name__}: {error}")
            continue
        recording = item if isinstance(item, Recording) else getattr(item, "recording", None)
        if isinstance(recording, Recording):
            _beside(file.parent, recording)
        yield place, item


def _beside(folder: Path, recording: Recording) -> None:
    """lhotse takes paths from where it runs; those that lie beside the manifest are taken from there."""
    for source in recording.sources:
        # Of an absolute path, `/` keeps all and thus changes nothing.
        if source.type == "file" and (folder / source.source).exists():
            source.source = str(folder / source.source)


def _joined(files: Mapping[str, list[Path]], complain: Complaint) -> Iterator[tuple[str, MonoCut]]:
    said: dict[str, list[SupervisionSegment]] = {}
    for file in files["supervisions"]:
        for _, segment in _items(file, complain):
            said.setdefault(segment.recording_id, []).append(segment)
    for file in files["recordings"]:
        for place, recording in _items(file, complain):
            segments, channel = said.get(recording.id, []), recording.channel_ids[0]
            cut = MonoCut(recording.id, 0.0, recording.duration, channel, segments, recording=recording)
            yield place, cut


def _shar(path: Path, conditions: _Conditions, complain: Complaint) -> Iterator[MonoCut]:
    try:
        for cut in CutSet.from_shar(in_dir=path):
            for origin in ("shard_origin", "shar_epoch"):
                (cut.custom or {}).pop(origin, None)
            yield from _kept(cut, str(path), conditions, complain)
    except (OSError, EOFError, KeyError, ValueError, AssertionError, TarError) as error:
        raise DataError(f"{path}: expected a Shar folder, lhotse cannot read it ({reason(error)})") from None


def _kept(cut: Any, place: str, conditions: _Conditions, complain: Complaint) -> Iterator[MonoCut]:
    """The cut as a MonoCut; its custom also has the custom of its supervisions."""
    if not isinstance(cut, MonoCut | MultiCut) or cut.recording is None:
        got = "one without a recording" if isinstance(cut, MonoCut | MultiCut) else type(cut).__name__
        complain(place, f"expected a cut of one recording, got {got}")
        return
    said = cut.supervisions
    spoken = {name: getattr(said[0], name) for name in SPOKEN} if said else {}
    custom = dict(ChainMap(cut.custom or {}, *(segment.custom or {} for segment in said)))
    known = {"id": cut.id, "duration": cut.duration, "sample_rate": cut.sampling_rate, **spoken, **custom}
    if conditions.hold(known):
        channel = cut.channel if isinstance(cut.channel, int) else cut.channel[0]
        recording = cut.recording
        yield MonoCut(cut.id, cut.start, cut.duration, channel, said, recording=recording, custom=custom)
