"""Clips to draw from: their ids, lengths and groups, and their samples, decoded once and kept while memory allows."""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from lhotse.cut import Cut
from numpy.typing import NDArray

from sottovoce.errors import DataError

Array = NDArray[np.float32]
RATE = 16_000                       # Hz, where nothing else is said
CACHE_BYTES = 3 << 30               # decoded clips kept per process, as 16-bit samples
LONG_SECONDS = 60.0                 # a longer clip is decoded window by window, never whole


def group_of(field: str) -> Callable[[Cut], str]:
    """What a clip counts as when clips are balanced: its speaker, or a field of its manifest line."""

    def group(cut: Cut) -> str:
        if field == "speaker":
            return str(cut.supervisions[0].speaker or cut.id) if cut.supervisions else cut.id
        return str((cut.custom or {}).get(field, cut.id))

    return group


class Pool:
    """The clips of a corpus, drawn at random and read at one rate, mono.

    A clip is drawn so that the share of its group grows with the root of the seconds there are of the group: a speaker
    with hours of speech does not drown those with a sentence.
    """

    def __init__(self, cuts: Iterable[Cut], group: str = "speaker", rate: int = RATE) -> None:
        self.cuts, self.rate = list(cuts), rate
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
        self._cache: OrderedDict[str, NDArray[np.int16]] = OrderedDict()
        self._cached_bytes = 0

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
        cut = self.cuts[self.index[clip]]
        if cut.duration > LONG_SECONDS:
            return _decode(cut, start, seconds, self.rate)
        first = round(start * self.rate)
        return self._whole(cut)[first : first + round(seconds * self.rate)].astype(np.float32) / np.float32(32768)

    def _whole(self, cut: Cut) -> NDArray[np.int16]:
        if cut.id in self._cache:
            self._cache.move_to_end(cut.id)
            return self._cache[cut.id]
        wave = np.clip(_decode(cut, 0.0, cut.duration, self.rate) * 32768, -32768, 32767).round().astype(np.int16)
        self._cache[cut.id] = wave
        self._cached_bytes += wave.nbytes
        while self._cached_bytes > CACHE_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return wave


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
