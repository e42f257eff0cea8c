"""Recognizers that run chunk by chunk: the engine steps, ends and runs as numpy does."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toy
from building import SANITIZED, SOURCES, compiled, harmless

import engine
from engine import Array, agree, refuses
from sottovoce.artefact import Artefact
from sottovoce.artefact.file import decode, encode
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.packing import pack
from sottovoce.runtime import Session


def noise(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(0, 0.1, shape).astype(np.float32)


def packed(settings: dict[str, Any]) -> bytes:
    return encode(pack(toy.built("conformer", settings), {"sample_rate": 16_000}))


def folding(n_fft: int, hop: int, sizes: tuple[int, ...], chunk: int, before: int, waves: int = 8) -> bytes:
    """Filter banks, folded again and again, between attention and convolutions that see frames before."""
    bins = 6
    channels = bins * int(np.prod(sizes))
    of = {"n_fft": n_fft, "hop": hop, "bins": bins, "rate": 16_000, "low": 20.0, "high": 7600.0}
    arrays = {"position": noise(channels, waves), "u": noise(channels), "taps": noise(channels, 1, 3),
              "wide": noise(channels, channels // 2, 4)}
    names = ["banks", *(f"fold {number}" for number in range(len(sizes)))]
    folds = [Node("fold", name, (before,), {}, {"size": size})
             for before, name, size in zip(names[:-1], names[1:], sizes, strict=True)]
    nodes = (
        Node("fbank", "banks", ("heard",), {}, of), *folds,
        Node("conv1d", "wide", (names[-1],), {"weight": "wide", "bias": "u"}, {"dilation": 3, "groups": 2}),
        Node("attention", "seen", (names[-1], "wide", "wide"),
             {"position": "position", "content_bias": "u", "position_bias": "u"},
             {"heads": 2, "chunk": chunk, "before": before}),
        Node("conv1d", "out", ("seen",), {"weight": "taps", "bias": "u"}, {"dilation": 2, "groups": channels}),
    )
    tensors = {name: Dense(array) for name, array in arrays.items()}
    return encode(Artefact(Graph(("heard",), ("out",), nodes), tensors, {"sample_rate": 16_000}))


FILES = {
    **{f"chunks of {of['chunk']} after {of['left']}": packed(of) for of in toy.STREAMING_SETTINGS},
    **{f"windows of {n_fft} every {hop}, folded {sizes}": folding(n_fft, hop, sizes, chunk, before)
       for n_fft, hop, sizes, chunk, before in ((40, 16, (), 1, 0), (16, 16, (3,), 3, 4), (30, 14, (2, 5), 2, 1),
                                                (64, 6, (1,), 5, 40), (40, 16, (2,), 30, 7))},
}


@pytest.mark.parametrize("what", FILES)
def test_steps_and_an_end_say_what_numpy_says(library: engine.Engine, what: str) -> None:
    expected, model = Session(decode(FILES[what])), library.open(FILES[what])
    info = model.info
    assert info.causal and (info.hop, info.delay) == (expected.hop, expected.delay)
    ours, early = model.start(), info.delay
    for samples in (1, early + info.hop - 1, early + info.hop, *range(9 * info.hop, 9 * info.hop + early + 300, 59)):
        waveform = noise(samples, seed=samples)
        wanted = expected.run(waveform)
        agree(ours.run(waveform), wanted)
        agree(ours.finish(waveform), wanted)
        ends = [end for hops in (1, 3, 7) if (end := early + hops * info.hop) <= samples]
        *steps, rest = np.split(waveform, ends)
        parts = [ours.step(step) for step in steps]
        assert [len(part) for part in parts] == [info.frames, 2 * info.frames, 4 * info.frames][: len(ends)]
        agree(np.concatenate([*parts, ours.finish(rest)]), wanted)


@pytest.mark.parametrize(("precision", "within"), [(engine.INT16, 1e-3), (engine.INT8, 0.1)])
def test_in_whole_numbers_too(library: engine.Engine, precision: int, within: float) -> None:
    for settings in toy.STREAMING_SETTINGS:
        file, waveform = packed(settings), noise(16_000)
        agree(library.open(file, precision).start().run(waveform), Session(decode(file)).run(waveform), within)


def test_what_is_no_number_is_silence_and_harms_nothing_after_it(library: engine.Engine) -> None:
    file = packed(toy.STREAMING_SETTINGS[3])
    ours, expected = library.open(file).start(), Session(decode(file))
    bad = noise(120 + 6 * ours.model.info.hop)
    silent = bad.copy()
    bad[50:90], silent[50:90] = np.nan, 0
    agree(ours.step(bad), expected.step(silent))


def calls(library: engine.Engine) -> dict[str, tuple[Callable[[], object], int, str]]:
    chunked = library.open(packed(toy.STREAMING_SETTINGS[0]))
    begun = chunked.start()
    begun.step(noise(760))
    whole = library.open(packed(toy.RECOGNIZER_SETTINGS["conformer"][0]))
    far = folding(16, 16, (), 20_000, 65_536, waves=16_384)
    return {
        "no delay": (lambda: chunked.start().step(noise(640)), engine.BAD_ARGUMENT, "640 samples and 120 more"),
        "half a hop": (lambda: begun.step(noise(320)), engine.BAD_ARGUMENT, "640 samples and 0 more, got 320"),
        "an end of the whole": (lambda: whole.start().finish(noise(9)), engine.UNSUPPORTED, "expected a causal model"),
        "too far back": (lambda: library.open(far), engine.BAD_FILE, r"seen \(attention\): expected fewer distances"),
    }


@pytest.mark.parametrize("what", ["no delay", "half a hop", "an end of the whole", "too far back"])
def test_wrong_calls_are_told_what_was_wanted(library: engine.Engine, what: str) -> None:
    refuses(*calls(library)[what])


def test_it_touches_no_memory_but_its_own(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.sotto" for number in range(len(FILES))]
    for path, file in zip(paths, FILES.values(), strict=True):
        path.write_bytes(file)
    harmless(compiled(["tests/run_once.c", *SOURCES], *SANITIZED), paths)
