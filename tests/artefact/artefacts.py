"""Small artefacts with every form, and files taken apart and put together again with checksums that are right."""

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.file import ALIGNMENT, MAGIC, PREAMBLE, VERSION
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored, top_level

FRAME = {"n_fft": 8, "hop": 4, "window": "hamming"}
LEVEL = {"decay": 0.99, "floor": 1e-4, "window_energy": 3.0}
BINS, HIDDEN = 5, 3


def wire(**tensors: Stored) -> Artefact:
    """A model that passes its input on, with these tensors beside it."""
    nodes = (
        Node("stft", "spectrum", ("noisy",), attributes=FRAME),
        Node("istft", "clean", ("spectrum",), attributes=FRAME),
    )
    return Artefact(Graph(("noisy",), ("clean",), nodes), tensors, {"sample_rate": 16_000})


def enhancer(seed: int = 0) -> Artefact:
    """A masking enhancer of spectra, with every form."""
    random = np.random.default_rng(seed)
    gates = 4 * HIDDEN
    tensors: dict[str, Stored] = {
        "ih": codebook(random, (gates, BINS), 6),
        "hh": sparse(random, (gates, HIDDEN)),
        "b1": Dense(random.standard_normal(gates).astype(np.float16)),
        "b2": Dense(random.standard_normal(gates).astype(np.float32)),
        "out": codebook(random, (BINS, HIDDEN), 3),
        "bias": Dense(random.standard_normal(BINS).astype(np.float32)),
    }
    roles = {"weight_ih": "ih", "weight_hh": "hh", "bias_ih": "b1", "bias_hh": "b2"}
    nodes = (
        Node("stft", "spectrum", ("noisy",), attributes=FRAME),
        Node("running_rms", "level", ("spectrum",), attributes=LEVEL),
        Node("magnitude", "magnitude", ("spectrum",)),
        Node("div", "levelled", ("magnitude", "level")),
        Node("log1p", "features", ("levelled",)),
        Node("lstm", "hidden", ("features",), roles, {"hidden": HIDDEN}),
        Node("linear", "estimate", ("hidden",), {"weight": "out", "bias": "bias"}),
        Node("sigmoid", "mask", ("estimate",)),
        Node("affine", "floored", ("mask",), attributes={"scale": 0.9, "shift": 0.1}),
        Node("unsqueeze", "gain", ("floored",)),
        Node("mul", "enhanced", ("spectrum", "gain")),
        Node("istft", "clean", ("enhanced",), attributes=FRAME),
    )
    meta = {"sample_rate": 16_000, "not_compressed": {"bias": "a bias"}, "rows": [{"stage": "01-prune"}]}
    return Artefact(Graph(("noisy",), ("clean",), nodes), tensors, meta)


