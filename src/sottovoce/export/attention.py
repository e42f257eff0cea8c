"""Attention over frames with relative positions, in ONNX."""

import numpy as np

from sottovoce.artefact.graph import Node
from sottovoce.errors import SottovoceError
from sottovoce.export.scope import as_is, transposed
from sottovoce.export.utterances import Frames, Utterances

LEAST = float(np.finfo(np.float32).min)          # the score of what is not seen: finite, should nothing be


def attention(utterances: Utterances, node: Node) -> str:
    """Values [N, T, C] mixed across the frames of their utterance, as `runtime/attention.py` does."""
    add, axes, frames = utterances.builder.add, utterances.axes, utterances.frames[node.name]
    if "chunk" in node.attributes:
        raise SottovoceError(f"ONNX export: expected attention over whole utterances, got chunks of "
                             f"{node.attributes['chunk']} frames ({node.name}): the engine streams such a model")
    query, key, value = utterances.inputs(node)
    channels, width = utterances.tensors[node.tensors["position"]].shape
    heads = node.attributes["heads"]
    in_heads = axes(0, 0, heads, channels // heads)

    def biased(role: str) -> str:
        moved = add("Add", query, utterances.tensor(node, role, as_is))
        return add("Transpose", add("Reshape", moved, in_heads), perm=[0, 2, 1, 3])              # [N, heads, T, size]

    keys = add("Transpose", add("Reshape", key, in_heads), perm=[0, 2, 3, 1])                    # [N, heads, size, T]
    values = add("Transpose", add("Reshape", value, in_heads), perm=[0, 2, 1, 3])
    distances = add("MatMul", frames.sinusoids(width), utterances.tensor(node, "position", transposed))
    distances = add("Transpose", add("Reshape", distances, axes(0, heads, channels // heads)), perm=[1, 2, 0])
    by_position = shifted(utterances, frames, add("MatMul", biased("position_bias"), distances))
    scores = add("Add", add("MatMul", biased("content_bias"), keys), by_position)
    scores = add("Mul", scores, utterances.scalar((channels // heads) ** -0.5))
    shares = add("Softmax", add("Where", seen(utterances, node), scores, utterances.scalar(LEAST)), axis=-1)
    mixed = add("Transpose", add("MatMul", shares, values), perm=[0, 2, 1, 3])
    return add("Reshape", mixed, axes(0, 0, channels), name=f"/{node.name}")


def seen(utterances: Utterances, node: Node) -> str:
    """Which frames a frame sees [N, 1, 1 or T, T]: none of the padding."""
    add, frames = utterances.builder.add, utterances.frames[node.name]
    visible = add("Unsqueeze", frames.within, utterances.axes(1, 2))
    for role, op, sign in (("before", "Greater", -1), ("after", "Less", 1)):
        if role in node.attributes:
            beyond = utterances.axes(sign * (node.attributes[role] + 1))
            visible = add("And", visible, add(op, frames.ahead, beyond))
    return visible


def shifted(utterances: Utterances, frames: Frames, scores: str) -> str:
    """Scores [N, heads, T, T] of frame against frame, from [N, heads, T, 2 T] of frame against distance T - 1 to -T."""
    add, axes = utterances.builder.add, utterances.axes
    # As in the runtime: row t starts at distance t, so a stride of one less walks along all of them.
    first = add("Sub", frames.count, axes(1))
    last = add("Add", first, add("Mul", frames.count, frames.row))
    flat = add("Slice", add("Reshape", scores, axes(0, 0, -1)), first, last, axes(2))
    rows = add("Reshape", flat, add("Concat", axes(0, 0), frames.count, frames.row, axis=0))
    return add("Slice", rows, axes(0), frames.count, axes(3))
