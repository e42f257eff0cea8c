"""Extracts one talker from files, folders and lists of files: any rate, channels and length, the output fits them."""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from sottovoce.errors import DataError
from sottovoce.runtime.audio import blocks_of, reading
from sottovoce.runtime.blocks import resampled
from sottovoce.runtime.enhance import BLOCK, Job, Progress, Result, do_each, enhance_file, jobs_for, make_folder
from sottovoce.runtime.surface import AnySession
from sottovoce.runtime.table import rows_of
from sottovoce.runtime.voice import LEAST_SECONDS, voice_sample

MOST_SECONDS = 60            # of voice; more says no more of who speaks
SILENT = 1e-4                # a recording of which the samples differ by less holds nothing


def extract_file(
    session: AnySession, source: Path, enrolment: Path, target: Path, *, progress: Progress | None = None
) -> Result:
    """Write what the speaker of `enrolment` says in one audio file, with its rate, channels and length.

    Each channel is taken on its own. Some voice comes out whoever speaks in the file, and however many. Raises
    DataError if a file cannot be used, see `enrolled`, or both are the same recording; then there is no target.
    """
    return _extract(enrolled(session, Path(enrolment)), Path(enrolment), progress, Path(source), Path(target))


def extract_paths(
    session: AnySession, inputs: Sequence[Path], enrolment: Path, output: Path, *, progress: Progress | None = None
) -> list[Result]:
    """As `extract_file` for files and whole folders, into a folder or one file, named as `enhance_paths` does.

    Raises SottovoceError if nothing can be done, DataError for the enrolment.
    """
    enrolment = Path(enrolment)
    work = partial(_extract, enrolled(session, enrolment), enrolment, progress)
    return do_each(jobs_for(inputs, output, work), kept=[enrolment])


def extract_list(session: AnySession, table: Path, output: Path, *, progress: Progress | None = None) -> list[Result]:
    """As `extract_file` for each line of a CSV file with the columns mixture, enrol and maybe output.

    Paths of what is read are relative to the table's folder, those of outputs to the folder `output`; without one,
    an output has the name of its mixture. Raises DataError for a table that cannot be read, with its line.
    """
    rows = [
        (Path(table).parent / row["mixture"], Path(table).parent / row["enrol"], row.get("output", ""))
        for row in rows_of(Path(table), "mixture", "enrol")
    ]
    make_folder(Path(output))

    @lru_cache(16)
    def known(enrolment: Path) -> AnySession:
        return enrolled(session, enrolment)

    def job(mixture: Path, enrolment: Path, name: str) -> Job:
        def work(source: Path, target: Path) -> Result:
            return _extract(known(enrolment), enrolment, progress, source, target)

        return Job(mixture, Path(output) / (name or mixture.name), work, named=bool(name))

    return do_each([job(*row) for row in rows], kept=[enrolment for _, enrolment, _ in rows])


def enrolled(session: AnySession, enrolment: Path) -> AnySession:
    """The session that extracts the speaker of a recording: its channels mixed to one, without silences.

    Raises DataError for a recording that cannot be read, is silent or has less than a second of voice.
    """
    with reading(enrolment) as file:
        mono = (block.mean(axis=1, keepdims=True) for block in blocks_of(file, max(BLOCK // file.channels, 1)))
        wave = np.concatenate([*resampled(mono, file.samplerate, session.sample_rate)])[:, 0]
    if not len(wave) or np.ptp(wave) < SILENT:
        raise DataError(f"{enrolment}: expected a voice, got silence")
    voice = voice_sample(wave, session.sample_rate)
    seconds = len(voice) / session.sample_rate
    if seconds < LEAST_SECONDS:
        wanted = f"expected at least {LEAST_SECONDS:g} s of a voice"
        raise DataError(f"{enrolment}: {wanted}, got {seconds:.2f} s beside its silences")
    return session.given(voice[: MOST_SECONDS * session.sample_rate])


def _extract(session: AnySession, enrolment: Path, progress: Progress | None, source: Path, target: Path) -> Result:
    """By a session that has its enrolment."""
    if _same(source, enrolment):
        raise DataError(f"{source}: expected a recording other than the enrolment, got the same as {enrolment}")
    if target.exists() and target.samefile(enrolment):
        raise DataError(f"{target}: expected an output other than the enrolment, got the enrolment itself")
    return enhance_file(session, source, target, progress=progress)


def _same(source: Path, enrolment: Path) -> bool:
    """Whether two files hold the same samples, or are one."""
    with reading(source) as one, reading(enrolment) as other:
        if source.samefile(enrolment):
            return True
        forms = [(file.frames, file.samplerate, file.channels) for file in (one, other)]
        return forms[0] == forms[1] and all(
            np.array_equal(*pair) for pair in zip(blocks_of(one, BLOCK), blocks_of(other, BLOCK), strict=True)
        )
