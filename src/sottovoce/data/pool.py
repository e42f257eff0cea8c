"""Clips to draw from: their ids, lengths and groups, and their samples, decoded once and kept while memory allows."""

import mmap
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import soxr
from lhotse.cut import Cut
from numpy.typing import NDArray

from sottovoce.errors import DataError

Array = NDArray[np.float32]
Number = TypeVar("Number", np.int16, np.int64)
RATE = 16_000                       # Hz, where nothing else is said
CACHE_BYTES = 3 << 30               # of decoded clips that are kept, as 16-bit samples
LONG_SECONDS = 60.0                 # a longer clip is decoded window by window, never whole
SLACK = 16                          # samples that a clip may have more than its duration says


def group_of(field: str) -> Callable[[Cut], str]:
    """What a clip counts as when clips are balanced: its speaker, or a field of its manifest line."""

    def group(cut: Cut) -> str:
        if field == "speaker":
            return str(cut.supervisions[0].speaker or cut.id) if cut.supervisions else cut.id
        return str((cut.custom or {}).get(field, cut.id))

    return group


class Pool:
    """The clips of a corpus, drawn at random and read at one rate, mono.

    Decoded clips are kept for all processes that are forked from this one: what a worker decodes, the workers after it
    do not decode again.
    A clip is drawn so that the share of its group grows with the root of the seconds there are of the group: a speaker
    with hours of speech does not drown those with a sentence.
    """

    def __init__(self, cuts: Iterable[Cut], group: str = "speaker", rate: int = RATE) -> None:
        self.cuts, self.group, self.rate = list(cuts), group, rate
        group_name = group_of(group)
        self.index = {cut.id: position for position, cut in enumerate(self.cuts)}
        self.seconds = np.array([cut.duration for cut in self.cuts])
        self.groups = [group_name(cut) for cut in self.cuts]
        names = np.array(self.groups)
        self.members: dict[str, NDArray[np.int64]] = {
            name: np.flatnonzero(names == name) for name in sorted(set(self.groups))
        }
        totals = {name: self.seconds[members].sum() for name, members in self.members.items()}
        weights = np.array([self.seconds[i] / totals[name] ** 0.5 for i, name in enumerate(self.groups)])
        self.cumulative = np.cumsum(weights / weights.sum())
        rooms = np.ceil(self.seconds * rate).astype(np.int64) + SLACK
        rooms[self.seconds > LONG_SECONDS] = 0
        ends = np.cumsum(rooms)
        rooms[2 * ends > CACHE_BYTES] = 0            # of the last ones nothing is kept
        self._rooms = np.stack([ends - rooms, ends], axis=1)
        self._samples = _shared(int(rooms.sum()), np.int16)
        self._lengths = _shared(len(self.cuts), np.int64)        # of what is in a clip's room; 0: nothing

    def draw(self, rng: np.random.Generator, group: str | None = None) -> tuple[str, str, float]:
        """A clip's id, its group and its seconds; of one group only, if that is given."""
        if group is None:
            position = int(np.searchsorted(self.cumulative, rng.random(), side="right"))
        else:
            position = int(rng.choice(self.members[group]))
        position = min(position, len(self.cuts) - 1)
        return self.cuts[position].id, self.groups[position], float(self.seconds[position])

    def read(self, clip: str, start: float, seconds: float) -> Array:
        """At most `seconds` of a clip from `start`, float32. Raises DataError for an unknown or a bad clip."""
        if clip not in self.index:
            raise DataError(f"clip {clip!r} is not in this corpus of {len(self.cuts)} clips")
        place = self.index[clip]
        cut = self.cuts[place]
        if cut.duration > LONG_SECONDS:
            return _decode(cut, start, seconds, self.rate)
        first = round(start * self.rate)
        return self._whole(place)[first : first + round(seconds * self.rate)].astype(np.float32) / np.float32(32768)

    def _whole(self, place: int) -> NDArray[np.int16]:
        cut, (start, end) = self.cuts[place], self._rooms[place]
        room = self._samples[start:end]
        if length := self._lengths[place]:
            return room[:length]
        wave = np.clip(_decode(cut, 0.0, cut.duration, self.rate) * 32768, -32768, 32767).round().astype(np.int16)
        if len(wave) <= len(room):
            room[: len(wave)] = wave
            self._lengths[place] = len(wave)         # last: another process may be looking
        return wave

    def __reduce__(self) -> Any:
        return Pool, (self.cuts, self.group, self.rate)          # what is kept stays with those that are forked


def _shared(count: int, kind: type[Number]) -> NDArray[Number]:
    """So many zeros, which processes that are forked from this one write to as well."""
    return np.frombuffer(mmap.mmap(-1, max(1, count) * np.dtype(kind).itemsize), kind)[:count]


def _decode(cut: Any, start: float, seconds: float, rate: int) -> Array:
    left = cut.duration - start
    part = cut if start == 0 and seconds >= left else cut.truncate(offset=start, duration=min(seconds, left))
    try:
        wave = part.load_audio()[0]
    except Exception as error:       # lhotse raises a kind of its own per backend
        raise _undecoded(cut, str(error)) from None
    if cut.sampling_rate != rate:
        wave = soxr.resample(wave, cut.sampling_rate, rate)
    return np.ascontiguousarray(wave, np.float32)


def _undecoded(cut: Any, text: str) -> DataError:
    """What is wrong with a clip that lhotse could not decode; one that lies in memory goes by its id."""
    source = cut.recording.sources[0]
    name = source.source if source.type == "file" else f"clip {cut.id!r}"
    if source.type == "file" and not Path(name).exists():
        return DataError(f"{name}: there is no such file")
    # The text has every decoder that was tried and every call; the end of the first one's line is what matters.
    told = re.search(r"Error'>: .*?([^:\n]+)$", text, re.MULTILINE)
    reason = told[1].strip(" .") if told else "no decoder did"
    return DataError(f"{name}: expected audio, could not decode it ({reason})")
