"""What is said in audio files, by a model that gives log probabilities of symbols.

A recording is cut where it is quiet into pieces that are transcribed one by one: the memory does not grow with its
length, and no piece is longer than the utterances that recognizers learn from. A model that streams hears it uncut, but
for a search for words.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import DataError, FormatError, SottovoceError
from sottovoce.files import write_text
from sottovoce.runtime.audio import blocks_of, reading
from sottovoce.runtime.blocks import resampled
from sottovoce.runtime.enhance import (
    BLOCK,
    Job,
    Progress,
    Result,
    attempt,
    do_each,
    jobs_for,
    listed,
    make_folder,
    nothing_in,
)
from sottovoce.runtime.reference import Array
from sottovoce.runtime.surface import AnySession
from sottovoce.runtime.table import rows_of

BLANK = "<blk>"                    # symbol 0
WORD = "\N{LOWER ONE EIGHTH BLOCK}"      # U+2581
LEAST_SECONDS, MOST_SECONDS = 10, 20     # of a piece; only the last may be shorter
QUIET_SECONDS = 0.2                      # over which it is quietest where it is cut

Finder = Callable[[Array], Sequence[str]]                            # log probabilities [frames, symbols] -> words


def greedy(log_probabilities: Array) -> list[int]:
    """The symbols of the best path through [frames, symbols]: repeats are one, blanks (0) none."""
    return without_repeats(log_probabilities.argmax(axis=-1))


def without_repeats(codes: NDArray[np.int64]) -> list[int]:
    """Codes of frames as symbols: repeats are one, blanks (0) none."""
    new = np.diff(codes, prepend=0) != 0
    return [int(code) for code in codes[new] if code]


def text_of(codes: Iterable[int], symbols: Sequence[str]) -> str:
    """Codes as text: a word, or a phone, begins with the mark U+2581."""
    return "".join(symbols[code] for code in codes).replace(WORD, " ").strip()


class Transcriber:
    """Says what is said in files, by a session that gives log probabilities of the symbols that its file names.

    Without `words`, which finds words in these, the text is that of the best symbols. A model of states of phones,
    which are no text, needs it: raises SottovoceError where it is not there. Raises FormatError for a model without
    symbols, or with another number of them than its output has.
    """

    def __init__(self, session: AnySession, progress: Progress | None = None, words: Finder | None = None) -> None:
        self.session, self.progress, self.words = session, progress, words
        self.symbols: list[str] = []
        if session.features and isinstance(session.meta.get("states"), str):
            if words is None:
                raise SottovoceError("model: expected a decoder's folder, to find words by in states, got none")
            return
        shape = session.run(np.zeros(1, np.float32)).shape
        symbols = session.meta.get("symbols")
        if not isinstance(symbols, list) or not all(isinstance(symbol, str) for symbol in symbols):
            raise FormatError(f"model: expected the symbols that it gives probabilities of, got {symbols!r}")
        if not session.features or shape[1:] != (len(symbols),):
            raise FormatError(f"model: expected [frames, {len(symbols)}], as it has symbols, got {list(shape)}")
        self.symbols = symbols

    def transcribed(self, source: Path) -> Result:
        """What is said in an audio file, its channels mixed to one. Raises DataError if it cannot be used."""
        frames, samples, texts = 0, 0, []
        with reading(source) as file:
            rate = self.session.sample_rate
            mono = (block.mean(axis=1, keepdims=True) for block in blocks_of(file, max(BLOCK // file.channels, 1)))

            def heard(parts: Iterable[Array]) -> Iterator[Array]:
                """The parts, counted when the next one is asked for."""
                nonlocal samples
                for part in parts:
                    yield part
                    samples += len(part)
                    if self.progress is not None:
                        self.progress(source, min(samples / rate / (file.frames / file.samplerate), 1.0))

            blocks = (block[:, 0] for block in resampled(mono, file.samplerate, rate))
            if self.session.causal and self.words is None:
                best = [found[0].argmax(-1) for found in self.session.stream(part[None] for part in heard(blocks))]
                codes = np.concatenate(best) if best else np.zeros(0, np.int64)
                frames, texts = len(codes), [text_of(without_repeats(codes), self.symbols)]
            else:
                for piece in heard(pieces(blocks, rate)):
                    found = self.session.run(piece)
                    frames += len(found)
                    texts.append(" ".join(self.words(found)) if self.words else text_of(greedy(found), self.symbols))
        note = "" if frames else "nothing is heard in less than one frame"
        return Result(source, seconds=samples / rate, note=note, text=" ".join(filter(None, texts)))

    def write(self, source: Path, target: Path) -> Result:
        """The same, and the text as a file."""
        if target.exists() and source.exists() and target.samefile(source):
            raise DataError(f"{target}: expected an output other than the input, got the input itself")
        result = self.transcribed(source)
        write_text(target, f"{result.text}\n")
        return replace(result, target=target)


def transcribe_file(
    session: AnySession, source: Path, target: Path | None = None, *, progress: Progress | None = None,
    words: Finder | None = None,
) -> Result:
    """What is said in one audio file of any rate, channels and length; written to `target` if there is one.

    In the model's symbols, or in the words that `words` finds in their log probabilities. Memory does not grow with the
    length. Raises FormatError if the model is no recognizer, DataError if the file cannot be used; then there is no
    target.
    """
    work = Transcriber(session, progress, words)
    return work.transcribed(Path(source)) if target is None else work.write(Path(source), Path(target))


def transcribe_paths(
    session: AnySession, inputs: Sequence[Path], output: Path | None = None, *, progress: Progress | None = None,
    words: Finder | None = None,
) -> list[Result]:
    """As `transcribe_file` for files and whole folders, into a folder or one file, as `enhance_paths` names them.

    In a folder, the suffix becomes .txt. Without `output` nothing is written. Raises SottovoceError if nothing can be
    done.
    """
    work = Transcriber(session, progress, words)
    if output is not None:
        return do_each([_as_text(job) for job in jobs_for(inputs, output, work.write)])

    def said(source: Path, name: Path | None) -> Result:
        if name is None:
            raise nothing_in(source)
        return work.transcribed(source)

    return [attempt(source, partial(said, source, name)) for source, name in listed([*map(Path, inputs)])]


def transcribe_list(
    session: AnySession, table: Path, output: Path | None = None, *, progress: Progress | None = None,
    words: Finder | None = None,
) -> list[Result]:
    """As `transcribe_file` for each line of a CSV file with the columns audio and maybe output.

    Paths of what is read are relative to the table's folder, those of outputs to the folder `output`; without one,
    an output has the name of its audio with .txt. Raises DataError for a table that cannot be read, with its line.
    """
    rows = rows_of(Path(table), "audio")
    sources = [Path(table).parent / row["audio"] for row in rows]
    if output is None:
        return transcribe_paths(session, sources, progress=progress, words=words)
    make_folder(Path(output))
    work = Transcriber(session, progress, words)
    names = [row.get("output") or Path(row["audio"]).with_suffix(".txt").name for row in rows]
    return do_each([
        Job(source, Path(output) / name, work.write, named=True) for source, name in zip(sources, names, strict=True)
    ])


def pieces(blocks: Iterable[Array], rate: int) -> Iterator[Array]:
    """A waveform that comes in blocks [any], in pieces of at most MOST_SECONDS that are cut where it is quietest."""
    rest, least, most = np.zeros(0, np.float32), LEAST_SECONDS * rate, MOST_SECONDS * rate
    for block in blocks:
        rest = np.concatenate([rest, block])
        while len(rest) > most:
            cut = least + _quietest(rest[least:most], int(QUIET_SECONDS * rate))
            yield rest[:cut]
            rest = rest[cut:]
    if len(rest):
        yield rest


def _quietest(waveform: Array, width: int) -> int:
    """The middle of those `width` samples of a waveform in which there is the least power."""
    power = np.cumsum(np.square(waveform - waveform.mean(), dtype=np.float64))
    return int(np.argmin(power[width:] - power[:-width])) + 1 + width // 2


def _as_text(job: Job) -> Job:
    return job if job.named or job.target is None else replace(job, target=job.target.with_suffix(".txt"), named=True)