def convolver(seed: int = 0) -> Artefact:
    """A model of samples with all the operations that `enhancer` has not."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Stored] = {
        "kernel": codebook(random, (3, 2, 2, 3), 5),
        "grouped": sparse(random, (6, 4, 2), share=0.7),
        "spread": levels(random, (3, 2, 2, 3), bits=3, axis=1),
        "slope": Dense(np.full(1, 0.25, np.float32)),
    }
    for name, size in {"two": 2, "three": 3, "other three": 3, "six": 6, "other six": 6}.items():
        tensors[name] = Dense(random.standard_normal(size).astype(np.float16))
    samples = FRAME | {"window": "rect"}
    nodes = (
        Node("frames", "framed", ("noisy",), attributes=samples),                                     # [8]
        Node("unflatten", "pairs", ("framed",), attributes={"size": 2}),                              # [4, 2]
        Node("power_law", "soft", ("pairs",), attributes={"power": 0.5}),
        Node("conv2d", "image", ("soft",), {"weight": "kernel", "bias": "three"}, {"stride": 1, "pad": 1}),
        Node("scale_shift", "scaled", ("image",), {"scale": "three", "shift": "other three"}),        # [4, 3]
        Node("prelu", "bent", ("scaled",), {"weight": "slope"}),
        Node("transpose", "turned", ("bent",)),                                                       # [3, 4]
        Node("flatten", "flat", ("turned",)),                                                         # [12]
        Node("conv1d", "few", ("flat",), {"weight": "grouped", "bias": "six"}, {"dilation": 2, "groups": 3}),
        Node("layer_norm", "even", ("few",), {"weight": "six", "bias": "other six"}, {"eps": 1e-5}),  # [6]
        Node("quantize", "coarse", ("even",), attributes={"bits": 4, "low": -1.5, "high": 1.5}),
        Node("quantize_dynamic", "coarser", ("coarse",), attributes={"bits": 3}),
        Node("tanh", "bounded", ("coarser",)),
        Node("concat", "joined", ("bounded", "few")),                                                 # [12]
        Node("sub", "rest", ("flat", "joined")),
        Node("elu", "smooth", ("rest",)),
        Node("unflatten", "channels", ("smooth",), attributes={"size": 3}),                           # [4, 3]
        Node("conv_transpose2d", "larger", ("channels",), {"weight": "spread", "bias": "two"},
             {"stride": 1, "pad": 1, "extra": 0}),                                                    # [4, 2]
        Node("complex_mul", "product", ("larger", "pairs")),
        Node("slice", "half", ("flat",), attributes={"start": 2, "stop": 6}),                         # [4]
        Node("relu", "positive", ("half",)),
        Node("stack", "twice", ("half", "positive")),                                                 # [4, 2]
        Node("add", "sum", ("product", "twice")),
        Node("flatten", "cleaned", ("sum",)),                                                         # [8]
        Node("overlap_add", "clean", ("cleaned",), attributes=samples),
    )
    return Artefact(Graph(("noisy",), ("clean",), nodes), tensors, {"sample_rate": 16_000})


def extractor(seed: int = 0) -> Artefact:
    """A model of two waveforms that looks ahead, with the operations that the others have not."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Stored] = {
        "in": codebook(random, (3, 8), 5), "out": sparse(random, (8, 3)), "along": sparse(random, (3, 1, 3), share=0.9),
        "three": Dense(random.standard_normal(3).astype(np.float32)),
        "ih": codebook(random, (9, 3), 4), "hh": sparse(random, (9, 3)),
        "nine": Dense(random.standard_normal(9).astype(np.float16)),
    }
    nodes = (
        Node("frames", "framed", ("mixture",), attributes=FRAME),
        Node("frames", "voices", ("voice",), attributes=FRAME),
        Node("linear", "few", ("framed",), {"weight": "in"}),
        Node("reverse", "back", ("voices",)),
        Node("linear", "told", ("back",), {"weight": "in", "bias": "three"}),
        Node("time_mean", "print", ("told",)),
        Node("mul", "turned", ("few", "print")),
        Node("conv1d", "around", ("turned",), {"weight": "along", "bias": "three"},
             {"dilation": 2, "groups": 3, "after": 2}),
        Node("global_norm", "even", ("around",), {"weight": "three", "bias": "three"}, {"eps": 1e-8}),
        Node("gru", "hidden", ("even",), {"weight_ih": "ih", "weight_hh": "hh", "bias_ih": "nine", "bias_hh": "nine"},
             {"hidden": 3}),
        Node("linear", "cleaned", ("hidden",), {"weight": "out"}),
        Node("overlap_add", "clean", ("cleaned",), attributes=FRAME),
    )
    return Artefact(Graph(("mixture", "voice"), ("clean",), nodes), tensors, {"sample_rate": 8000})


