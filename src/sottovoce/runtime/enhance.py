"""Enhances files, folders and pipes: any rate, channels and length, and the output fits the input."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from sottovoce.errors import DataError, SottovoceError
from sottovoce.runtime.audio import CONTAINERS, blocks_of, form_for, reading, writing
from sottovoce.runtime.blocks import enhance_blocks, enhanced_share
from sottovoce.runtime.reference import Array
from sottovoce.runtime.surface import AnySession

BLOCK = 65_536             # samples over all channels read at once

Progress = Callable[[Path, float], None]                             # file, share of it done in 0..1


@dataclass(frozen=True)
class Result:
    """What became of one input."""

    source: Path
    target: Path | None = None
    seconds: float = 0.0   # of audio
    note: str = ""         # what a user may not expect of the output
    error: str = ""        # why there is no output; empty if there is one
    text: str | None = None                              # what is said in it, of a transcript


@dataclass(frozen=True)
class Job:
    """A file to be made of another."""

    source: Path
    target: Path | None                                  # none for a folder in which there is nothing to do
    work: Callable[[Path, Path], Result]                 # from source to target
    named: bool = False                                  # the target by a user; any other may become .wav


def enhance_file(
    session: AnySession,
    source: Path,
    target: Path,
    *,
    wet: float = 1.0,
    attenuation_limit_db: float | None = None,
    progress: Progress | None = None,
) -> Result:
    """Write the enhanced form of one audio file, with its rate, channels and length.

    The container follows the suffix of `target`, the subtype that of `source` where possible. Above half the
    model's sample rate only the unenhanced share of the input remains. Memory does not grow with the length.
    Raises DataError if either file cannot be used; then there is no target.
    """
    return _enhance(session, Path(source), Path(target), enhanced_share(wet, attenuation_limit_db), progress)


def _enhance(session: AnySession, source: Path, target: Path, share: float, progress: Progress | None) -> Result:
    if target.exists() and source.exists() and target.samefile(source):
        raise DataError(f"{target}: expected an output other than the input, got the input itself")
    with reading(source) as file:
        form = form_for(file, source, target.suffix)
        if form is None:
            raise DataError(
                f"{target}: expected a suffix that can hold {file.channels} channels at {file.samplerate} Hz,"
                f" such as .wav, got {target.suffix or 'none'}"
            )
        done = 0
        noisy = blocks_of(file, max(BLOCK // file.channels, 1))
        with writing(target, form, file.samplerate, file.channels) as write:
            for block in enhance_blocks(session, noisy, file.samplerate, share):
                write(block)
                done += len(block)
                if progress is not None:
                    progress(source, min(done / file.frames, 1.0))
        was = f"{file.format} {file.subtype}"
        note = "" if str(form) == was else f"written as {form}, was {was}"
        return Result(source, target, done / file.samplerate, note)


def enhance_paths(
    session: AnySession,
    inputs: Sequence[Path],
    output: Path,
    *,
    wet: float = 1.0,
    attenuation_limit_db: float | None = None,
    progress: Progress | None = None,
) -> list[Result]:
    """Enhance files and whole folders into a folder, or one file into one file; one result for each input.

    `output` is a file if the input is a single file and `output` has a suffix and is no folder. In a folder,
    names and subfolders are kept; a file that cannot be written in its own container becomes .wav. A bad
    input is a result with its error and does not stop the others. Raises SottovoceError if nothing can be
    done.
    """
    share = enhanced_share(wet, attenuation_limit_db)
    return do_each(jobs_for(inputs, output, lambda source, target: _enhance(session, source, target, share, progress)))


def jobs_for(inputs: Sequence[Path], output: Path, work: Callable[[Path, Path], Result]) -> list[Job]:
    """The jobs of files and whole folders, with their outputs where `enhance_paths` puts them."""
    inputs, output = [Path(path) for path in inputs], Path(output)
    if not inputs:
        raise SottovoceError("expected at least one file or folder, got none")
    if len(inputs) == 1 and not inputs[0].is_dir() and output.suffix and not output.is_dir():
        make_folder(output.parent)
        return [Job(inputs[0], output, work, named=True)]
    jobs = [Job(source, name and output / name, work) for source, name in listed(inputs, output)]
    if any(job.target for job in jobs):      # where there is nothing to do, nothing is left behind
        make_folder(output)
    return jobs


def do_each(jobs: Sequence[Job], kept: Sequence[Path] = ()) -> list[Result]:
    """One result for each job; a bad one is a result with its error and does not stop the others.

    No source is written over, and nothing of `kept`.
    """
    taken: dict[Path, Path] = {}                                     # target -> its source
    originals = {path.resolve() for path in (*(job.source for job in jobs), *kept)}

    def done(job: Job) -> Result:
        source = job.source
        if job.target is None:
            raise nothing_in(source)
        target = job.target if job.named else _writable_name(source, job.target)
        if target in taken:
            raise DataError(f"{source}: expected its own output, got {target} as for {taken[target]}")
        if target.resolve() in originals:
            raise DataError(f"{source}: expected an output that is no input, got {target}")
        target.parent.mkdir(parents=True, exist_ok=True)
        result = job.work(source, target)
        taken[target] = source
        return result

    return [attempt(job.source, partial(done, job)) for job in jobs]


def attempt(source: Path, work: Callable[[], Result]) -> Result:
    """What came of a file by some work, or why nothing did."""
    try:
        return work()
    except SottovoceError as error:
        return Result(source, error=str(error))
    except OSError as error:
        return Result(source, error=f"{error.filename or source}: {error.strerror}")


def nothing_in(folder: Path) -> DataError:
    """What is wrong with a folder without audio files."""
    return DataError(f"{folder}: expected a folder with audio files, got none in it")


def make_folder(folder: Path) -> None:
    """Raises SottovoceError where no folder can be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SottovoceError(f"{folder}: expected a folder to write to, got: {error.strerror}") from error


