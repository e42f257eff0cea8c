"""Make sample/ from the full corpus: `python benchmarks/make_sample.py CORPUS sample`.

Sentences of the many talkers are cut in a pause and encoded at 40 kbit/s to fit; all other Opus files are cut
between Ogg pages, their packets as they are; room responses are copied. The choice depends on SEED alone.
"""

import argparse
import io
import json
import random
import shutil
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

SEED = 2024
BYTES = 9_600_000                # of audio; manifests, texts and lists of mixtures come on top, 10 MB in all
TALKERS = "librispeech-train-clean-100"                    # a sentence of each of many speakers
LONG_READERS = ("kathleen", "ljspeech")                    # hours of one speaker: they fill what is left
EVALUATED = (TALKERS, "librispeech-test-other")
QUIET_DB = 30                    # between loud and quiet frames of a sentence that counts as a clean reference
NOISE_PAGES = 5                                            # seconds kept of a clip of noise
OPUS_LEVEL = 0.865                                         # about 40 kbit/s
EVENTS = {"chainsaw", "clock_tick", "crying_baby", "dog", "rooster", "sneezing"}
NOISES = {                       # clips per class: (ambience, events)
    "train": (5, 3),
    "dev": (2, 1),
    "test": (3, 1),
}
ROOMS = {                        # short, none of them share-alike
    "openair-DomesticLivingRoom-ch0", "openair-SaintLawrenceChurchMolenbeekWersbeekBelgium-ch0",
    "openair-EmptyApartmentBedroom-ch0", "speechbrain-rir1", "speechbrain-rir2", "speechbrain-rir3",
    "speechbrain-rir4", "chromium-kitchen-true-stereo-ch0",
}
KEPT = ("id", "speaker", "gender", "class", "room", "kind", "rt60", "text", "corpus", "source", "licence",
        "bandwidth_hz", "split")
Line = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description="Make sample/ from the full corpus.")
    parser.add_argument("corpus", type=Path, help="folder with speech.jsonl, noise.jsonl and rir.jsonl")
    parser.add_argument("sample", type=Path, help="folder to write; its audio and manifests are replaced")
    make(**vars(parser.parse_args()))


def make(corpus: Path, sample: Path) -> None:
    rng = random.Random(SEED)
    for part in ("speech", "noise", "rir"):
        shutil.rmtree(sample / part, ignore_errors=True)
    rooms = [copied(corpus, sample, line) for line in lines(corpus, "rir") if line["id"] in ROOMS]
    noises = [cut(corpus, sample, line, NOISE_PAGES) for line in chosen_noise(lines(corpus, "noise"), rng)]
    evaluated, talkers, readers = chosen_speech(corpus, lines(corpus, "speech"), rng)
    speech = [encoded(corpus, sample, line) for line in evaluated + talkers]
    left = BYTES - sum((sample / line["path"]).stat().st_size for line in speech + noises + rooms)
    for line in readers:
        left -= (corpus / line["path"]).stat().st_size
        if left < 0:
            break
        speech.append(cut(corpus, sample, line, 1000))
    for name, made in (("speech", speech), ("noise", noises), ("rir", rooms)):
        ordered = sorted(made, key=lambda line: line["path"])
        (sample / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in ordered))


def lines(corpus: Path, part: str) -> list[Line]:
    return [json.loads(line) for line in (corpus / f"{part}.jsonl").read_text().splitlines()]


def shuffled(items: Iterable[Line], rng: random.Random) -> list[Line]:
    ordered = sorted(items, key=lambda line: line["id"])
    rng.shuffle(ordered)
    return ordered


def chosen_noise(noises: list[Line], rng: random.Random) -> Iterator[Line]:
    for split, counts in NOISES.items():
        for kind in sorted({line["class"] for line in noises if line["split"] == split}):
            clips = shuffled((n for n in noises if n["split"] == split and n["class"] == kind), rng)
            # A recording may have given several clips: the first of each comes before the second of any.
            seen: Counter[str] = Counter()
            turn = {}
            for clip in clips:
                turn[clip["id"]] = seen[clip["source"]]
                seen[clip["source"]] += 1
            yield from sorted(clips, key=lambda clip: turn[clip["id"]])[: counts[kind in EVENTS]]


def chosen_speech(corpus: Path, speech: list[Line], rng: random.Random) -> tuple[list[Line], list[Line], list[Line]]:
    """Clips of dev and test, one clip of each training talker, and the long readers' clips in turn."""
    speech = shuffled((line for line in speech if line["bandwidth_hz"] == 8000), rng)
    train = [line for line in speech if line["split"] == "train"]
    evaluated = (
        line for line in speech
        if line["split"] != "train" and line["corpus"] in EVALUATED and is_clean(corpus / line["path"])
    )
    talkers = (line for line in train if line["corpus"] == TALKERS)
    readers = ([line for line in train if line["corpus"] == name] for name in LONG_READERS)
    in_turn = [line for turn in zip(*readers, strict=False) for line in turn]
    return first_of_each(evaluated, 2.5), first_of_each(talkers, 1.5), in_turn


