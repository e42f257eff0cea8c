"""Attention over frames with relative positions, in ONNX: as `runtime/attention.py` computes it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sottovoce.artefact.graph import Node
from sottovoce.export.convolution import after_past
from sottovoce.export.frame import Chunk
from sottovoce.export.scope import Scope, as_is, transposed
from sottovoce.export.utterances import Utterances
from sottovoce.runtime.attention import sinusoids

LEAST = float(np.finfo(np.float32).min)          # the score of what is not seen: finite, should nothing be


@dataclass(frozen=True)
class Sight:
    """Of T queries S frames are there: what distances there are, and which frames are seen."""

    sinusoids: str                               # of the distances S - 1 to -T, [S + T, waves]
    shifted: Callable[[str], str]                # scores [N, heads, T, S + T] by distance to those by frame
    seen: str                                    # whether a frame sees a frame, [..., T or 1, S]


def attention(utterances: Utterances, node: Node) -> str:
    """Values [N, T, C] mixed across the frames of their utterance."""
    frames = utterances.frames[node.name]
    sight = Sight(
        frames.sinusoids(utterances.tensors[node.tensors["position"]].shape[1]),
        lambda scores: by_frame(utterances, scores, frames.count, frames.row, frames.count),
        seen(utterances, node),
    )
    query, key, value = utterances.inputs(node)
    return mixed(utterances, node, query, key, value, sight)


def attention_of_chunk(chunk: Chunk, node: Node) -> str:
    """Values [1, T, C] of a chunk mixed across it and the frames before it, whose keys and values are kept."""
    add, axes, scalar = chunk.builder.add, chunk.axes, chunk.scalar
    size, before = node.attributes["chunk"], node.attributes["before"]
    query, key, value = chunk.inputs(node)
    keys, values = (after_past(chunk, node, x, part) for x, part in ((key, "keys"), (value, "values")))
    heard = chunk.recall(node, "heard")
    chunk.keep_flat(node, "heard", add("Min", add("Add", heard, scalar(size)), scalar(before)))
    unknown = add("Sub", scalar(before), heard)
    count = before + size
    waves = chunk.tensors[node.tensors["position"]].shape[1]

    def shifted(scores: str) -> str:
        if size == 1:                            # a row alone begins where it has to
            return add("Slice", scores, axes(0), axes(count), axes(3))
        return by_frame(chunk, scores, axes(size), axes(count + size - 1), axes(count))

    sight = Sight(
        chunk.builder.constant(sinusoids(count, size, waves)),
        shifted,
        add("GreaterOrEqual", chunk.builder.constant(np.arange(count, dtype=np.float32)), unknown),
    )
    return mixed(chunk, node, query, keys, values, sight)


def mixed(scope: Scope, node: Node, query: str, key: str, value: str, sight: Sight) -> str:
    """Values [N, S, C] of the frames that queries [N, T, C] see, by their keys and their distances."""
    add, axes = scope.builder.add, scope.axes
    channels = scope.tensors[node.tensors["position"]].shape[0]
    heads = node.attributes["heads"]
    in_heads = axes(0, 0, heads, channels // heads)

    def biased(role: str) -> str:
        moved = add("Add", query, scope.tensor(node, role, as_is))
        return add("Transpose", add("Reshape", moved, in_heads), perm=[0, 2, 1, 3])              # [N, heads, T, size]

    keys = add("Transpose", add("Reshape", key, in_heads), perm=[0, 2, 3, 1])                    # [N, heads, size, S]
    values = add("Transpose", add("Reshape", value, in_heads), perm=[0, 2, 1, 3])
    distances = add("MatMul", sight.sinusoids, scope.tensor(node, "position", transposed))
    distances = add("Transpose", add("Reshape", distances, axes(0, heads, channels // heads)), perm=[1, 2, 0])
    by_position = sight.shifted(add("MatMul", biased("position_bias"), distances))
    scores = add("Add", add("MatMul", biased("content_bias"), keys), by_position)
    scores = add("Mul", scores, scope.scalar((channels // heads) ** -0.5))
    shares = add("Softmax", add("Where", sight.seen, scores, scope.scalar(LEAST)), axis=-1)
    out = add("Transpose", add("MatMul", shares, values), perm=[0, 2, 1, 3])
    return add("Reshape", out, axes(0, 0, channels), name=f"/{node.name}")


def seen(utterances: Utterances, node: Node) -> str:
    """Which frames a frame sees [N, 1, 1 or T, T]: none of the padding."""
    add, frames = utterances.builder.add, utterances.frames[node.name]
    visible = add("Unsqueeze", frames.within, utterances.axes(1, 2))
    for role, op, sign in (("before", "Greater", -1), ("after", "Less", 1)):
        if role in node.attributes:
            beyond = utterances.axes(sign * (node.attributes[role] + 1))
            visible = add("And", visible, add(op, frames.ahead, beyond))
    return visible


def by_frame(scope: Scope, scores: str, queries: str, row: str, count: str) -> str:
    """Scores [N, heads, T, S] of frame against frame, from [N, heads, T, S + T] of frame against distance S - 1 to -T.

    `queries`, `row` and `count` are T, S + T - 1 and S, each as [1].
    """
    add, axes = scope.builder.add, scope.axes
    # As in the runtime: row t starts at distance t, so a stride of one less walks along all of them.
    first = add("Sub", queries, axes(1))
    end = add("Add", first, add("Mul", queries, row))
    flat = add("Slice", add("Reshape", scores, axes(0, 0, -1)), first, end, axes(2))
    rows = add("Reshape", flat, add("Concat", axes(0, 0), queries, row, axis=0))
    return add("Slice", rows, axes(0), count, axes(3))
