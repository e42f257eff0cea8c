"""Audio files in blocks: what may be read, in which form it is written back, and never half a file."""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from sottovoce.errors import DataError
from sottovoce.runtime.reference import Array

CONTAINERS = {              # libsndfile's name of the container by suffix
    ".wav": "WAV", ".flac": "FLAC", ".mp3": "MP3", ".ogg": "OGG", ".oga": "OGG", ".opus": "OGG",
    ".aif": "AIFF", ".aiff": "AIFF", ".aifc": "AIFF", ".au": "AU", ".snd": "AU",
    ".caf": "CAF", ".rf64": "RF64", ".w64": "W64",
}  # fmt: skip
RATES = range(8_000, 192_001)                                        # Hz
CHANNELS = range(1, 65)
LOUDEST = 1e6               # squares of samples far beyond this leave the range of float32
BITS = {"PCM_S8": 8, "PCM_U8": 8, "PCM_16": 16, "PCM_24": 24, "PCM_32": 32}
UNLIMITED = ("FLOAT", "DOUBLE")                                      # may hold samples beyond -1..1


@dataclass(frozen=True)
class Form:
    """How samples lie in a file, in libsndfile's names."""

    container: str         # WAV, FLAC ...
    subtype: str           # PCM_16, VORBIS ...

    def __str__(self) -> str:
        return f"{self.container} {self.subtype}"


@contextmanager
def reading(path: Path) -> Iterator[sf.SoundFile]:
    """The audio file at `path`, open. Raises DataError if there is none that can be used."""
    if not path.exists():
        raise DataError(f"{path}: expected an audio file, got no such file")
    if not path.is_file():
        raise DataError(f"{path}: expected an audio file, got something else")
    if not path.stat().st_size:
        raise DataError(f"{path}: expected an audio file, got an empty one")
    try:
        file = sf.SoundFile(path)
    except (sf.SoundFileError, TypeError) as error:                  # TypeError: .raw files, of unknown form
        raise DataError(f"{path}: expected an audio file, got unreadable data ({_reason(error)})") from error
    with file:
        if file.samplerate not in RATES:
            raise DataError(f"{path}: expected a sample rate of 8000..192000 Hz, got {file.samplerate}")
        if file.channels not in CHANNELS:
            raise DataError(f"{path}: expected 1..64 channels, got {file.channels}")
        if not file.frames:
            raise DataError(f"{path}: expected at least one sample, got none")
        yield file


def blocks_of(file: sf.SoundFile, frames: int) -> Iterator[Array]:
    """The samples of an open file from its start, [frames or less, channels] at a time.

    Raises DataError for a file that ends early or is damaged, and for a sample that is not finite.
    """
    done = 0
    while True:
        try:
            block = file.read(frames, dtype="float32", always_2d=True)
        except sf.SoundFileError as error:
            seconds = done / file.samplerate
            raise DataError(f"{file.name}: damaged after {seconds:.1f} s ({_reason(error)})") from error
        if not len(block):
            break
        usable = np.abs(block) <= LOUDEST                            # False for NaN too
        if not usable.all():
            at, channel = np.argwhere(~usable)[0]
            raise DataError(
                f"{file.name}: expected samples in -1..1, got {block[at, channel]}"
                f" at {(done + at) / file.samplerate:.3f} s in channel {channel + 1}"
            )
        done += len(block)
        yield block
    # What is said of the length of an MP3 may be an estimate; any other file has lost something.
    if done != file.frames and file.format != "MP3":
        raise DataError(f"{file.name}: expected {file.frames} samples as its header says, got {done}")


def form_for(source: sf.SoundFile, path: Path, suffix: str) -> Form | None:
    """The form of `source`, the file at `path`, or the nearest to it that a file named *`suffix` can hold.

    None if it cannot hold this sample rate or number of channels at all, or is unknown.
    """
    same = suffix.lower() == path.suffix.lower()
    container = source.format if same else CONTAINERS.get(suffix.lower())
    if container is None:
        return None
    if container == "WAV" and not same and 4 * source.frames * source.channels >= 2**32:
        container = "RF64"                                           # the same with lengths of 64 bits
    plain = "PCM_24" if source.subtype in {"PCM_24", "PCM_32", "FLOAT", "DOUBLE"} else "PCM_16"
    for subtype in (source.subtype, plain, sf.default_subtype(container)):
        if sf.check_format(container, subtype) and _opens(source, Form(container, subtype)):
            return Form(container, subtype)
    return None


@contextmanager
def writing(path: Path, form: Form, rate: int, channels: int) -> Iterator[Callable[[Array], None]]:
    """A function that appends [frames, channels] to the new file `path`, which appears when all went well.

    Samples beyond what the form holds are limited, not wrapped. Raises DataError if it cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with _Sink(part, "w") as sink:
            try:
                with sf.SoundFile(sink, "w", rate, channels, form.subtype, format=form.container) as file:
                    yield lambda block: file.write(limited(block, form.subtype))
            finally:
                if sink.failure is not None:
                    raise sink.failure
            os.fsync(sink.fileno())
        part.replace(path)
    except sf.SoundFileError as error:
        raise DataError(f"{path}: cannot be written: {_reason(error)}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def limited(block: Array, subtype: str) -> NDArray[np.floating]:
    """The nearest samples that the subtype can hold; libsndfile itself would round them down."""
    if subtype in UNLIMITED:
        return block
    if subtype not in BITS:
        return np.clip(block, -1, 1)
    steps = 2.0 ** (BITS[subtype] - 1)
    return np.clip(np.rint(block.astype(np.float64) * steps), -steps, steps - 1) / steps


class _Sink(io.FileIO):
    """A file for libsndfile to write to that remembers why a write failed, as libsndfile does not."""

    failure: OSError | None = None

    def write(self, data: bytes) -> int:  # type: ignore[override]
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.fileno(), rest) :]
        except OSError as error:
            self.failure = error
        return len(data) - len(rest)


def _opens(source: sf.SoundFile, form: Form) -> bool:
    """Whether such a file can be written with the rate and channels of `source`; only trying tells."""
    try:
        trial = io.BytesIO()
        sf.SoundFile(
            trial, "w", source.samplerate, source.channels, form.subtype, format=form.container
        ).close()
    except sf.SoundFileError:
        return False
    return True


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip(" .").removeprefix("Error : ")