def recognizer(seed: int = 0) -> Artefact:
    """A model whose output are features, with the operations that the others have not."""
    random = np.random.default_rng(seed)
    tensors: dict[str, Stored] = {
        "in": codebook(random, (6, 10), 5), "position": sparse(random, (6, 4)),
        "six": Dense(random.standard_normal(6).astype(np.float32)),
    }
    nodes = (
        Node("fbank", "bands", ("speech",),
             attributes={"n_fft": 40, "hop": 16, "bins": 5, "rate": 1600, "low": 20.0, "high": 700.0}),
        Node("time_norm", "level", ("bands",), attributes={"eps": 1e-5}),
        Node("fold", "pairs", ("level",), attributes={"size": 2}),                                    # [10]
        Node("linear", "few", ("pairs",), {"weight": "in", "bias": "six"}),                           # [6]
        Node("take", "others", ("few",), attributes={"channels": [5, 0, -1, 2, 2, 1]}),
        Node("attention", "mixed", ("few", "few", "others"),
             {"position": "position", "content_bias": "six", "position_bias": "six"}, {"heads": 3, "before": 4}),
        Node("log_softmax", "sure", ("mixed",)),
    )
    return Artefact(Graph(("speech",), ("sure",), nodes), tensors, {"sample_rate": 1600})


def codebook(random: np.random.Generator, shape: tuple[int, ...], values: int) -> Codebook:
    """About two thirds zeros, `values` other values."""
    small = np.uint8 if values < 256 else np.uint16
    codes = random.integers(1, values + 1, shape) * (random.random(shape) < 0.35)
    table = np.concatenate([[0], random.standard_normal(values)])
    return Codebook(codes.astype(small), table.astype(np.float32))


def sparse(random: np.random.Generator, shape: tuple[int, ...], share: float = 0.35) -> Sparse:
    """This share of weights, the rest zero."""
    keep = random.random(shape) < share
    return Sparse(keep, random.standard_normal(np.count_nonzero(keep)).astype(np.float32))


def levels(random: np.random.Generator, shape: tuple[int, ...], bits: int, axis: int | None = None) -> Levels:
    """Levels of so many bits, small ones more often; one scale, or one for each index of the axis."""
    top = top_level(bits)
    drawn = (random.standard_normal(shape) * top / 2).round().clip(-top, top).astype(np.int8)
    drawn.flat[:1] = top
    sizes = [size if place == axis else 1 for place, size in enumerate(shape)]
    return Levels(drawn, random.uniform(0.01, 0.1, sizes).astype(np.float32), bits)


def aligned(length: int) -> int:
    return math.ceil(length / ALIGNMENT) * ALIGNMENT


def opened(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Header and blobs of a good file."""
    stored = PREAMBLE.unpack_from(data)[3]
    header = json.loads(zlib.decompress(data[PREAMBLE.size : PREAMBLE.size + stored]))
    blobs, first = {}, aligned(PREAMBLE.size + stored)
    for name, entry in header["tensors"].items():
        blobs[name] = data[first : first + entry["bytes"]]
        first += aligned(entry["bytes"])
    return header, blobs


def closed(header: Any, blobs: Mapping[str, bytes]) -> bytes:
    """A file of these, whatever they say, with right checksums of header and blobs."""
    return closed_text(json.dumps(with_checksums(header, blobs)).encode(), blobs)


def closed_text(text: bytes, blobs: Mapping[str, bytes], version: int = VERSION) -> bytes:
    """As `closed`, from the bytes of a header."""
    packed = zlib.compress(text)
    head = PREAMBLE.pack(MAGIC, version, 0, len(packed), len(text), zlib.crc32(packed)) + packed
    return b"".join(part + bytes(-len(part) % ALIGNMENT) for part in (head, *blobs.values()))


def with_checksums(header: Any, blobs: Mapping[str, bytes]) -> Any:
    """The header with the checksums of the blobs, where it has a place for them."""
    entries = header.get("tensors") if isinstance(header, dict) else None
    for name, blob in blobs.items():
        if isinstance(entries, dict) and isinstance(entries.get(name), dict) and "crc32" in entries[name]:
            entries[name]["crc32"] = zlib.crc32(blob)
    return header
