"""What is said in audio files, by a model that gives log probabilities of symbols: greedy, a whole file at once.

The memory grows with the length of a file.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from sottovoce.runtime.reference import Array

BLANK = "<blk>"                    # symbol 0
WORD = "\N{LOWER ONE EIGHTH BLOCK}"      # U+2581


def greedy(log_probabilities: Array) -> list[int]:
    """The symbols of the best path through [frames, symbols]: repeats are one, blanks (0) none."""
    best = log_probabilities.argmax(axis=-1)
    new = np.diff(best, prepend=0) != 0
    return [int(code) for code in best[new] if code]


def text_of(codes: Iterable[int], symbols: Sequence[str]) -> str:
    """Codes as text: a word, or a phone, begins with the mark U+2581."""
    return "".join(symbols[code] for code in codes).replace(WORD, " ").strip()
