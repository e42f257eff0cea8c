"""The command line: a door to the rooms behind it. One short function per command; heavy rooms are entered late."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from sottovoce import __version__, terminal
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.runtime.engine import EngineName, Precision

if TYPE_CHECKING:
    from sottovoce.runtime import AnySession, Result
    from sottovoce.runtime.transcribe import Finder

app = typer.Typer(
    help="Compress trained speech models into small files that run without torch.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at corpora.", no_args_is_help=True)
app.add_typer(data_app, name="data")


class Formats(typer.core.TyperGroup):
    """`export MODEL FILE.onnx` is `export onnx MODEL FILE.onnx`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        plain = bool(args) and args[0] not in (*self.commands, "--help")
        return super().parse_args(ctx, ["onnx", *args] if plain else args)


export_app = typer.Typer(help="Write a model for other runtimes: MODEL FILE.onnx, or c MODEL -o FOLDER.", cls=Formats,
                         no_args_is_help=True)
app.add_typer(export_app, name="export")

# Rounds that a thread of torch waits awake for the others before it gives up its core, about a millisecond. Where
# another program has one of the cores, the others need this one: by default it is kept, and a step takes many times as
# long. With 1000 rounds threads fall asleep between the small steps of a large LSTM, which then takes a quarter longer.
WAITING = {"GOMP_SPINCOUNT": "30000"}
INTERRUPTED = 130                # what typer makes of Ctrl-C, without a word
Recipe = Annotated[Path, typer.Argument(help="a recipe, TOML")]
Own = Annotated[list[Path] | None, typer.Option("--models", help="Python file with a table MODELS of your own")]
Model = Annotated[str, typer.Argument(help="a .sotto file or a shipped model")]
Engine = Annotated[EngineName | None, typer.Option(help="what runs the model [compiled where it can]")]
InPrecision = Annotated[Precision, typer.Option(help="what the compiled engine multiplies in")]


def main() -> None:
    """Run a command; a user's mistake is one line on stderr and exit status 2."""
    os.environ.update(WAITING | os.environ)              # torch reads it when it is loaded: not yet
    try:
        app()
    except SottovoceError as error:
        terminal.fail(str(error))
        sys.exit(2)
    except OSError as error:
        terminal.fail(f"{error.filename or 'disk'}: {error.strerror or error}")
        sys.exit(2)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            terminal.fail("interrupted; the same command goes on from here")
        raise


def _version(asked: bool) -> None:
    if asked:
        terminal.out.print(__version__)
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False) -> None:
    """Compress trained speech models into small files that run without torch."""


def _need_training() -> None:
    try:
        import lhotse  # noqa: F401
        import torch  # noqa: F401
    except ImportError as error:
        needed = "compressing needs: pip install 'sottovoce[train]'"
        raise SottovoceError(f"{error.name} is not installed; {needed}") from None


def _use(own: Sequence[Path] | None) -> None:
    """Let recipes name a user's own models."""
    from sottovoce.models import MODELS
    from sottovoce.models.own import own_models

    for path in own or ():
        MODELS.update(own_models(path))


@app.command()
def compress(
    recipe: Recipe,
    run: Annotated[Path | None, typer.Option("--run", help="directory of the run [runs/NAME OF THE RECIPE]")] = None,
    models: Own = None,
) -> None:
    """Run a recipe, or go on with it: checkpoints, ledger, model.sotto and report.html in the run's directory."""
    _need_training()
    _use(models)
    from sottovoce.beginning import check
    from sottovoce.proof import prove
    from sottovoce.recipe import read_recipe
    from sottovoce.run import Run, compress

    settings = read_recipe(recipe)
    list(check(settings))            # what is wrong with the last stage is said now, not hours later
    directory = run or Path("runs", settings.name)
    with terminal.Shown() as shown:
        at_work = Run(settings, directory, shown)
        compress(at_work)
        comparison = None
        if settings.task.has_test:
            shown.stage("test list and report")
            comparison = prove(at_work)
    if comparison is not None:
        terminal.out.print(terminal.comparison(comparison, settings.task.given))
    for line in terminal.result(directory, at_work.rows, settings.task.name):
        terminal.say(line)


