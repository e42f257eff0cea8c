"""The states of all frames of a corpus: aligned once, kept in a folder, and gone on with where it was broken off.

`aligned.jsonl` has a line for each utterance, with its words, phones and senones; `left_out.csv` says which could not
be aligned, and why; `states.json` which senones are one state of a model. A senone has a state of its own where enough
frames of the speech to train on are of it. All others of a third of a phone are one state, whatever it is beside.
"""

import csv
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch.utils.data import DataLoader, Dataset

from sottovoce.data.aligner import Aligned, Aligner
from sottovoce.data.pool import Pool
from sottovoce.data.vocabulary import Phones, words_of
from sottovoce.errors import DataError
from sottovoce.files import write_text

ALIGNED, LEFT_OUT, STATES = "aligned.jsonl", "left_out.csv", "states.json"
NICE = 10                            # aligning gives way to other work

Integers = NDArray[np.int64]


def align(folder: Path, pool: Pool, workers: int) -> None:
    """Aligns the utterances of a pool that a folder does not have yet, each once; those of unknown words it leaves out.

    `workers` is the number of processes. It may be broken off at any time. Raises DataError where the folder cannot be
    written to.
    """
    kept = _Kept(folder)
    vocabulary, waiting = Phones(), []
    for cut in pool.cuts:
        if cut.id in kept.done:
            continue
        words = words_of(" ".join(said.text or "" for said in cut.supervisions))
        unknown = vocabulary.unknown(words)
        if words and not unknown:
            waiting.append((cut.id, cut.duration, words))
        else:
            kept.leave_out(cut.id, f"words that the dictionary does not know: {' '.join(unknown)}" if words else
                           "without text")
    jobs = DataLoader(_Jobs(pool, waiting), batch_size=None, num_workers=min(workers, len(waiting)),
                      collate_fn=_as_it_is, worker_init_fn=_give_way)
    console = Console(stderr=True)
    shown = track(jobs, "aligning", len(waiting), console=console, transient=True, disable=not console.is_terminal)
    for identifier, found in shown:
        if isinstance(found, str):
            kept.leave_out(identifier, found)
        else:
            kept.add(identifier, found)


class Alignments:
    """The state of every frame of the utterances of a folder, as a model's numbers: from 0 up to `states`."""

    def __init__(self, folder: Path, states: Sequence[dict[str, Any]]) -> None:
        """`states` are those of `inventory`."""
        self.folder = folder
        self.names: list[str] = [state["name"] for state in states]
        self.frames = np.array([state["frames"] for state in states])
        self.state_of = np.zeros(1 + max(code for state in states for code in state["senones"]), np.int64)
        for number, state in enumerate(states):
            self.state_of[state["senones"]] = number

    @property
    def states(self) -> int:
        """How many there are."""
        return len(self.names)

    @property
    def digest(self) -> str:
        """What a model's states can be recognized by."""
        return hashlib.sha256("\n".join(self.names).encode()).hexdigest()[:16]

    @cached_property
    def log_priors(self) -> NDArray[np.float64]:
        """How likely each state is [states], natural logarithms; as if each came once more than it did."""
        return np.asarray(np.log((self.frames + 1) / (self.frames + 1).sum()))

    @property
    def left_out(self) -> Path:
        """The file that says what could not be aligned, and why."""
        return self.folder / LEFT_OUT

    @cached_property
    def clips(self) -> list[str]:
        """The utterances, in the order in which they were aligned."""
        return [*self._lines]

    def of(self, utterance: str) -> Integers:
        """The state of each frame [frames] of an utterance. Raises DataError where it is not aligned.

        The frames are those of a model, in the middle of every hop of 10 ms. The aligner's are windows of 25.6 ms that
        begin with a hop: the one of the hop before is nearer.
        """
        senones, lasting = zip(*self._line(utterance)["senones"], strict=True)
        states = np.repeat(self.state_of[[*senones]], lasting)
        return np.concatenate([states[:1], states])

    def text(self, utterance: str) -> str:
        """What is said in it, as the vocabulary writes it. Raises DataError where it is not aligned."""
        return " ".join(word.partition("(")[0] for word, _ in self._line(utterance)["words"] if word[0] not in "<[")

    def _line(self, utterance: str) -> dict[str, Any]:
        if utterance not in self._lines:
            raise DataError(f"{self.folder / ALIGNED}: expected utterance {utterance}, it is not there")
        found: dict[str, Any] = json.loads(self._lines[utterance])
        return found

    @cached_property
    def _lines(self) -> dict[str, str]:
        return dict(_lines(self.folder / ALIGNED))


