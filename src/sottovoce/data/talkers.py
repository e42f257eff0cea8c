"""Two talkers at once and a sample of one's voice: first drawn as a plan, then rendered, as in `mixing`."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sottovoce.data.plans import SHORTEST, Piece, fitted, joined, pieces_of, stretch
from sottovoce.data.pool import Pool
from sottovoce.errors import DataError
from sottovoce.runtime.voice import LEAST_SECONDS, span, voice_sample

Array = NDArray[np.float32]
Rng = np.random.Generator


@dataclass(frozen=True)
class TalkerMixing:
    """What mixtures of two talkers are like; the defaults are the published ones."""

    seconds: float = 4.0                 # length of a mixture; a shorter utterance is continued by silence
    enrolment_seconds: float = 4.0       # length of the sample of the voice; a shorter one is repeated
    gain_db: float = 2.5                 # one talker is louder by up to this, the other as much weaker

    def __post_init__(self) -> None:
        for name in ("seconds", "enrolment_seconds"):
            if not 0 < getattr(self, name) <= 600:
                raise ValueError(f"{name} must be above 0 and at most 600, got {getattr(self, name)}")
        if not 0 <= self.gain_db <= 100:
            raise ValueError(f"gain_db must be 0..100, got {self.gain_db}")


@dataclass(frozen=True)
class TalkerMixture:
    """Everything needed to make one mixture and the enrolment of one of its talkers again."""

    id: str
    seconds: float
    enrolment_seconds: float
    target: Piece
    other: Piece
    enrolment: tuple[Piece, ...]         # of the target's speaker, nothing that is mixed
    gain_db: float                       # of the target; the other has it with the other sign

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "TalkerMixture":
        parts = {name: Piece(**record[name]) for name in ("target", "other")}
        return cls(**{**record, **parts, "enrolment": pieces_of(record["enrolment"])})


@dataclass(frozen=True)
class TalkerMixer:
    """Draws and renders mixtures of two speakers of a pool, at its rate. Raises DataError if it has no two."""

    speech: Pool
    settings: TalkerMixing

    inputs: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if len(self.speech.members) < 2:
            raise DataError(f"speech: expected at least 2 speakers, got {len(self.speech.members)}")
        if not self._targets:
            raise DataError(
                f"speech: expected a speaker with {LEAST_SECONDS:g} s to mix and {LEAST_SECONDS:g} s of other speech"
                f" for the enrolment, got none among {len(self.speech.members)}"
            )

    @cached_property
    def targets(self) -> Pool:
        """The clips that a target may be drawn from."""
        return Pool(self.speech.cuts[place] for place in self._targets)

    def draw(self, seed: int, index: int) -> TalkerMixture:
        """The plan number `index` of the endless sequence that `seed` starts."""
        rng = np.random.default_rng([seed, index])
        clip, speaker, _ = self.targets.draw(rng)
        target, enrolment = self._parted(rng, clip)
        other = stretch(rng, *_clip_of_another(rng, self.speech, speaker), self.settings.seconds)
        return self._plan(f"{seed}-{index}", target, other, enrolment, self._gain(rng))

    def draw_both(self, seed: int, index: int) -> tuple[TalkerMixture, TalkerMixture]:
        """One mixture as two plans, each talker once the target. Raises DataError if only one can be."""
        if len(self.targets.members) < 2:
            raise DataError("speech: expected at least 2 speakers with enough speech to be a target, got 1")
        rng = np.random.default_rng([seed, index])
        clip, speaker, _ = self.targets.draw(rng)
        first, first_enrolment = self._parted(rng, clip)
        second, second_enrolment = self._parted(rng, _clip_of_another(rng, self.targets, speaker)[0])
        gain_db = self._gain(rng)
        return (
            self._plan(f"{index:03d}-a", first, second, first_enrolment, gain_db),
            self._plan(f"{index:03d}-b", second, first, second_enrolment, -gain_db),
        )

    def render(self, mixture: TalkerMixture) -> tuple[NDArray[Any], ...]:
        """Mixture, enrolment, target and other talker [samples], and the `span` [2] of the target's speech."""
        rate = self.speech.rate
        samples = round(mixture.seconds * rate)
        target = self._talker(mixture.target, mixture.gain_db, samples)
        other = self._talker(mixture.other, -mixture.gain_db, samples)
        enrolment = voice_sample(joined(self.speech, mixture.enrolment), rate)
        repeated = np.resize(enrolment, round(mixture.enrolment_seconds * rate))
        return target + other, repeated, target, other, np.array(span(target, rate))

    def _talker(self, piece: Piece, gain_db: float, samples: int) -> Array:
        wave = joined(self.speech, (piece,))
        wave = wave - wave.mean(dtype=np.float64).astype(np.float32)
        gain = np.float32(10 ** (gain_db / 20)) / np.abs(wave).max(initial=1e-8)
        return fitted(wave * gain, samples)

    def _plan(self, name: str, target: Piece, other: Piece, enrolment: tuple[Piece, ...],
              gain_db: float) -> TalkerMixture:
        settings = self.settings
        return TalkerMixture(name, settings.seconds, settings.enrolment_seconds, target, other, enrolment, gain_db)

    def _gain(self, rng: Rng) -> float:
        return float(rng.uniform(-self.settings.gain_db, self.settings.gain_db))

    @cached_property
    def _targets(self) -> list[int]:
        """Places of the clips that a target may be drawn from: enough to mix, and enough else to know the voice by."""
        to_mix, to_know = (min(LEAST_SECONDS, asked) for asked in self._asked)
        parts = map(self._parts, range(len(self.speech.cuts)))
        return [place for place, (mixed, known) in enumerate(parts) if mixed >= to_mix and known >= to_know]

    @property
    def _asked(self) -> tuple[float, float]:
        """Seconds to be mixed, and of the enrolment."""
        return self.settings.seconds, self.settings.enrolment_seconds

    def _parts(self, place: int) -> tuple[float, float]:
        """Seconds there are to mix of a clip, and for the enrolment: in other clips, or else in a part of this one."""
        length = float(self.speech.seconds[place])
        if (beside := self._totals[self.speech.groups[place]] - length) >= LEAST_SECONDS:
            return length, beside
        share = min(1.0, length / sum(self._asked))
        to_mix, to_know = (_milliseconds(share * asked) for asked in self._asked)
        return to_mix, to_know

    @cached_property
    def _totals(self) -> dict[str, float]:
        """Seconds of every speaker."""
        return {name: float(self.speech.seconds[places].sum()) for name, places in self.speech.members.items()}

    def _parted(self, rng: Rng, clip: str) -> tuple[Piece, tuple[Piece, ...]]:
        """What is mixed of a clip, and other speech of its speaker for the enrolment."""
        place = self.speech.index[clip]
        length = float(self.speech.seconds[place])
        to_mix, to_know = self._parts(place)
        if to_mix == length:                     # all of it: the enrolment comes from other clips
            others = self.speech.members[self.speech.groups[place]]
            return stretch(rng, clip, length, self.settings.seconds), self._enrolment(rng, others[others != place])
        left = max(0.0, length - to_mix - to_know)
        before, between = map(_milliseconds, sorted(rng.uniform(0, left, 2)))
        if rng.random() < 0.5:
            return Piece(clip, before, to_mix), (Piece(clip, to_mix + between, to_know),)
        return Piece(clip, to_know + between, to_mix), (Piece(clip, before, to_know),)

    def _enrolment(self, rng: Rng, places: NDArray[np.int64]) -> tuple[Piece, ...]:
        """Stretches of these clips until they last as long as asked, or there are no more."""
        pieces: list[Piece] = []
        for place in rng.permutation(places):
            left = self.settings.enrolment_seconds - sum(piece.seconds for piece in pieces)
            if left < SHORTEST:
                break
            pieces.append(stretch(rng, self.speech.cuts[place].id, float(self.speech.seconds[place]), left))
        return tuple(pieces)


def _clip_of_another(rng: Rng, pool: Pool, speaker: str) -> tuple[str, float]:
    """A clip, and its seconds, of a speaker other than that one."""
    while True:
        clip, drawn, length = pool.draw(rng)
        if drawn != speaker:
            return clip, length


def _milliseconds(seconds: float) -> float:
    """Rounded down to whole ones, which are whole samples: parts of a clip then share none."""
    return float(np.floor(seconds * 1000) / 1000)