@app.command()
def validate(recipe: Recipe, models: Own = None) -> None:
    """Check a recipe without running it: keys, numbers, files, corpora, checkpoint, and that a file holds the model."""
    _need_training()
    _use(models)
    from sottovoce.beginning import check
    from sottovoce.recipe import read_recipe

    settings = read_recipe(recipe)
    for line in check(settings):
        terminal.say(line)
    terminal.say(f"{recipe}: sound, {len(settings.stages)} stages")


@app.command()
def recipes(folder: Annotated[Path | None, typer.Argument(help="where to look [recipes]")] = None,
            models: Own = None) -> None:
    """List the recipes of a folder and the stages that a recipe may have."""
    _need_training()
    _use(models)
    from sottovoce.recipe import only_table, read_recipe
    from sottovoce.techniques import STAGES

    if folder is not None and not folder.is_dir():
        raise SottovoceError(f"{folder}: expected a folder of recipes, got no such folder")
    bad = False
    for path in sorted((folder or Path("recipes")).glob("*.toml")):
        try:
            table = only_table(path)
            held = f"[{table}] for recipes" if table else ", ".join(kind for kind, _ in read_recipe(path).stages)
            terminal.say(f"{path}  {held}")
        except SottovoceError as error:
            terminal.fail(str(error))
            bad = True
    terminal.out.print(terminal.stages(STAGES))
    if bad:
        raise typer.Exit(2)


@app.command()
def inspect(
    model: Model,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Show what is inside a file, tensor by tensor, what is not compressed and why, and what a frame costs."""
    from sottovoce import zoo
    from sottovoce.artefact.cost import costs, frame_rate
    from sottovoce.artefact.describe import describe, header_bytes
    from sottovoce.artefact.file import load

    path = zoo.find(model)
    artefact, total = load(path), path.stat().st_size
    rows, nodes = describe(artefact), costs(artefact)
    if as_json:
        tensors, products = [vars(row) for row in rows], [vars(node) for node in nodes]
        told = {"bytes": total, "meta": artefact.meta, "tensors": tensors, "multiply_adds_per_frame": products}
        terminal.out.print_json(json.dumps(told))
        return
    terminal.contents(rows, header_bytes(artefact), total, artefact.meta)
    terminal.work(nodes, frame_rate(artefact) if "sample_rate" in artefact.meta else None)


@app.command()
def enhance(
    inputs: Annotated[list[Path], typer.Argument(help="files or folders; - for raw PCM from stdin to stdout")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a file for one input, else a folder")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="a .sotto file or a shipped model")] = "model.sotto",
    wet: Annotated[float, typer.Option(help="share of the enhanced signal, 0..1")] = 1.0,
    atten_lim: Annotated[float | None, typer.Option(help="most that noise is attenuated, dB")] = None,
    engine: Engine = None,
    precision: InPrecision = "float32",
) -> None:
    """Enhance audio of any rate, channels and length into the same. Raw PCM is 16-bit mono at the model's rate."""
    from sottovoce.runtime.enhance import enhance_paths, enhance_pcm

    session = _session(model, "enhance", engine, precision)
    if inputs == [Path("-")]:
        enhance_pcm(session, sys.stdin.buffer, sys.stdout.buffer, wet=wet, attenuation_limit_db=atten_lim)
        return
    if output is None:
        raise SottovoceError("enhance: expected -o FILE or -o FOLDER, got none")
    with terminal.going_through("enhancing") as progress:
        results = enhance_paths(session, inputs, output, wet=wet, attenuation_limit_db=atten_lim, progress=progress)
    _tell(results)


@app.command()
def extract(
    inputs: Annotated[list[Path], typer.Argument(help="files or folders, or one CSV list: mixture,enrol[,output]")],
    output: Annotated[Path, typer.Option("-o", "--output", help="a file for one input, else a folder")],
    enrol: Annotated[Path | None, typer.Option("--enrol", "-e", help="a recording of the voice, alone")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="a .sotto file or a shipped model")] = "model.sotto",
    engine: Engine = None,
    precision: InPrecision = "float32",
) -> None:
    """Extract what one talker says, told by a recording of the voice, from audio of any rate and channels.

    A CSV list has a recording of a voice for each of its mixtures; its paths are relative to itself.
    """
    from sottovoce.runtime.extract import extract_list, extract_paths

    session = _session(model, "extract", engine, precision)
    listed = _list_alone(inputs, enrol is not None, "extract: expected {} alone, got other inputs or --enrol beside it")
    with terminal.going_through("extracting") as progress:
        if listed:
            results = extract_list(session, listed, output, progress=progress)
        elif enrol is None:
            raise SottovoceError("extract: expected --enrol FILE, a recording of the voice, got none")
        else:
            results = extract_paths(session, inputs, enrol, output, progress=progress)
    _tell(results)


