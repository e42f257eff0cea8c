"""Writes corpus/, models/ and words.dict: every form, a file for each way to be refused, a tiny model of every family.

    python engine/fuzz/make_corpus.py READ

READ is engine/tests/read.c, compiled: it says how a file is refused.
"""

import json
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TESTS = HERE.parents[1] / "tests"
sys.path += [str(TESTS), str(TESTS / "artefact"), str(TESTS / "engine")]

import numpy as np  # noqa: E402
import toy  # noqa: E402
from artefacts import aligned, closed, codebook, opened, sparse, wire  # noqa: E402
from test_engine import ODD, RECOGNIZERS  # noqa: E402
from test_file import CHANNEL_LIES, CONVOLUTION_LIES, LIES, MODELS, STORED  # noqa: E402

from sottovoce.artefact import Artefact  # noqa: E402
from sottovoce.artefact.file import PREAMBLE, encode  # noqa: E402
from sottovoce.artefact.graph import OPS  # noqa: E402
from sottovoce.artefact.records import META, RANGES  # noqa: E402
from sottovoce.artefact.stored import Codebook, Dense, Stored  # noqa: E402
from sottovoce.packing import pack  # noqa: E402

KEYS = ["graph", "tensors", "meta", "inputs", "outputs", "nodes", "form", "shape", "bytes", "crc32", "type", "values",
        "bits", "largest", "axis", "planes", "dense", "sparse", "codebook", "levels", "float32", "float16", "window",
        "hamming", "hann_sqrt", "rect"]
LARGEST = 4000                           # bytes of an input
LEFT = 200                               # nonzeros of a tensor of a model, at most: a few hundred bytes
WAYS = 15                                # to run a model, which the first byte of an input chooses among


def loose(data: bytes) -> bytes:
    """A file as the fuzzing target takes it: its header plain, a zero byte, the rest."""
    stored = PREAMBLE.unpack_from(data)[3]
    header = json.loads(zlib.decompress(data[PREAMBLE.size : PREAMBLE.size + stored]))
    return json.dumps(header, separators=(",", ":")).encode() + b"\0" + data[aligned(PREAMBLE.size + stored) :]


def rare() -> dict[str, Stored]:
    """What small tensors of the tests have not: planes, low bits, classes."""
    random = np.random.default_rng(0)
    uneven = codebook(random, (100, 120), 3)
    keep = np.outer(random.random(100) > 0.8, random.random(120) > 0.7)
    return {
        "planes": Dense(random.standard_normal(256).astype(np.float32)),
        "planes of halves": Dense(random.standard_normal(300).astype(np.float16)),
        "sparse planes": sparse(random, (16, 32)),
        "low bits": codebook(random, (8, 9), 300),
        "classes": Codebook(uneven.codes * keep, uneven.table),
        "neighbours": Codebook(np.repeat(random.integers(0, 3, (30, 8)), 8, 1).astype(np.uint8), uneven.table),
    }


def good() -> Iterator[tuple[str, bytes]]:
    for name, make in MODELS.items():
        yield f"model {name}", encode(make())
    for name, stored in {**STORED, **rare()}.items():
        yield f"form {name}", encode(wire(w=stored))
    meta = {"name": "a", "config": {"x": [1.5, None]}, "parameters": 3, "not_compressed": {"b": "a bias"},
            "rows": [{"stage": "01-prune"}], "removed": {"w": [[3, 4], [3, 2]], "v": [[1], None]}, "folded": ["b"]}
    yield "meta", encode(Artefact(wire().graph, {}, meta))


def bad() -> Iterator[tuple[str, bytes]]:
    for model, lies in (("spectra", LIES), ("samples", CONVOLUTION_LIES), ("features", CHANNEL_LIES)):
        for name, change in lies.items():
            header, blobs = opened(encode(MODELS[model]()))
            change(header, blobs)
            yield f"refused {name}", closed(header, blobs)


def thin(stored: Stored) -> Stored:
    """As large, of three values, and hardly anything left."""
    array = stored.to_array()
    if array.size <= LEFT:
        return stored
    step = max(2, array.size // LEFT)
    codes = np.where(np.arange(array.size) % step, 0, 1 + (array.ravel() > 0)).astype(np.uint8)
    spread = array.std() * np.array([0, -1, 1])
    return Codebook(codes.reshape(array.shape), spread.astype(np.float32))


def models() -> Iterator[tuple[str, bytes]]:
    """A model of each family and settings, the same operations in graphs of a few nodes, and what no model has."""
    def tiny(name: str, settings: dict[str, Any]) -> bytes:
        artefact = pack(toy.built(name, settings), {"sample_rate": 8000})
        tensors = {key: thin(stored) for key, stored in artefact.tensors.items()}
        return encode(Artefact(artefact.graph, tensors, {"sample_rate": 8000}))

    for number, (name, settings) in enumerate(toy.MODEL_CASES + RECOGNIZERS):
        yield f"{name} {number}", tiny(name, settings)
    for name, make in MODELS.items():
        yield name, encode(make())
    yield from ODD.items()
    yield "conformer in chunks", tiny("conformer", {**toy.STREAMING_SETTINGS[1], "layers": 1})


def refusals(files: dict[str, bytes], program: str) -> dict[str, str]:
    """The text of each file's refusal, without names and figures."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, str(number)) for number in range(len(files))]
        for path, data in zip(paths, files.values(), strict=True):
            path.write_bytes(data)
        lines = "".join(f"{path}\n" for path in paths)
        done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    kinds = [re.sub(r"^\d (\w+: )*|\d+|got .*", "", line) for line in done.stdout.splitlines()]
    return dict(zip(files, kinds, strict=True))


def main(program: str) -> None:
    lies, seen = dict(bad()), set()
    chosen = {}
    for name, kind in refusals(lies, program).items():
        if kind not in seen:
            seen.add(kind)
            chosen[name] = lies[name]
    for old in (*(HERE / "corpus").glob("*"), *(HERE / "models").glob("*")):
        old.unlink()
    inputs = {name: loose(data) for name, data in {**dict(good()), **chosen}.items()}
    inputs["texts"] = inputs["meta"].replace(b'"a"', '"\\u00e4\\ud83d\\ude00\\n ü漢😀"'.encode())
    inputs["file"] = encode(MODELS["samples"]())
    for name, content in inputs.items():
        if len(content) <= LARGEST:
            (HERE / "corpus" / re.sub(r"\W+", "_", name)).write_bytes(content)
    (HERE / "models").mkdir(exist_ok=True)
    for number, (name, content) in enumerate(models()):
        (HERE / "models" / re.sub(r"\W+", "_", name)).write_bytes(bytes([number % WAYS]) + loose(content))
    words = [*KEYS, *OPS, *RANGES, *META, *sorted({role for op in OPS.values() for role in op.tensors})]
    (HERE / "words.dict").write_text("".join(f'"\\"{word}\\""\n' for word in dict.fromkeys(words)))


if __name__ == "__main__":
    main(sys.argv[1])
