"""Where words, phones and their states are in a recording of which the words are known: forced alignment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.vocabulary import PHONES, Phones
from sottovoce.errors import DataError

RATE = 16_000                        # Hz, of the model


@dataclass(frozen=True)
class Aligned:
    """What a recording is made of from its beginning to its end: names, and how many frames of 10 ms each lasts.

    Silences are words and phones too. The states are senones of pocketsphinx' English model, three to a phone.
    """

    words: list[tuple[str, int]]
    phones: list[tuple[str, int]]
    senones: list[tuple[int, int]]


class Aligner:
    """Aligns recordings with pocketsphinx' English model and its dictionary."""

    def __init__(self) -> None:
        self._vocabulary = Phones()
        self._start()

    def aligned(self, waveform: NDArray[np.float32], words: Sequence[str]) -> Aligned:
        """The best way through a waveform [samples] at 16 kHz for words that the vocabulary of phones knows.

        Raises DataError where there is none.
        """
        samples = np.clip(np.asarray(waveform) * 32768, -32768, 32767).round().astype(np.int16).tobytes()
        if not samples:
            raise DataError("expected a recording to align, got an empty one")
        for word in words:
            if self._decoder.lookup_word(word) is None:
                phones = " ".join(PHONES[code - 1] for code in self._vocabulary.codes([word]))
                self._decoder.add_word(word, phones, True)
        try:
            self._decoder.set_align_text(" ".join(words))
            self._hear(samples)                      # finds the words, and how they are spoken
            self._decoder.set_alignment()
            self._hear(samples)                      # finds their phones and states
            return self._found(words)
        except RuntimeError:
            self._start()                            # one that has failed does not align the next
            raise DataError("the words are not heard in it") from None

    def _start(self) -> None:
        from pocketsphinx import Decoder

        # The best path through its lattice would have words that are too short for their states.
        self._decoder = Decoder(lm=None, bestpath=False, loglevel="FATAL")

    def _hear(self, samples: bytes) -> None:
        self._decoder.start_utt()
        self._decoder.process_raw(samples, full_utt=True)
        self._decoder.end_utt()

    def _found(self, said: Sequence[str]) -> Aligned:
        found, at = Aligned([], [], []), 0
        for word in self._decoder.get_alignment() or ():             # its parts live as long as the one that is at hand
            found.words.append((word.name, word.duration))
            for phone in word:
                found.phones.append((phone.name, phone.duration))
                for state in phone:
                    if state.start != at:
                        raise RuntimeError(f"expected a state that begins at frame {at}, got {state.start}")
                    found.senones.append((int(state.name), state.duration))
                    at += state.duration
        heard = [name.partition("(")[0] for name, _ in found.words if name[0] not in "<["]
        if heard != [*said]:
            raise RuntimeError(f"expected {said}, got {heard}")
        return found
