"""Attention over frames with relative positions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Values [B, T, C] mixed across frames, in heads, by how queries [B, T, C] meet keys and their distances.

    A frame sees `left` frames before it and `right` after it, -1 for all. With a `chunk` of so many frames, not 0, it
    sees its whole chunk and `left` frames before that. Scores are those of Dai et al. 2019 (Transformer-XL), section
    3.3, with sinusoids of `waves` values for the distance, C if it is None.
    """

    def __init__(self, channels: int, heads: int, left: int = -1, right: int = -1, waves: int | None = None,
                 chunk: int = 0) -> None:
        super().__init__()
        self.heads, self.left, self.right, self.chunk = heads, left, right, chunk
        self.position = nn.Parameter(torch.empty(channels, waves or channels))   # W_kR
        self.content_bias = nn.Parameter(torch.zeros(channels))                  # u
        self.position_bias = nn.Parameter(torch.zeros(channels))                 # v
        nn.init.xavier_uniform_(self.position)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        batch, frames, channels = query.shape
        size = channels // self.heads
        by_content, by_position = (
            self.in_heads(query + bias) for bias in (self.content_bias, self.position_bias)
        )                                                                        # [B, heads, T, size]
        keys, values = self.in_heads(key), self.in_heads(value)
        distances = F.linear(sinusoids(frames, self.position), self.position)    # [2 T, C], of T - 1 down to -T
        distances = distances.reshape(-1, self.heads, size).permute(1, 2, 0)     # [heads, size, 2 T]
        scores = shifted(by_position @ distances) * size**-0.5                   # [B, heads, T, T]
        scores = scores.masked_fill(self.hidden(frames, query.device), -torch.inf).to(by_content.dtype)
        mixed = F.scaled_dot_product_attention(by_content, keys.to(by_content), values.to(by_content), scores)
        return mixed.transpose(1, 2).reshape(batch, frames, channels)

    def in_heads(self, x: Tensor) -> Tensor:
        """[B, heads, T, size] of [B, T, C]."""
        return x.reshape(*x.shape[:2], self.heads, x.shape[2] // self.heads).transpose(1, 2)

    def hidden(self, frames: int, device: torch.device) -> Tensor:
        """Which frames [T, T] (of the query, of the key) a frame does not see."""
        steps = torch.arange(frames, device=device)
        if self.chunk:
            ahead = steps - (steps // self.chunk * self.chunk)[:, None]          # of the first of the chunk
            return (ahead < -self.left) | (ahead >= self.chunk)
        ahead = steps - steps[:, None]
        none = torch.zeros_like(ahead, dtype=torch.bool)
        before = none if self.left < 0 else ahead < -self.left
        return before if self.right < 0 else before | (ahead > self.right)


def sinusoids(frames: int, like: Tensor) -> Tensor:
    """Sines and cosines in turn [2 T, C] of the distances T - 1 down to -T, each pair slower, for `like` [any, C]."""
    size = like.shape[1]
    speeds = 10_000 ** (-torch.arange(0, size, 2, device=like.device, dtype=torch.float64) / size)
    angles = torch.arange(frames - 1, -frames - 1, -1, device=like.device, dtype=torch.float64)[:, None] * speeds
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1).to(like.dtype)


def shifted(scores: Tensor) -> Tensor:
    """Scores [..., T, T] of frame against frame, from [..., T, 2 T] of frame against distance T - 1 to -T."""
    frames = scores.shape[-2]
    # Row t starts at distance t, one place earlier than the row above: a stride of one less walks along all of them.
    flat = scores.flatten(-2)[..., frames - 1 : frames - 1 + frames * (2 * frames - 1)]
    return flat.reshape(*scores.shape[:-1], 2 * frames - 1)[..., :frames]