@app.command()
def transcribe(
    inputs: Annotated[list[Path], typer.Argument(help="files or folders, or one CSV list: audio[,output]")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="a file for one input, else a folder")] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="a .sotto file or a shipped model")] = "model.sotto",
    words: Annotated[Path | None, typer.Option(help="folder of a recipe's decoder, to find words by")] = None,
    engine: Engine = None,
    precision: InPrecision = "float32",
) -> None:
    """Write down what is said in audio of any rate, channels and length, channels mixed; without -o on the screen only.

    The paths of a CSV list are relative to itself.
    """
    from sottovoce.runtime.transcribe import transcribe_list, transcribe_paths

    session = _session(model, "transcribe", engine, precision)
    listed = _list_alone(inputs, False, "transcribe: expected {} alone, got other inputs beside it")
    finder = None if words is None else _finder(words, session)
    with terminal.going_through("transcribing") as progress:
        if listed:
            results = transcribe_list(session, listed, output, progress=progress, words=finder)
        else:
            results = transcribe_paths(session, inputs, output, progress=progress, words=finder)
    _tell(results)


def _list_alone(inputs: Sequence[Path], other: bool, complaint: str) -> Path | None:
    """The CSV list that is the one input, if one is; raises SottovoceError if something is beside it."""
    listed = next((path for path in inputs if path.suffix.lower() == ".csv"), None)
    if listed and (other or len(inputs) > 1):
        raise SottovoceError(complaint.format(listed))
    return listed


def _finder(folder: Path, session: "AnySession") -> "Finder":
    """What finds words by the graph of a folder, weighed as where the model was scored."""
    try:
        from sottovoce.decoding.words import WordDecoder, finished_graph, finished_hybrid
    except ImportError as error:
        needed = "finding words needs: pip install 'sottovoce[recognition]'"
        raise SottovoceError(f"{error.name} is not installed; {needed}") from None
    log_priors = None
    if isinstance(states := session.meta.get("states"), str):
        graph, vocabulary, log_priors = finished_hybrid(folder, states)
    else:
        graph, vocabulary = finished_graph(folder, session.meta.get("symbols", []))
    scale = session.meta.get("scale", 1.0)
    if not isinstance(scale, int | float) or not scale > 0:
        raise FormatError(f"model: expected a scale above 0 of its log probabilities, got {scale!r}")
    return WordDecoder(graph, vocabulary, scale, log_priors=log_priors).words


def _session(model: str, command: str, engine: EngineName | None, precision: Precision) -> "AnySession":
    """The session of a model; raises SottovoceError naming the command that it is for if it is another."""
    from sottovoce import zoo
    from sottovoce.runtime import open_session

    session = open_session(zoo.find(model), engine, precision, terminal.remark)
    fitting = "transcribe" if session.features else "extract" if len(session.inputs) > 1 else "enhance"
    if fitting != command:
        raise SottovoceError(f"{model}: expected a model to {command} with, got one for: sottovoce {fitting}")
    return session