def is_clean(path: Path) -> bool:
    """Whether a recording is quiet enough where nobody speaks to be what an enhancer should give back."""
    wave, rate = soundfile.read(path, dtype="float32")
    frames = wave[: len(wave) // (rate // 50) * (rate // 50)].reshape(-1, rate // 50)
    loud, quiet = np.percentile(10 * np.log10(np.square(frames).mean(1) + 1e-10), (95, 10))
    return bool(loud - quiet >= QUIET_DB)


def first_of_each(clips: Iterable[Line], seconds: float) -> list[Line]:
    """The first clip of each speaker that is long enough; two of the speakers of test-other, who have ten."""
    taken: dict[str, list[Line]] = {}
    for clip in clips:
        mine = taken.setdefault(clip["speaker"], [])
        if clip["duration"] >= seconds and len(mine) < (1 if clip["corpus"] == TALKERS else 2):
            mine.append(clip)
    return [clip for mine in taken.values() for clip in mine]


# Files

def copied(corpus: Path, sample: Path, line: Line) -> Line:
    return written(sample, line, (corpus / line["path"]).read_bytes(), ".flac")


def cut(corpus: Path, sample: Path, line: Line, pages: int) -> Line:
    """The first seconds of an Ogg Opus file, its packets as they are."""
    return written(sample, line, opus_pages((corpus / line["path"]).read_bytes(), pages), ".opus")


def encoded(corpus: Path, sample: Path, line: Line) -> Line:
    wave, rate = soundfile.read(corpus / line["path"], dtype="float32")
    data = io.BytesIO()
    wave = wave[: pause(wave, rate)]
    soundfile.write(data, wave, rate, format="OGG", subtype="OPUS", compression_level=OPUS_LEVEL)
    return written(sample, line, opus_pages(data.getvalue(), 1000), ".opus")


def pause(wave: NDArray[np.float32], rate: int, between: tuple[float, float] = (4.0, 6.0)) -> int:
    """The sample in the middle of the quietest 50 ms of a stretch: where to cut between words."""
    frame = rate // 20
    first, last = (min(round(seconds * rate), len(wave)) // frame for seconds in between)
    if len(wave) <= between[1] * rate or last <= first:
        return len(wave)
    power = np.square(wave[first * frame : last * frame]).reshape(last - first, frame).sum(1)
    return (first + int(power.argmin())) * frame + frame // 2


def written(sample: Path, line: Line, data: bytes, suffix: str) -> Line:
    owner = line.get("speaker") or line.get("class") or ""
    part = "speech" if "speaker" in line else "noise" if "class" in line else "rir"
    path = Path(part) / line["split"] / owner / (line["id"] + suffix)
    (sample / path).parent.mkdir(parents=True, exist_ok=True)
    (sample / path).write_bytes(data)
    wave, rate = soundfile.read(sample / path)
    made = {field: line[field] for field in KEPT if line.get(field) is not None}
    if len(wave) / rate < line["duration"] - 0.05:
        made.pop("text", None)      # a part of what was said
    return {**made, "path": path.as_posix(), "duration": round(len(wave) / rate, 5), "sample_rate": rate}


# Ogg (RFC 3533): pages of "OggS", version, flags, granule position, serial, number, checksum, lengths, body.

HEAD = struct.Struct("<4sBBqIIIB")
LAST = 4                                         # flag of a stream's last page
TAGS = b"OpusTags" + struct.pack("<I9sI", 9, b"sottovoce", 0)


def opus_pages(data: bytes, pages: int) -> bytes:
    """The same packets, at most so many pages of audio; comments without padding, serial number 1."""
    head, _, *audio = split_pages(data)
    kept = [head, (0, 0, [len(TAGS)], TAGS), *audio[:pages]]
    out = b""
    for number, (flags, granule, lengths, body) in enumerate(kept):
        flags |= LAST if number == len(kept) - 1 else 0
        fields = [b"OggS", 0, flags, granule, 1, number, 0, len(lengths)]
        fields[6] = checksum(HEAD.pack(*fields) + bytes(lengths) + body)
        out += HEAD.pack(*fields) + bytes(lengths) + body
    return out


def split_pages(data: bytes) -> Iterator[tuple[int, int, list[int], bytes]]:
    at = 0
    while at < len(data):
        _, _, flags, granule, _, _, _, count = HEAD.unpack_from(data, at)
        lengths = list(data[at + HEAD.size : at + HEAD.size + count])
        start = at + HEAD.size + count
        at = start + sum(lengths)
        yield flags, granule, lengths, data[start:at]


def crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
        table.append(value)
    return table


CRC = crc_table()


def checksum(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 & 0xFFFFFFFF) ^ CRC[value >> 24 ^ byte]
    return value


if __name__ == "__main__":
    main()
