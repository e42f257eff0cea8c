"""A recognizer in ONNX: filter banks in, log probabilities of symbols out.

Of whole utterances the file has the form that sherpa-onnx loads in the place of its `zipformer_ctc`: it makes the
filter banks itself, and reads the symbols in a file of text, a line each. One that streams takes the filter banks of a
chunk, and its state passes in and out; that form is for plain onnxruntime.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np
from onnx import GraphProto, TensorProto

from sottovoce.artefact import Artefact
from sottovoce.artefact.features import Features
from sottovoce.artefact.graph import FEATURES, Node
from sottovoce.artefact.stored import Dense, Stored
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.export.builder import GraphBuilder
from sottovoce.export.file import file_of, port, sample_rate
from sottovoce.export.frame import Chunk
from sottovoce.export.inside import Array, Shape, check_operations, floats, shapes, through
from sottovoce.export.int8 import factors, in_int8
from sottovoce.export.operations import OF_CHUNKS, OF_UTTERANCES
from sottovoce.export.picks import without_picks
from sottovoce.export.utterances import Frames, Utterances
from sottovoce.runtime.transcribe import BLANK

BINS = 80
FILTER_BANKS = {"n_fft": 400, "hop": 160, "bins": BINS, "rate": 16_000, "low": 20.0, "high": 7600.0}
TOKENS = "tokens.txt"


@dataclass(frozen=True)
class Recognizer:
    """All behind the filter banks of a graph."""

    artefact: Artefact
    first: Node
    nodes: tuple[Node, ...]

    @property
    def chunk(self) -> int:
        """Filter banks that it takes at once; 0: those of a whole utterance."""
        return self.artefact.graph.piece

    @cached_property
    def features(self) -> dict[str, Shape]:
        """Shape of each value after batch and time. Raises SottovoceError if nodes and tensors do not fit together."""
        shapes = {name: stored.shape for name, stored in self.artefact.tensors.items()}
        try:
            axes = Features(self.artefact.graph, shapes).values
        except FormatError as error:
            raise SottovoceError(f"ONNX export: {error}") from error
        return {name: tuple(map(len, of)) for name, of in axes.items()}

    @property
    def output(self) -> str:
        return self.artefact.graph.outputs[0]

    @property
    def symbols(self) -> list[str]:
        """What each code stands for. Raises SottovoceError unless the file says it of every one, the blank first."""
        symbols, outputs = self.artefact.meta.get("symbols"), self.features[self.output]
        if not isinstance(symbols, list) or (len(symbols),) != outputs:
            count = len(symbols) if isinstance(symbols, list) else "no list of them"
            raise SottovoceError(f"ONNX export: expected symbols for outputs {list(outputs)}, got {count}")
        if symbols[0] != BLANK:
            raise SottovoceError(f"ONNX export: expected {BLANK} as the first symbol, got {symbols[0]!r}")
        for symbol in symbols:
            if not isinstance(symbol, str) or symbol.split() != [symbol]:
                raise SottovoceError(f"ONNX export: expected symbols without white space, got {symbol!r}")
        return symbols

    def run(self, banks: Array) -> Array:
        """What the numpy reference makes of filter banks [T, bins] of one utterance: [T', symbols]."""
        values = {self.first.name: banks[None]}
        through(self.nodes, floats(self.artefact), values, {})
        scores: Array = values[self.output][0]
        return scores


def recognizes(artefact: Artefact) -> bool:
    """Whether a model begins with filter banks."""
    return any(node.op == FEATURES for node in artefact.graph.nodes)


def recognizer(artefact: Artefact) -> Recognizer:
    """All behind the filter banks.

    Raises SottovoceError unless the graph begins with those of sherpa-onnx, and has no chunks if it does not stream.
    """
    graph = artefact.graph
    first, *nodes = graph.nodes
    if first.op != FEATURES or first.inputs != graph.inputs or any({*graph.inputs} & {*node.inputs} for node in nodes):
        raise SottovoceError(f"ONNX export: expected a model of one waveform that begins with {FEATURES}, "
                             f"got {', '.join(node.op for node in graph.nodes)}")
    if first.attributes != FILTER_BANKS:
        raise SottovoceError(f"ONNX export: expected filter banks as sherpa-onnx makes them, {FILTER_BANKS}, "
                             f"got {first.attributes}")
    model = Recognizer(artefact, first, tuple(nodes))
    check_operations(nodes, OF_CHUNKS if model.chunk else OF_UTTERANCES)
    for node in nodes if not model.chunk else ():
        if "chunk" in node.attributes:
            raise SottovoceError(f"ONNX export: expected a model that streams, or attention over whole utterances, got "
                                 f"chunks of {node.attributes['chunk']} frames ({node.name}) in one that looks ahead")
    return model


def recognizer_file(artefact: Artefact, int8: bool = False) -> bytes:
    """The part of the model behind its filter banks, weights packed, or those of matrix products rounded to 8 bits.

    Raises SottovoceError if the graph is not that, has an operation without an ONNX form, or no symbols.
    """
    model = recognizer(without_picks(artefact))
    properties = {
        "model_type": "chunks" if model.chunk else "zipformer2_ctc",
        "version": 1,
        "sample_rate": sample_rate(artefact),
        "vocab_size": len(model.symbols),
    }
    rounded = factors(model.artefact.graph) if int8 else set()
    tensors = {name: Dense(of.to_array()) if name in rounded else of for name, of in model.artefact.tensors.items()}
    graph = (of_a_chunk if model.chunk else of_utterances)(model, tensors)
    data = file_of(graph, artefact, properties, factors(artefact.graph) if int8 else set())
    return in_int8(data) if int8 else data


def of_utterances(model: Recognizer, tensors: Mapping[str, Stored]) -> GraphProto:
    """Utterances of any length side by side, what is padded of each left alone."""
    builder = GraphBuilder()
    x, count = at_least(builder, "x", prod(node.attributes["size"] for node in model.nodes if node.op == "fold"))
    frames = Frames(builder, count, "x_lens")
    utterances = Utterances(builder, tensors, model.features, {model.first.name: x}, frames)
    for node in model.nodes:
        utterances.enter(node)
        utterances.values[node.name] = OF_UTTERANCES[node.op](utterances, node)
    builder.add("Identity", utterances.values[model.output], name="log_probs")
    builder.add("Identity", utterances.frames[model.output].lengths, name="log_probs_len")
    return builder.graph(
        [port("x", ("N", "T", BINS)), port("x_lens", ("N",), TensorProto.INT64)],
        [port("log_probs", ("N", "T_out", len(model.symbols))), port("log_probs_len", ("N",), TensorProto.INT64)],
        "utterances",
    )


def of_a_chunk(model: Recognizer, tensors: Mapping[str, Stored]) -> GraphProto:
    """The next chunk of one utterance, with the state that the one before it left."""
    builder = GraphBuilder()
    banks = np.zeros((1, model.chunk, BINS), np.float32)
    values, kept = shapes(model.artefact, model.nodes, {model.first.name: banks})
    chunk = Chunk(builder, tensors, values, kept, {model.first.name: "x"})
    for node in model.nodes:
        chunk.values[node.name] = OF_CHUNKS[node.op](chunk, node)
    builder.add("Identity", chunk.values[model.output], name="log_probs")
    before, after = chunk.ports()
    return builder.graph([port("x", banks.shape), *before], [port("log_probs", values[model.output]), *after], "chunk")


def at_least(builder: GraphBuilder, x: str, frames: int) -> tuple[str, str]:
    """x [N, T, bins] filled up to so many frames, and how many it has: onnxruntime fails where nothing is left."""
    count = builder.add("Gather", builder.add("Shape", x), builder.int64(1))
    enough = builder.add("Max", count, builder.int64(frames))
    missing = builder.add("Sub", enough, count)
    edges = builder.add("Concat", builder.int64(0, 0, 0, 0), missing, builder.int64(0), axis=0)
    return builder.add("Pad", x, edges), enough


def tokens(artefact: Artefact) -> str:
    """The symbols as sherpa-onnx reads them: a line each, with its code."""
    return "".join(f"{symbol} {code}\n" for code, symbol in enumerate(recognizer(artefact).symbols))
