"""Hidden Markov models of phones in context: which tied states (senones) each has, as pocketsphinx' models define."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import DataError

Integers = NDArray[np.int64]
PLACES = INNER, FIRST, LAST, ALONE = 0, 1, 2, 3      # of a phone in its word
BEGINS, ENDS = (FIRST, ALONE), (LAST, ALONE)
MAGIC = b"BMDF"
HEAD = struct.Struct("<10i")                         # counts of what follows, and the phone of silence
PHONE = np.dtype([("sequence", "<i4"), ("matrix", "<i4"), ("context", "u1", 4)])     # place, phone, left and right


@dataclass(frozen=True)
class Hmms:
    """The senones of every phone in every context. Silence is a phone too, the same in all of them."""

    phones: tuple[str, ...]
    silence: int
    senones: Integers                # [place, phone, left, right, 3], in the order in which they are gone through
    kinds: tuple[str, ...]           # [senones]: the phone that each is in, and whether at its start, middle or end

    def of(self, phones: Sequence[str]) -> tuple[Integers, Integers]:
        """Senones of these phones [place, phone, left, right, 3] and of silence [3]; its context comes last."""
        chosen = [self.phones.index(phone) for phone in phones]
        around = [*chosen, self.silence]
        beside = self.senones[:, chosen][:, :, around][:, :, :, around]
        return beside, self.senones[INNER, self.silence, self.silence, self.silence]


def read_hmms(path: Path) -> Hmms:
    """Those of a binary model definition (mdef). Raises DataError for any other file.

    What is not defined is found as pocketsphinx does: in another place of a word, then beside silence, then without a
    context. Source: pocketsphinx, bin_mdef.c.
    """
    try:
        raw = path.read_bytes()
        if raw[: len(MAGIC)] != MAGIC:
            raise DataError(f"{path}: expected a binary model definition of pocketsphinx, got something else")
        return _read(raw)
    except OSError as error:
        raise DataError(f"{path}: expected a model definition, got: {error.strerror}") from None
    except (ValueError, IndexError, struct.error) as error:
        raise DataError(f"{path}: expected a model definition, got damaged data ({error})") from None


def _read(raw: bytes) -> Hmms:
    at = 12 + int.from_bytes(raw[8:12], "little")                    # behind a description of the format
    count, defined, _, _, senones, _, sequences, _, tree, silence = HEAD.unpack_from(raw, at)
    names = raw[at + HEAD.size :].split(b"\0", count)[:count]
    at += -(-(HEAD.size + sum(len(name) + 1 for name in names)) // 4) * 4 + 8 * tree
    table = np.frombuffer(raw, PHONE, defined, at)
    at += PHONE.itemsize * defined + 4
    of_sequence = np.frombuffer(raw, "<u2", 3 * sequences, at).reshape(-1, 3).astype(np.int64)
    plain, within = table[:count], table[count:]
    place, phone, left, right = within["context"].T
    found = np.full((len(PLACES), count, count, count), -1)
    found[place, phone, left, right] = within["sequence"]
    filler = plain["context"][:, 0] > 0
    for other in PLACES:
        found = np.where(found < 0, found[other], found)
    for here, beside in enumerate(found.copy()):
        lefts, rights = (np.where(filler | (here in edge), silence, range(count)) for edge in (BEGINS, ENDS))
        found[here] = np.where(beside < 0, beside[:, lefts][:, :, rights], beside)
    found = np.where(found < 0, plain["sequence"][:, None, None], found)
    found[:, filler] = plain["sequence"][filler, None, None]
    phones = [name.decode() for name in names]
    kinds = [""] * senones
    for codes, base in zip(of_sequence[table["sequence"]].tolist(), [*range(count), *phone.tolist()], strict=True):
        for part, code in enumerate(codes):
            kinds[code] = f"{phones[base]}.{part}"
    return Hmms(tuple(phones), silence, of_sequence[found], tuple(kinds))
