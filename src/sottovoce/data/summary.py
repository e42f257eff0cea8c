"""What a corpus holds and what is wrong with which of its files: every file is decoded to its end."""

import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import soundfile
from lhotse import MonoCut, Recording
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sottovoce.data.corpora import Where, read_clips, reason
from sottovoce.errors import DataError

FRAMES_PER_SECOND = 50              # silence is told by frames of 20 ms
SILENT_RMS = 1e-3                   # -60 dB of full scale: a frame below is silence
SILENT_PEAK = 1e-4                  # -80 dB: a file that stays below holds nothing
FULL_SCALE = 0.9998                 # of 16-bit samples the last few values
CLIPPED_SHARE = 1e-3                # of samples at full scale; a normalised peak alone is far below
TOLERANCE = 0.05                    # seconds by which manifest and file may differ
OGG_TAIL = 1 << 17                  # a page has 65307 bytes at most, so the last one begins in here
STREAMED = 1 << 31                  # sizes from here on in a WAV header stand for "not known when written"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file, or with the line of a manifest."""

    file: str
    what: str


@dataclass(frozen=True)
class Part:
    """The clips of one split."""

    split: str
    clips: int
    hours: float
    speakers: int


@dataclass(frozen=True)
class Summary:
    """A corpus in numbers. Rates, channels and formats count files; shares are of the decoded audio."""

    path: str
    parts: tuple[Part, ...]                   # one of all clips, then one per split where there are splits
    seconds: tuple[float, float, float]       # shortest, median and longest clip
    rates: dict[int, int]                     # Hz -> files
    channels: dict[int, int]
    formats: dict[str, int]                   # such as "FLAC PCM_16"
    silence: float                            # share of time below -60 dB of full scale
    clipping: float                           # share of samples at full scale
    problems: tuple[Problem, ...]