def kept_alignments(
    folder: Path, pools: Sequence[Pool], kinds: Sequence[str], least: int, workers: int | None = None
) -> Alignments:
    """The alignments of a folder, made there where they are missing; the first pool is of the speech to train on.

    A senone with `least` frames in that has a state of its own; `kinds` [senones] says which phone it is in, and where.
    `workers` is the number of processes that align, one a core if not given.
    Raises DataError for a folder of another training speech or another `least`, or a damaged one.
    """
    for pool in pools:
        align(folder, pool, (os.cpu_count() or 1) if workers is None else workers)
    clips = {cut.id for cut in pools[0].cuts}
    about = {"least": least, "clips": hashlib.sha256("\n".join(sorted(clips)).encode()).hexdigest()[:16]}
    path = folder / STATES
    if not path.is_file():
        states = inventory(_frames(folder, clips, len(kinds)), kinds, least)
        write_text(path, json.dumps({**about, "states": states}))
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        found, alignments = {name: kept[name] for name in about}, Alignments(folder, kept["states"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: expected states, got damaged data ({error}); remove it to make it anew") from None
    if found != about:
        raise DataError(f"{path}: expected states of {about}, got those of {found}; choose another folder or remove it")
    return alignments


def inventory(frames: Integers, kinds: Sequence[str], least: int) -> list[dict[str, Any]]:
    """The states: name, senones and frames of each, from the frames of every senone [senones] and its kind.

    Senones with fewer than `least` frames are one state of their kind; with the most frequent one of it, if even
    together they have too few. Kinds that begin with a plus, noises, are none.
    """
    states: list[dict[str, Any]] = []
    for kind in sorted({kind for kind in kinds if kind[0] != "+"}):
        codes = [code for code, other in enumerate(kinds) if other == kind]
        rare = [code for code in codes if frames[code] < least]
        own = [[code] for code in codes if frames[code] >= least]
        names = [f"{kind}/{code}" for code, in own]
        if rare and own and frames[rare].sum() < least:
            max(own, key=lambda group: frames[group[0]]).extend(rare)
        elif rare:
            own, names = [*own, rare], [*names, kind]
        states += [{"name": name, "senones": group, "frames": int(frames[group].sum())}
                   for name, group in zip(names, own, strict=True)]
    return states


def _frames(folder: Path, clips: set[str], senones: int) -> Integers:
    """How many frames of the clips are of each senone [senones]."""
    frames = np.zeros(senones, np.int64)
    for clip, line in _lines(folder / ALIGNED):
        if clip in clips:
            codes, lasting = np.array(json.loads(line)["senones"]).T
            np.add.at(frames, codes, lasting)
    if not frames.any():
        raise DataError(f"{folder / ALIGNED}: expected speech to train on, got none; {folder / LEFT_OUT} says why")
    return frames


class _Kept:
    """The files of a folder at work: which utterances they have, and lines added to them."""

    def __init__(self, folder: Path) -> None:
        self.aligned, self.left_out = folder / ALIGNED, folder / LEFT_OUT
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path, head in (self.aligned, b""), (self.left_out, b"utterance,reason\n"):
                _without_half_a_line(path, head)
            with self.left_out.open(encoding="utf-8", newline="") as file:
                reasons = [row["utterance"] for row in csv.DictReader(file)]
        except OSError as error:
            raise DataError(f"{folder}: alignments cannot be kept there: {error.strerror}") from None
        self.done = {clip for clip, _ in _lines(self.aligned)} | {*reasons}

    def add(self, clip: str, found: Aligned) -> None:
        with self.aligned.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"id": clip, **asdict(found)}) + "\n")

    def leave_out(self, clip: str, reason: str) -> None:
        with self.left_out.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow([clip, reason])


def _without_half_a_line(path: Path, head: bytes) -> None:
    """A file that begins with `head` and of which no last line is cut short by a writer that was killed."""
    data = path.read_bytes() if path.is_file() else b""
    whole = data[: data.rfind(b"\n") + 1] or head
    if whole != data or not path.is_file():
        path.write_bytes(whole)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """Utterances of a file and their lines. Raises DataError for a file that cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line[: line.index(", \"words\"")] + "}")["id"], line      # the rest is long
    except OSError as error:
        raise DataError(f"{path}: expected alignments, got: {error.strerror}") from None
    except (ValueError, LookupError, TypeError) as error:
        raise DataError(f"{path}: expected alignments, got damaged data ({error})") from None


@dataclass(frozen=True)
class _Jobs(Dataset[tuple[str, Aligned | str]]):
    """Clips with what is said in them, aligned one by one; one that cannot be comes with the reason."""

    pool: Pool
    waiting: Sequence[tuple[str, float, list[str]]]                  # clip, seconds, words

    def __len__(self) -> int:
        return len(self.waiting)

    def __getitem__(self, number: int) -> tuple[str, Aligned | str]:
        clip, seconds, words = self.waiting[number]
        try:
            return clip, _aligner().aligned(self.pool.read(clip, 0.0, seconds), words)
        except DataError as error:
            return clip, str(error)


@cache
def _aligner() -> Aligner:
    """The one of this process."""
    return Aligner()


def _give_way(_: int) -> None:
    os.nice(NICE)


def _as_it_is(job: Any) -> Any:
    return job
