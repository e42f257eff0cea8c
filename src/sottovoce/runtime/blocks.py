"""Sound as a flow of blocks: resampled, enhanced, mixed with what came in, and never held as a whole."""

from collections.abc import Iterable, Iterator
from itertools import tee

import numpy as np
import soxr

from sottovoce.errors import SottovoceError
from sottovoce.runtime.reference import Array
from sottovoce.runtime.surface import AnySession


def enhanced_share(wet: float, attenuation_limit_db: float | None) -> float:
    """The share of the enhanced signal in the output; the rest is the input as it came.

    Of the input, 1 - `wet` is kept. Under a limit of L dB, 10^(-L / 20) of the input is left in the enhanced
    signal, so that what the model takes away entirely becomes L dB weaker and no more; 0 dB gives back the
    input.
    Raises SottovoceError unless 0 <= wet <= 1 and the limit is not negative.
    """
    if not 0 <= wet <= 1:
        raise SottovoceError(f"wet: expected a share in 0..1, got {wet}")
    if attenuation_limit_db is None:
        return wet
    if not attenuation_limit_db >= 0:
        raise SottovoceError(f"attenuation limit: expected 0 dB or more, got {attenuation_limit_db}")
    return wet * (1 - 10 ** (-attenuation_limit_db / 20))


def enhance_blocks(session: AnySession, blocks: Iterable[Array], rate: int, share: float) -> Iterator[Array]:
    """Enhanced blocks for blocks [frames, channels] at `rate` Hz, of the same sizes and aligned with them.

    Each channel is enhanced on its own. Above half the model's sample rate the output holds only the
    unenhanced `1 - share` of the input: the model cannot clean that band, and its noise would remain. Raises
    SottovoceError for a model that gives features.
    """
    if session.features:
        raise SottovoceError("expected a model whose output is a waveform, got one that gives features")
    dry, noisy = tee(blocks)
    at_model = resampled(noisy, rate, session.sample_rate)
    enhanced = (block.T for block in session.stream(np.ascontiguousarray(block.T) for block in at_model))
    wet = Tap(resampled(enhanced, session.sample_rate, rate))
    for block in dry:
        yield np.float32(share) * wet.draw(block) + np.float32(1 - share) * block


class Tap:
    """Draws as much as it is asked from blocks [any, channels]; zeros follow when they have ended."""

    def __init__(self, blocks: Iterator[Array]) -> None:
        self.blocks = blocks
        self.held: Array | None = None

    def draw(self, like: Array) -> Array:
        """The next samples, of the shape of `like` [frames, channels]."""
        parts = [] if self.held is None else [self.held]
        missing = len(like) - sum(map(len, parts))
        while missing > 0:
            part = next(self.blocks, None)
            parts.append(np.zeros((missing, like.shape[1]), np.float32) if part is None else part)
            missing -= len(parts[-1])
        drawn = np.concatenate(parts)
        self.held = drawn[len(like) :]
        return drawn[: len(like)]


def resampled(blocks: Iterable[Array], rate: int, wanted: int) -> Iterator[Array]:
    """Blocks [any, channels] at `wanted` Hz for blocks at `rate` Hz, aligned with them."""
    if rate == wanted:
        yield from blocks
        return
    stream, channels = None, 0
    for block in blocks:
        if stream is None:
            channels = block.shape[1]
            stream = soxr.ResampleStream(rate, wanted, channels, dtype="float32")
        yield stream.resample_chunk(np.ascontiguousarray(block))
    if stream is not None:
        yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True)