def enhance_pcm(
    session: AnySession,
    source: BinaryIO,
    target: BinaryIO,
    *,
    wet: float = 1.0,
    attenuation_limit_db: float | None = None,
) -> None:
    """Enhance raw PCM, 16-bit little-endian, mono, at the model's sample rate, from one pipe to another.

    Each hop is written and flushed `session.delay` samples after it came. The first `session.delay` samples
    are left out and made up for at the end, so that the output is aligned with the input and as long. Ends
    quietly when the reader of `target` has gone. Raises DataError for an odd number of bytes, once the rest
    is written.
    """
    share = enhanced_share(wet, attenuation_limit_db)
    left_over = bytearray()
    hops = _pcm_hops(source, session.hop, left_over)
    try:
        for block in enhance_blocks(session, hops, session.sample_rate, share):
            target.write(np.clip(np.rint(block[:, 0] * 32768), -32768, 32767).astype("<i2").tobytes())
            target.flush()
    except BrokenPipeError:
        return
    if left_over:
        raise DataError("standard input: expected 16-bit samples, got an odd number of bytes")


def listed(inputs: Sequence[Path], output: Path | None = None) -> Iterator[tuple[Path, Path | None]]:
    """Every audio file and its name below the output folder; a folder without any comes with None."""
    for path in inputs:
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        # An output folder within the input folder holds what an earlier run wrote.
        written = output.resolve() if output and path.resolve() in output.resolve().parents else None
        found = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in CONTAINERS
            and not file.name.startswith(".")
            and file.is_file()
            and written not in file.resolve().parents
        )
        yield from ((file, file.relative_to(path)) for file in found)
        if not found:
            yield path, None


def _writable_name(source: Path, target: Path) -> Path:
    """`target`, or with .wav where its container cannot hold the rate or the channels of `source`."""
    with reading(source) as file:
        return target if form_for(file, source, target.suffix) else target.with_suffix(".wav")


def _pcm_hops(source: BinaryIO, hop: int, left_over: bytearray) -> Iterator[Array]:
    """Blocks [hop, 1] of 16-bit samples, the last maybe shorter; half a sample goes to `left_over`."""
    wanted = 2 * hop
    while True:
        data = b""
        while len(data) < wanted and (more := source.read(wanted - len(data))):
            data += more
        left_over += data[len(data) - len(data) % 2 :]
        if len(data) > 1:
            yield np.frombuffer(data, "<i2", len(data) // 2)[:, None].astype(np.float32) / np.float32(32768)
        if len(data) < wanted:
            return
