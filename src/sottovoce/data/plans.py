"""What plans of mixtures are made of, stretches of clips, and the lists of plans that are kept on disk."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.pool import Pool
from sottovoce.errors import DataError
from sottovoce.files import write_text

Array = NDArray[np.float32]
SHORTEST = 0.05              # seconds that are worth a piece of their own


@dataclass(frozen=True)
class Piece:
    """A stretch of a clip."""

    clip: str
    start: float             # seconds into the clip
    seconds: float           # as read, before any change of speed


def pieces_of(records: Iterable[dict[str, Any]]) -> tuple[Piece, ...]:
    """Pieces from their JSON values."""
    return tuple(Piece(**record) for record in records)


def random_piece(rng: np.random.Generator, pool: Pool, seconds: float, group: str | None = None) -> Piece:
    """A random stretch, at most `seconds` long, of a random clip."""
    clip, _, length = pool.draw(rng, group)
    return stretch(rng, clip, length, seconds)


def stretch(rng: np.random.Generator, clip: str, length: float, seconds: float) -> Piece:
    """A random stretch, at most `seconds` long, of a clip of that length in seconds."""
    taken = min(seconds, length)
    return Piece(clip, float(rng.uniform(0, length - taken)), taken)


def joined(pool: Pool, pieces: Sequence[Piece]) -> Array:
    """The samples of the pieces, end to end."""
    return np.concatenate([pool.read(piece.clip, piece.start, piece.seconds) for piece in pieces])


def fitted(wave: Array, samples: int) -> Array:
    """The wave cut, or continued by silence, to so many samples."""
    return np.pad(wave[:samples], (0, max(0, samples - len(wave))))


class Plan(Protocol):
    """A dataclass with everything needed to make one mixture again, which comes back from its JSON values."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def id(self) -> str: ...

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Self: ...


Kind = TypeVar("Kind", bound=Plan)


def write_list(path: Path, mixtures: Iterable[Plan]) -> None:
    """Store plans as JSON, one a line."""
    write_text(path, "".join(json.dumps(asdict(mixture)) + "\n" for mixture in mixtures))


def read_list(path: Path, kind: type[Kind]) -> list[Kind]:
    """The plans stored at `path`. Raises DataError with the line that is not one."""
    if not path.is_file():
        raise DataError(f"{path}: no such list of mixtures")
    mixtures = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            mixtures.append(kind.from_json(json.loads(line)))
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path}, line {number}: not the plan of a mixture ({error})") from None
    return mixtures
