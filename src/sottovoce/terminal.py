"""What the command line shows: progress, tables, messages."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from sottovoce.artefact.cost import Cost
from sottovoce.artefact.describe import TensorRow
from sottovoce.ledger import Row, Watcher
from sottovoce.runtime.enhance import Result

# Into a file or a pipe tables are as wide as they need to be; rich would take 80 columns and cut names off.
WIDE = 200

out = Console(width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True)

DIGITS = {"pesq_wb": 2, "pesq_nb": 2, "stoi": 1, "si_sdr": 1, "sdr": 1, "dnsmos": 2, "per": 1, "wer": 1, "cer": 1,
          "fer": 1}
TITLES = {"pesq_wb": "PESQ-WB", "pesq_nb": "PESQ-NB", "stoi": "STOI %", "si_sdr": "SI-SDR dB", "sdr": "SDR dB",
          "dnsmos": "DNSMOS", "per": "PER %", "wer": "WER %", "cer": "CER %", "fer": "FER %"}


def size(count: float) -> str:
    """Bytes as a person reads them, in steps of 1000."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


class Shown(Watcher):
    """A watcher that draws a bar for the stage at work and prints a line for every stage done."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("loss {task.fields[loss]}"),
            TimeRemainingColumn(), console=out, transient=True, disable=not out.is_terminal,
        )
        self.bar = self.progress.add_task("", total=None, loss="-", visible=False)

    def __enter__(self) -> "Shown":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def stage(self, name: str) -> None:
        self.progress.reset(self.bar, description=name, total=None, loss="-", visible=True)

    def step(self, step: int, steps: int, loss: float) -> None:
        self.progress.update(self.bar, completed=step, total=steps, loss=f"{loss:.4f}")

    def row(self, row: Row) -> None:
        scores = "  ".join(f"{TITLES.get(n, n)} {value:.{DIGITS.get(n, 3)}f}" for n, value in row.metrics.items())
        kept = row.nonzeros / max(1, row.parameters)
        wait = f"  waiting for data {row.data_wait:.0%}" if row.steps else ""
        say(f"{row.stage:<24} {size(row.bytes):>9}  {kept:>4.0%} nonzero  {scores}  {row.seconds:.0f} s{wait}")
        for name, said in row.details.items():           # in words: why it stopped, what could not be done
            for text in said if isinstance(said, list) else [said]:
                if isinstance(text, str):
                    say(f"    {name}: {text}")


def comparison(table: Mapping[str, Any], given: str) -> Table:
    """The input under its name, uncompressed, compressed and what compression changed, from a stored comparison."""
    view = Table("", given, "uncompressed", "compressed", "difference (95 %)", title="Test list, unseen speakers")
    for column in view.columns[1:]:
        column.justify = "right"
    for name, row in table["metrics"].items():
        digits = DIGITS.get(name, 3)
        means = [f"{row[side]:.{digits}f}" for side in ("noisy", "uncompressed", "compressed")]
        change = f"{row['difference']:+.{digits + 1}f} ({row['low']:+.{digits + 1}f} .. {row['high']:+.{digits + 1}f})"
        view.add_row(TITLES.get(name, name), *means, change)
    return view


def contents(rows: Sequence[TensorRow], header: int, total: int, meta: Mapping[str, Any]) -> None:
    """What is inside a file: a line of origin, a table of tensors, a line of sums."""
    settings = ", ".join(f"{key}={_short(value)}" for key, value in meta.get("config", {}).items())
    say(f"{meta.get('name', '')}: {meta.get('model', '?')} ({settings}), task {meta.get('task', '?')}")
    view = Table("tensor", "shape", "form", "nonzeros", "bits/weight", "bytes", "not compressed because")
    for column in view.columns[3:6]:
        column.justify = "right"
    view.columns[0].overflow = "fold"
    for row in rows:
        share = f"{row.nonzeros} ({row.nonzeros / max(1, row.elements):.0%})"
        shape = _shape(row.shape) + (f" of {_shape(row.full_shape)}" if row.full_shape else "")
        cells = row.name, shape, row.form, share, f"{row.bits_per_weight:.2f}", str(row.bytes), row.note
        view.add_row(*map(Text, cells))              # not as markup: the words are those of the file
    out.print(view)
    gone = [name for name, (_, left) in meta.get("removed", {}).items() if left is None]
    if gone:
        say(f"removed, as nothing reads them: {', '.join(gone)}")
    parameters = meta.get("parameters", sum(row.elements for row in rows))
    say(f"{total} bytes in all, {header} of them the header; {parameters} parameters, "
        f"{4 * parameters / total:.1f} times smaller than as 32-bit floats")


def _short(value: Any) -> str:
    """A setting in a few letters: of tables, such as the sizes of every block, how many there are."""
    return f"{len(value)} tables" if isinstance(value, list) and value and isinstance(value[0], dict) else str(value)


def work(nodes: Sequence[Cost], frame_rate: float | None) -> None:
    """What a frame costs, node by node, and a second of audio in all."""
    view = Table("node", "operation", "multiply-adds a frame", "by nonzero weights")
    for column in view.columns[2:]:
        column.justify = "right"
    for node in nodes:
        view.add_row(Text(node.node), Text(node.op), str(node.dense), str(node.nonzero))
    dense, nonzero = sum(node.dense for node in nodes), sum(node.nonzero for node in nodes)
    view.add_row("all", "", str(dense), f"{nonzero} ({nonzero / max(1, dense):.0%})")
    out.print(view)
    if frame_rate is not None:
        say(f"{dense * frame_rate / 1e6:.2f} million multiply-adds per second of audio, "
            f"{nonzero * frame_rate / 1e6:.2f} million by weights that are not zero")


def _shape(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def times(told: Mapping[str, Any]) -> None:
    """What a frame takes in everything that can run a model, and why the rest cannot."""
    view = Table("", "µs a frame", "10 .. 90 %", "of real time", f"times {told['reference']}", "weights", "process")
    for column in view.columns[1:]:
        column.justify = "right"
    for kind, row in told["kinds"].items():
        if "error" in row:
            view.add_row(kind, Text(f"not run: {row['error']}"))
            continue
        spread = f"{row['microseconds_10']:.0f} .. {row['microseconds_90']:.0f}"
        memory = "-" if row["process_bytes"] is None else size(row["process_bytes"])
        view.add_row(kind, f"{row['microseconds']:.0f}", spread, f"{row['real_time_factor']:.3%}",
                     f"{row['speedup']:.2f}", size(row["weight_bytes"]), memory)
    out.print(view)
    hop, how = told["hop"] / told["sample_rate"], "one by one" if told["causal"] else "a waveform at once"
    used = told["instructions"] or "not installed"
    say(f"frames of {1000 * hop:g} ms, {how}; one thread, {told['rounds']} rounds in turn; "
        f"the engine: {used}")


TRIED = {                    # task -> what is done with its model
    "enhance": "enhance YOUR.wav -o enhanced.wav",
    "extract": "extract MIXTURE.wav --enrol VOICE.wav -o voice.wav",
    "recognize": "transcribe YOUR.wav",
    "acoustic": "transcribe YOUR.wav --words FOLDER",
}


def result(directory: Path, rows: Sequence[Row], task: str) -> Iterable[str]:
    """Where the result of a run lies, and what to try next."""
    file = directory / "model.sotto"
    dense = 4 * rows[0].parameters
    total = file.stat().st_size
    yield f"\n{file}: {total} bytes, {dense / total:.1f} times smaller than the {size(dense)} of 32-bit weights"
    if (directory / "report.html").is_file():
        yield f"report: {directory / 'report.html'}"
    if task in TRIED:
        yield f"try it: sottovoce {TRIED[task]} --model {file}"


def done(results: Sequence[Result]) -> None:
    """A line for every file: done, done with a remark, or why not."""
    for result in results:
        if result.error:
            fail(result.error)
        else:
            target = f" -> {result.target}" if result.target else ""
            text = "" if result.text is None else f": {result.text}"
            say(f"{result.source}{target}{text}{f'  ({result.note})' if result.note else ''}")


def stages(table: Mapping[str, type]) -> Table:
    """The stages a recipe may have, with their settings."""
    view = Table("kind", "what it does", "settings (default)", title="Stages", show_lines=True)
    for kind, stage in table.items():
        line = (stage.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        settings = "\n".join(f"{field.name}{_default(field)}" for field in dataclasses.fields(stage))
        view.add_row(kind, " ".join(line.split()), escape(settings))
    return view


def _default(field: Any) -> str:
    return "" if field.default is dataclasses.MISSING else f" ({field.default})"


def say(line: str) -> None:
    """One line on stdout, as it is."""
    out.print(line, highlight=False, markup=False, soft_wrap=True)


def remark(message: str) -> None:
    """One line on stderr that is no failure."""
    err.print(f"sottovoce: {escape(' '.join(message.split()))}", highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """One line on stderr, whatever the message."""
    err.print(f"[bold red]sottovoce:[/] {escape(' '.join(message.split()))}", highlight=False, soft_wrap=True)


Tick = Callable[[int, int, str], None]


def ticking(label: str) -> tuple[Progress, Tick]:
    """A bar for work over a list of things; call the second with (done, total, name)."""
    progress = Progress(TextColumn(label), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[name]}"),
                        console=err, transient=True, disable=not err.is_terminal)
    bar = progress.add_task("", total=None, name="")

    def tick(done: int, total: int, name: str) -> None:
        progress.update(bar, completed=done, total=total, name=escape(name))

    return progress, tick


@contextmanager
def going_through(label: str) -> Iterator[Callable[[Path, float], None]]:
    """A bar for work on one file after the other; call it with the file and how much of it is done, 0 to 1."""
    progress, tick = ticking(label)
    with progress:
        yield lambda path, share: tick(round(100 * share), 100, path.name)
