"""The engine's reader takes what the Python reader takes, bit for bit, and refuses what that one refuses."""

import json
import random
import struct
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from artefacts import closed, closed_text, opened, wire
from building import ENGINE, SANITIZED, compiled, harmless
from test_file import (
    BOMBS,
    CHANNEL_LIES,
    CONVOLUTION_LIES,
    HEADERS,
    LIES,
    MODELS,
    STORED,
    TINY,
    spoilt,
)

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import VERSION, decode, encode
from sottovoce.errors import FormatError
from sottovoce.zoo import shipped

OK, BAD_FILE, UNSUPPORTED = 0, 2, 3
JSON = ("src/common.c", "src/decimal.c", "src/json.c", "src/names.c")
READER = (*JSON, *(f"src/{name}.c" for name in "codes entry file graph inflate meta operations rans tensor".split()))
WINDOWS = {"hamming", "hann_sqrt", "rect"}


def read(folder: Path, files: Sequence[bytes], *limits: str) -> list[tuple[int, str]]:
    """Status and text that the engine has for each of the files."""
    paths = [folder / f"{number}.sotto" for number in range(len(files))]
    for path, data in zip(paths, files, strict=True):
        path.write_bytes(data)
    command = [*limits, str(compiled([*READER, "tests/read.c"], *(SANITIZED if not limits else ["-O2"])))]
    done = subprocess.run(command, input="".join(f"{path}\n" for path in paths), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answers = [line.split(" ", 1) for line in done.stdout.split("\n")[:-1]]
    assert len(answers) == len(files)
    assert all(text.isprintable() for _, text in answers)
    return [(int(status), text) for status, text in answers]


def taken(data: bytes) -> bool:
    """Whether the Python reader takes a file, and what that one leaves to sessions is in order too."""
    try:
        artefact = decode(data)
    except FormatError:
        return False
    return leads_through(artefact) and 0 <= artefact.meta.get("sample_rate", 0) < 1 << 32


def leads_through(artefact: Artefact) -> bool:
    windows = {node.attributes["window"] for node in artefact.graph.nodes if "window" in node.attributes}
    return bool(artefact.graph.inputs and artefact.graph.outputs) and windows <= WINDOWS


def unpacked(folder: Path, data: bytes) -> bytes:
    source, target = folder / "model.sotto", folder / "elements"
    source.write_bytes(data)
    program = compiled([*READER, "tests/unpack.c"], *SANITIZED)
    done = subprocess.run([program, source, target], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return target.read_bytes()


def elements(data: bytes) -> bytes:
    return b"".join(stored.to_array().tobytes() for stored in decode(data).tensors.values())


# ---- what comes out ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_tensors_of_a_model_come_out_bit_for_bit(model: str, tmp_path: Path) -> None:
    data = encode(MODELS[model]())
    assert unpacked(tmp_path, data) == elements(data)


def test_tensors_of_every_form_come_out_bit_for_bit(tmp_path: Path) -> None:
    data = encode(wire(**STORED))
    assert unpacked(tmp_path, data) == elements(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_tensors_of_the_zoo_come_out_bit_for_bit(name: str, tmp_path: Path) -> None:
    data = shipped()[name].read_bytes()
    assert unpacked(tmp_path, data) == elements(data)


# ---- what is refused -----------------------------------------------------------------------------------------


ALL_LIES = {"spectra": LIES, "samples": CONVOLUTION_LIES, "features": CHANNEL_LIES}


@pytest.mark.parametrize("model", ALL_LIES)
def test_files_that_lie_are_refused(model: str, tmp_path: Path) -> None:
    files, lies = [], ALL_LIES[model]
    for change in lies.values():
        header, blobs = opened(encode(MODELS[model]()))
        change(header, blobs)
        files.append(closed(header, blobs))
    for lie, (status, text) in zip(lies, read(tmp_path, files), strict=True):
        assert status == (UNSUPPORTED if "unknown operation" in lie else BAD_FILE), (lie, text)
        assert "expected" in text or "unknown operation" in text, (lie, text)


def test_headers_that_are_none_are_refused(tmp_path: Path) -> None:
    files = [closed_text(text, {}) for text in HEADERS.values()]
    assert {status for status, _ in read(tmp_path, files)} == {BAD_FILE}


def test_a_later_version_is_refused_by_its_number(tmp_path: Path) -> None:
    for model in MODELS:
        header, blobs = opened(encode(MODELS[model]()))
        [(status, text)] = read(tmp_path, [closed_text(json.dumps(header).encode(), blobs, version=VERSION + 1)])
        assert status == BAD_FILE and f"expected format version 1 to {VERSION}, got {VERSION + 1}" in text


def test_truncated_and_damaged_files_are_refused(tmp_path: Path) -> None:
    files = [TINY[:length] for length in range(len(TINY))]
    files += [TINY + added for added in (b"\0", b"\0" * 8, b"SOTT", TINY)]
    for place in range(len(TINY)):
        files.append(TINY[:place] + bytes([TINY[place] ^ 1 << place % 8]) + TINY[place + 1 :])
    assert {status for status, _ in read(tmp_path, files)} == {BAD_FILE}


def test_a_few_bytes_do_not_fill_the_memory(tmp_path: Path) -> None:
    """It says that the file is bad, in an address space of 32 MiB, and not that there was too little of it."""
    answers = read(tmp_path, [make() for make in BOMBS.values()], "prlimit", f"--as={32 << 20}")
    assert {status for status, _ in answers} == {BAD_FILE}


@pytest.mark.parametrize("model", MODELS)
def test_any_header_is_taken_as_the_python_reader_takes_it(model: str, tmp_path: Path) -> None:
    dice = random.Random(0)
    header, blobs = opened(encode(MODELS[model]()))
    files = [closed(spoilt(dice, header), blobs) for _ in range(200)]
    for data, (status, text) in zip(files, read(tmp_path, files), strict=True):
        assert (status == OK) == taken(data), (text, opened(data)[0])


def test_any_blob_is_taken_as_the_python_reader_takes_it(tmp_path: Path) -> None:
    dice = random.Random(0)
    models = [opened(encode(wire(w=stored))) for stored in STORED.values() if 0 < np.prod(stored.shape) < 2000]
    files = []
    for _ in range(400):
        header, blobs = dice.choice(models)
        content = bytearray(blobs["w"])
        for _ in range(dice.randint(1, 3)):
            content[dice.randrange(len(content))] = dice.choice([0, 1, 2, 127, 255, dice.randrange(256)])
        files.append(closed(header, {"w": bytes(content)}))
    answers = read(tmp_path, files)
    assert [status == OK for status, _ in answers] == [taken(data) for data in files]


def test_what_fuzzing_begins_with_does_no_harm() -> None:
    program = compiled([*READER, "fuzz/input.c", "fuzz/fuzz_file.c", "fuzz/replay.c"], *SANITIZED, "-DSV_FUZZING")
    corpus = sorted((ENGINE / "fuzz" / "corpus").iterdir())
    assert corpus
    harmless(program, corpus)


# ---- its parts -----------------------------------------------------------------------------------------------

META = [
    "null", "-0", "1e5", "-1.5E-3", "[]", "{}", ' { "a" : [ 1 , { "b" : null } ] } ', "9" * 400, "1e-999", '"\x7f"',
    '"\\u00e4\\ud83d\\ude00\\ud800\\n\\/"', "[" * 900 + "]" * 900, '{"a":1,"a\\u0000":2}', '{"\\ud800":1,"\\ud801":2}',
    "01", "+1", ".5", "1.", "1e", "-", "1e400", "NaN", "-Infinity", "tru", "nulll", "'a'", '"\t"', '"\\x"', '"\\u12"',
    '"', "[1", "[1,]", "[,1]", "[1}", "{1:2}", '{"a"}', '{"a":1,}', '{"a":1 "b":2}', '{"a":1,"\\u0061":2}', "1 2", "",
    "\u00a0", "\ufeff1",
]


def test_json_is_taken_as_python_takes_it(tmp_path: Path) -> None:
    graph = '{"inputs":["a"],"outputs":["a"],"nodes":[]}'
    files = [closed_text(f'{{"graph":{graph},"tensors":{{}},"meta":{{"x":{text}}}}}'.encode(), {}) for text in META]
    answers = read(tmp_path, files)
    assert [status == OK for status, _ in answers] == [taken(data) for data in files]


def test_numbers_are_the_nearest_doubles() -> None:
    dice = random.Random(1)
    texts = ["0", "-0.0", "0.1", "9007199254740993", "9007199254740992.99999", "1e22", "1e23", "1.7976931348623157e308",
             "2.2250738585072014e-308", "1e-30", "0.01", "123456789012345678901234567890", "0." + "0" * 300 + "1" * 20,
             "1" * 300, "0." + "3" * 1000, "9007199254740993." + "0" * 900 + "1"]
    texts += [repr(dice.uniform(-1, 1) * 10 ** dice.randint(-300, 300)) for _ in range(500)]
    texts += [f"{dice.randrange(10**18)}e{dice.randint(-300, 280)}" for _ in range(500)]
    done = subprocess.run([compiled([*JSON, "tests/numbers.c"], *SANITIZED)], input=f"[{','.join(texts)}]",
                          capture_output=True, text=True)
    assert done.stdout.split() == [struct.pack(">d", float(text)).hex() for text in texts], done.stderr


def deflated(data: bytes, level: int, strategy: int) -> bytes:
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15, strategy=strategy)
    return deflate.compress(data) + deflate.flush()


def inflated(stream: bytes, count: int) -> str:
    """What the program should say."""
    inflate = zlib.decompressobj(-15)
    try:
        plain = inflate.decompress(stream, count + 1)
    except zlib.error:
        return "no"
    return str(zlib.crc32(plain)) if inflate.eof and not inflate.unused_data and len(plain) == count else "no"


def test_streams_inflate_as_zlib_inflates_them() -> None:
    draw, dice = np.random.default_rng(2), random.Random(2)
    plains = [b"", b"a", b"abc" * 5000, bytes(70_000), draw.bytes(3000), draw.bytes(80_000),
              Path(__file__).read_bytes() * 3, draw.geometric(0.02, 40_000).astype(np.uint8).tobytes(),
              (draw.standard_normal(5000) ** 3).astype("<f4").tobytes()]
    ways = [(0, 0), (1, 0), (9, 0), (9, zlib.Z_HUFFMAN_ONLY), (6, zlib.Z_FIXED), (6, zlib.Z_RLE)]
    streams = [(deflated(plain, *way), len(plain)) for plain in plains for way in ways]
    for stream, count in list(streams):
        streams += [(stream, count + 1), (stream, max(count - 1, 0)), (stream[:-1], count), (stream + b"\0", count)]
        for _ in range(6):
            damaged = bytearray(stream)
            damaged[dice.randrange(min(len(damaged), 120))] ^= 1 << dice.randrange(8)
            streams.append((bytes(damaged), count))
    frames = b"".join(struct.pack("<II", len(stream), count) + stream for stream, count in streams)
    program = compiled(["src/inflate.c", "tests/inflate.c"], *SANITIZED)
    done = subprocess.run([program], input=frames, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == [inflated(*stream) for stream in streams]