def summarize(
    path: str | Path,
    where: Where | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Summary:
    """Decode every file of the corpus at `path`, which is as for `load_corpus`; bad files become problems.

    `progress` is called with the files done and the files there are. Raises DataError where no corpus is.
    """
    problems: list[Problem] = []
    clips = list(read_clips(path, where, lambda file, what: problems.append(Problem(file, what))))
    if not clips and not problems:
        raise DataError(f"{path}: no clips to summarize")
    recordings = _recordings(clips)
    heard = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:          # decoding releases the interpreter lock
        for done, one in enumerate(pool.map(_listen, recordings), 1):
            heard.append(one)
            progress(done, len(recordings))
    problems += [Problem(one.file, what) for one in heard for what in one.problems]
    problems += [*_twice(clips), *_in_two_splits(str(path), clips)]
    seconds = [clip.duration for clip in clips] or [0.0]
    readable = [one for one in heard if one.rate]
    return Summary(
        path=str(path),
        parts=tuple(_parts(clips)),
        seconds=(min(seconds), median(seconds), max(seconds)),
        rates=dict(Counter(one.rate for one in readable).most_common()),
        channels=dict(Counter(one.channels for one in readable).most_common()),
        formats=dict(Counter(one.format for one in readable).most_common()),
        silence=_share((one.silent_seconds for one in heard), (one.seconds for one in heard)),
        clipping=_share((one.clipped for one in heard), (one.samples for one in heard)),
        problems=tuple(sorted(problems, key=lambda problem: problem.file)),
    )


def _share(some: Iterable[float], of: Iterable[float]) -> float:
    return sum(some) / (sum(of) or 1)


def _parts(clips: list[MonoCut]) -> Iterator[Part]:
    splits = sorted({_split(clip) for clip in clips if _split(clip)})
    for name in ("all", *splits):
        inside = [clip for clip in clips if name in ("all", _split(clip))]
        speakers = {_speaker(clip) for clip in inside if _speaker(clip)}
        yield Part(name, len(inside), sum(clip.duration for clip in inside) / 3600, len(speakers))


def _split(clip: MonoCut) -> str:
    return str((clip.custom or {}).get("split", ""))


def _speaker(clip: MonoCut) -> str:
    return str(clip.supervisions[0].speaker or "") if clip.supervisions else ""


# What only shows when clips are compared

def _twice(clips: list[MonoCut]) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for clip in clips:
        name = _name(clip.recording)
        if clip.id in first:
            yield Problem(name, f"id {clip.id!r} is already that of {first[clip.id]}")
        first.setdefault(clip.id, name)


def _in_two_splits(path: str, clips: list[MonoCut]) -> Iterator[Problem]:
    splits: dict[str, set[str]] = {}
    for clip in clips:
        if _speaker(clip) and _split(clip):
            splits.setdefault(_speaker(clip), set()).add(_split(clip))
    for speaker, names in splits.items():
        if len(names) > 1:
            yield Problem(path, f"speaker {speaker!r} is in {' and '.join(sorted(names))}")


# Files

@dataclass
class _Heard:
    """What decoding a file told."""

    file: str
    problems: list[str]
    rate: int = 0            # Hz; 0 where it could not be opened
    channels: int = 0
    format: str = ""
    frames: int = 0          # decoded; a frame is a sample of every channel
    samples: int = 0         # decoded, of all channels
    clipped: int = 0
    silent_seconds: float = 0.0
    broken: int = 0          # NaN or infinite
    peak: float = 0.0

    @property
    def seconds(self) -> float:
        return self.frames / self.rate if self.rate else 0.0


def _name(recording: Recording) -> str:
    source = recording.sources[0]
    return str(source.source) if source.type == "file" else recording.id


def _recordings(clips: list[MonoCut]) -> list[Recording]:
    """Each once; of a pair both sides."""
    found = {}
    for clip in clips:
        for side in (clip.recording, *(clip.custom or {}).values()):
            if isinstance(side, Recording):
                found[_name(side)] = side
    return list(found.values())


def _listen(recording: Recording) -> _Heard:
    source = recording.sources[0]
    heard = _Heard(_name(recording), [])
    if source.type not in ("file", "memory"):
        heard.problems.append(f"not checked: expected a file, the audio comes from a {source.type}")
    elif source.type == "file" and not Path(source.source).exists():
        heard.problems.append("there is no such file")
    else:
        try:
            _decode(source.source if source.type == "file" else io.BytesIO(source.source), heard)
        except (soundfile.SoundFileError, OSError) as error:
            heard.problems.append(f"expected audio, could not decode it to its end ({reason(error)})")
        else:
            whole = not heard.problems
            heard.problems += [*_wrong(heard), *_against_manifest(recording, heard, whole)]
    return heard


def _decode(file: Any, heard: _Heard) -> None:
    with soundfile.SoundFile(file) as audio:
        heard.rate, heard.channels = audio.samplerate, audio.channels
        heard.format = f"{audio.format} {audio.subtype}"
        stated = audio.frames                   # libsndfile corrects it while it decodes an MP3
        frame = max(1, audio.samplerate // FRAMES_PER_SECOND)
        # Not audio.blocks(): where a file ends early, that gives the block before once more.
        while len(block := audio.read(frame * 500, dtype="float32", always_2d=True)):
            good = np.nan_to_num(block, posinf=0, neginf=0)
            size = np.abs(good)
            heard.frames += len(block)
            heard.samples += block.size
            heard.broken += block.size - int(np.isfinite(block).sum())
            heard.clipped += int((size >= FULL_SCALE).sum())
            heard.peak = max(heard.peak, float(size.max(initial=0)))
            starts = range(0, len(good), frame)
            power = np.add.reduceat(np.square(good).mean(1), starts)
            heard.silent_seconds += float((power < SILENT_RMS**2 * frame).sum()) / FRAMES_PER_SECOND
        lost = _lost(audio, stated, heard.frames)
    if lost:
        heard.problems.append(f"truncated: {lost}")


def _lost(audio: soundfile.SoundFile, stated: int, decoded: int) -> str:
    """How one sees that the end is missing, or nothing; libsndfile itself passes over it."""
    if decoded < stated:
        return f"its header states {stated} samples, {decoded} are there"
    size = re.search(r"(?:data|SSND) : (\d+) \(should be (\d+)\)", audio.extra_info)
    if size and int(size[2]) < int(size[1]) < STREAMED:
        return f"its header states {size[1]} bytes of audio, {size[2]} are there"
    if audio.format == "OGG" and isinstance(audio.name, str) and not _ogg_ends(Path(audio.name)):
        return "the last page of the Ogg stream is missing"
    return ""


def _ogg_ends(file: Path) -> bool:
    with file.open("rb") as data:
        data.seek(max(0, file.stat().st_size - OGG_TAIL))
        tail = data.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27:
        return False
    lengths = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(lengths)


def _wrong(heard: _Heard) -> Iterator[str]:
    if heard.frames < 2:
        yield f"expected speech or noise, it holds {'a single sample' if heard.frames else 'no samples'}"
    elif heard.peak < SILENT_PEAK and not heard.broken:
        yield "silent: no sample is above -80 dB of full scale"
    if heard.broken:
        yield f"expected numbers, {heard.broken} of {heard.samples} samples are NaN or infinite"
    if heard.clipped > CLIPPED_SHARE * heard.samples:
        yield f"clipped: {heard.clipped / heard.samples:.1%} of its samples are at full scale"


def _against_manifest(recording: Recording, heard: _Heard, whole: bool) -> Iterator[str]:
    if recording.sampling_rate != heard.rate:
        yield f"the manifest says {recording.sampling_rate} Hz, the file has {heard.rate} Hz"
    if whole and abs(recording.duration - heard.seconds) > TOLERANCE:
        yield f"the manifest says {recording.duration:.2f} s, the file has {heard.seconds:.2f} s"


# On the screen

def render(summary: Summary, shown: int = 50) -> RenderableType:
    """Tables for a rich console; of the problems the first `shown`."""
    parts = Table(title=summary.path, title_justify="left")
    parts.add_column("split")
    for heading in ("clips", "hours", "speakers"):
        parts.add_column(heading, justify="right")
    for part in summary.parts:
        parts.add_row(Text(part.split), f"{part.clips:,}", f"{part.hours:.2f}", f"{part.speakers:,}")
    facts = Table(show_header=False, box=None)
    shortest, middle, longest = summary.seconds
    facts.add_row("clip length", f"{shortest:.2f} s to {longest:.2f} s, median {middle:.2f} s")
    facts.add_row("sample rates", _counts({f"{rate:,} Hz": files for rate, files in summary.rates.items()}))
    facts.add_row("channels", _counts(summary.channels))
    facts.add_row("formats", _counts(summary.formats))
    facts.add_row("silence", f"{summary.silence:.1%} of the time (below -60 dB of full scale)")
    facts.add_row("clipping", f"{summary.clipping:.3%} of the samples (at full scale)")
    if not summary.problems:
        return Group(parts, facts, Text("No problems found."))
    wrong = Table("file", "what is wrong", title=f"{len(summary.problems)} problems", title_justify="left")
    for problem in summary.problems[:shown]:
        wrong.add_row(Text(problem.file, overflow="fold"), Text(problem.what))
    more = len(summary.problems) - shown
    return Group(parts, facts, wrong, *([Text(f"and {more} more")] if more > 0 else []))


def _counts(files: dict[Any, int]) -> str:
    return ", ".join(f"{name} ({count:,})" if len(files) > 1 else str(name) for name, count in files.items())