def _tell(results: Sequence["Result"]) -> None:
    """What became of each file; exit status 2 if one failed."""
    terminal.done(results)
    if any(result.error for result in results):
        raise typer.Exit(2)


@app.command()
def models() -> None:
    """List the models that come with the package: size, task, and scores of a test list, noisy -> enhanced."""
    from sottovoce import zoo

    for name, path in zoo.shipped().items():
        meta = zoo.facts(path)
        scores = [
            f"{terminal.TITLES.get(metric, metric)} {means['noisy']:.2f} -> {means['compressed']:.2f}"
            for metric, means in meta.get("scores", {}).items()
        ]
        origin = f"{meta.get('task', '?')}, {meta.get('sample_rate', '?')} Hz"
        terminal.say("  ".join([f"{name:<8} {terminal.size(path.stat().st_size):>9}  {origin}", *scores]))
    if not zoo.shipped():
        terminal.say("no model comes with this version")


@export_app.command("onnx")
def export_onnx(
    model: Model,
    output: Annotated[Path, typer.Argument(help="an .onnx file")],
    int8: Annotated[bool, typer.Option("--int8", help="matrix products in 8 bits, of a recognizer")] = False,
) -> None:
    """Write an ONNX file with packed weights, in the form of sherpa-onnx's slots.

    An enhancer, one frame at a time, fits gtcrn; a recognizer, with tokens.txt beside it, zipformer_ctc. One that
    streams in chunks fits none, and is for plain onnxruntime.
    """
    try:
        from sottovoce.export.onnx import TOKENS, recognizes, save_onnx
    except ImportError as error:
        raise SottovoceError(f"{error.name} is not installed; exporting needs: pip install 'sottovoce[onnx]'") from None
    from sottovoce import zoo
    from sottovoce.artefact.file import load

    artefact = load(zoo.find(model))
    left = save_onnx(artefact, output, int8)
    terminal.say(f"{output}: {output.stat().st_size} bytes")
    if recognizes(artefact):
        terminal.say(f"{output.with_name(TOKENS)}: its symbols")
    for reason in dict.fromkeys(left.values()):
        names = [name for name, of in left.items() if of == reason]
        terminal.say(f"  not packed: {reason}: {len(names)} tensors: {', '.join(names)}")


@export_app.command("c")
def export_c(
    model: Model,
    output: Annotated[Path, typer.Option("-o", "--output", help="a new folder")],
) -> None:
    """Write C sources that need nothing else: the model, the engine, and a program that filters a WAV file."""
    from sottovoce import zoo
    from sottovoce.artefact.file import read_bytes
    from sottovoce.export.c import save_c

    data = read_bytes(zoo.find(model))
    save_c(data, output)
    terminal.say(f"{output}: {len(data)} bytes of model, the engine and filter.c; see README.md there")


@app.command()
def bench(
    model: Model,
    seconds: Annotated[float, typer.Option(min=0.1, help="of noise, of a model that runs on whole waveforms")] = 4.0,
    rounds: Annotated[int, typer.Option(min=1, help="in which everything runs once")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="for programs")] = False,
) -> None:
    """Time a frame in the compiled engine, in numpy and in onnxruntime, in turn and on one thread, and their memory."""
    from sottovoce import zoo
    from sottovoce.bench import measure

    progress, tick = terminal.ticking("times and memory")
    with progress:
        told = measure(zoo.find(model), seconds, rounds, progress=lambda done, total: tick(done, total, ""))
    if as_json:
        terminal.out.print_json(json.dumps(told))
    else:
        terminal.times(told)


@data_app.command()
def summary(
    path: Annotated[Path, typer.Argument(help="a folder of audio, a JSONL or lhotse manifest, or a Shar folder")],
) -> None:
    """Show hours, speakers and rates of a corpus, and what is wrong with which file."""
    _need_training()
    from sottovoce.data.summary import render, summarize

    progress, tick = terminal.ticking("reading")
    with progress:
        found = summarize(path, progress=lambda done, total: tick(done, total, ""))
    terminal.out.print(render(found))
    if found.problems:
        raise typer.Exit(2)
