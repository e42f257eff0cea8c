"""Attention over frames with relative positions."""

from collections.abc import Sequence

import numpy as np

from sottovoce.runtime.operation import Array, Attributes, Outcome, State, Tensors, expect


def attention(attributes: Attributes, tensors: Tensors, inputs: Sequence[Array], state: State) -> Outcome:
    """Values [B, T, C] mixed across frames, in heads, by how queries [B, T, C] meet keys and their distances.

    A frame sees `before` frames before it and `after` after it, all where they are not given. Scores are those of
    Dai et al. 2019 (Transformer-XL), section 3.3.
    """
    query, key, value = inputs
    position, heads = tensors["position"], attributes["heads"]
    channels = len(position)
    for x in inputs:
        fits = x.shape == query.shape and x.shape[2:] == (channels,)
        expect(fits, f"attention of {channels} channels over values {x.shape}")
    frames = query.shape[1]
    if not frames:
        return value, {}
    by_content, by_position, keys, values = (                                    # [B, heads, T, size]
        np.ascontiguousarray(x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2))
        for x in (query + tensors["content_bias"], query + tensors["position_bias"], key, value)
    )
    distances = (_sinusoids(frames, position.shape[1]) @ position.T).reshape(2 * frames, heads, -1)
    scores = by_content @ keys.swapaxes(2, 3)
    scores += _shifted(by_position @ distances.transpose(1, 2, 0))
    scores *= np.float32((channels // heads) ** -0.5)
    steps = np.arange(frames)
    ahead = steps - steps[:, None]
    scores[..., (ahead < -attributes.get("before", frames)) | (ahead > attributes.get("after", frames))] = -np.inf
    scores -= scores.max(-1, keepdims=True)
    shares = np.exp(scores, out=scores)
    shares /= shares.sum(-1, keepdims=True)
    return (shares @ values).swapaxes(1, 2).reshape(value.shape), {}


def _sinusoids(frames: int, size: int) -> Array:
    """Sines and cosines in turn [2 T, size] of the distances T - 1 down to -T, each pair slower."""
    angles = np.arange(frames - 1, -frames - 1, -1)[:, None] * 10_000.0 ** (-np.arange(0, size, 2) / size)
    return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(2 * frames, size).astype(np.float32)


def _shifted(scores: Array) -> Array:
    """Scores [..., T, T] of frame against frame, from [..., T, 2 T] of frame against distance T - 1 to -T."""
    *leading, frames, _ = scores.shape
    # Row t starts at distance t, one place earlier than the row above: a stride of one less walks along all of them.
    flat = scores.reshape(*leading, -1)[..., frames - 1 : frames - 1 + frames * (2 * frames - 1)]
    return flat.reshape(*leading, frames, 2 * frames - 1)[..., :frames]
