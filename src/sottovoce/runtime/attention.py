"""Attention over frames with relative positions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sottovoce.runtime.operation import Array, Attributes, Outcome, State, Tensors, expect, zeros


def attention(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Values [B, T, C] mixed across frames, in heads, by how queries [B, T, C] meet keys and their distances.

    A frame sees `before` frames before it and `after` after it, all where they are not given; with `chunk`, its chunk
    and `before` frames before that, whose keys and values are the state. Scores are those of Dai et al. 2019
    (Transformer-XL), section 3.3.
    """
    query = inputs[0]
    channels = len(tensors["position"])
    for x in inputs:
        fits = x.shape == query.shape and x.shape[2:] == (channels,)
        expect(fits, f"attention of {channels} channels over values {x.shape}")
    frames = query.shape[1]
    if "chunk" in attributes:
        return _chunked(attributes, tensors, inputs, state)
    if not frames:
        return inputs[2], {}
    steps = np.arange(frames)
    ahead = steps - steps[:, None]
    hidden = (ahead < -attributes.get("before", frames)) | (ahead > attributes.get("after", frames))
    distances = _distances(tensors["position"], frames, frames)
    return _mixed(attributes["heads"], tensors, inputs, distances, hidden), {}


def _chunked(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Chunk by chunk, each with the `before` frames before it that have been heard."""
    query, key, value = inputs
    chunk, before, frames = attributes["chunk"], attributes["before"], query.shape[1]
    past = {"keys": zeros(query, before, query.shape[2]), "values": zeros(query, before, query.shape[2])} | state
    heard = int(state["heard"].max(initial=0)) if state else 0                   # of the past, its last so many
    keys, values = (np.concatenate([past[name], x], 1) for name, x in (("keys", key), ("values", value)))
    distances = _distances(tensors["position"], before + chunk, chunk)
    parts = [np.zeros_like(value[:, :0])]
    for start in range(0, frames, chunk):
        part = query[:, start : start + chunk]
        size, known = part.shape[1], min(heard + start, before)
        seen = slice(before + start - known, before + start + size)
        # Of the distances from before + chunk - 1 down to -chunk, those from known + size - 1 down to -size.
        within = distances[before + chunk - known - size : before + chunk + size]
        parts.append(_mixed(attributes["heads"], tensors, (part, keys[:, seen], values[:, seen]), within))
    count = np.full(len(query), min(heard + frames, before), np.float32)
    kept = {"keys": keys[:, frames:].copy(), "values": values[:, frames:].copy(), "heard": count}
    return np.concatenate(parts, 1), kept


def _mixed(
    heads: int, tensors: Tensors, inputs: Sequence[Array], distances: Array, hidden: NDArray[np.bool_] | None = None
) -> Array:
    """[B, T, C] of queries [B, T, C], which are those of the last of S frames, and keys and values [B, S, C] of all.

    `distances` are what S - 1 down to -T come to, [S + T, C]; what is `hidden` [T, S] is not seen.
    """
    query, key, value = inputs
    batch, frames, channels = query.shape
    by_content, by_position, keys, values = (                                    # [B, heads, T or S, size]
        np.ascontiguousarray(x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2))
        for x in (query + tensors["content_bias"], query + tensors["position_bias"], key, value)
    )
    scores = by_content @ keys.swapaxes(2, 3)
    scores += _shifted(by_position @ distances.reshape(len(distances), heads, -1).transpose(1, 2, 0))
    scores *= np.float32((channels // heads) ** -0.5)
    if hidden is not None:
        scores[..., hidden] = -np.inf
    scores -= scores.max(-1, keepdims=True)
    shares = np.exp(scores, out=scores)
    shares /= shares.sum(-1, keepdims=True)
    mixed: Array = (shares @ values).swapaxes(1, 2).reshape(batch, frames, channels)
    return mixed


def _distances(position: Array, first: int, last: int) -> Array:
    """What the distances first - 1 down to -last come to [first + last, C]."""
    distances: Array = sinusoids(first, last, position.shape[1]) @ position.T
    return distances


def sinusoids(first: int, last: int, size: int) -> Array:
    """Sines and cosines in turn [first + last, size] of the distances first - 1 down to -last, each pair slower."""
    angles = np.arange(first - 1, -last - 1, -1)[:, None] * 10_000.0 ** (-np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(first + last, size).astype(np.float32)


def _shifted(scores: Array) -> Array:
    """Scores [..., T, S] of frame against frame, from [..., T, S + T] of frame against distance S - 1 to -T."""
    *leading, frames, width = scores.shape
    # Row t starts at distance t, one place earlier than the row above: a stride of one less walks along all of them.
    flat = scores.reshape(*leading, -1)[..., frames - 1 : frames - 1 + frames * (width - 1)]
    return flat.reshape(*leading, frames, width - 1)[..., : width - frames]
