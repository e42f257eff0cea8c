"""Noisy and clean speech on the fly: a mixture is first drawn as a plan, then rendered to waveforms.

Training draws a plan per index from the seed, so any step can be repeated; evaluation reads plans from a stored list,
so that every run scores the same mixtures. There is one renderer for both.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import scipy.signal
import soxr
from numpy.typing import NDArray

from sottovoce.data.plans import SHORTEST, Piece, fitted, joined, pieces_of, random_piece
from sottovoce.data.pool import RATE, Pool
from sottovoce.data.synthetic import SYNTHETIC, equalise, unit

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Mixing:
    """What mixtures are like."""

    seconds: float = 4.0                             # length of a training segment
    snr_db: tuple[float, float] = (-5.0, 10.0)       # drawn uniformly
    babble: float = 0.2                              # share of mixtures whose noise is babble
    talkers: tuple[int, int] = (6, 8)                # in a babble
    synthetic: float = 0.3                           # share whose noise is made from the seed
    second_noise: float = 0.25                       # share with another noise laid over the first
    room: float = 0.3                                # share of mixtures in a room
    speed: tuple[float, float] = (0.9, 1.1)          # of the speech; noise is sped by its square
    level_db: tuple[float, float] = (-10.0, 10.0)    # of the mixture, around RMS 1
    equalise: bool = True                            # random filters over speech and recorded noise

    def __post_init__(self) -> None:
        if not 0 < self.seconds <= 600:
            raise ValueError(f"seconds must be above 0 and at most 600, got {self.seconds}")
        for name in ("babble", "synthetic", "second_noise", "room"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share and must be 0..1, got {getattr(self, name)}")
        for name in ("snr_db", "talkers", "speed", "level_db"):
            low, high = getattr(self, name)
            if not -1e3 <= low <= high <= 1e3:
                raise ValueError(f"{name} must be (low, high), finite, got ({low}, {high})")
        if self.speed[0] < 0.1 or self.talkers[0] < 1:
            raise ValueError(f"speed must be at least 0.1 and talkers 1, got {self.speed} and {self.talkers}")


# Below this no voice is; what recordings of speech hold there is rumble, and no enhancer's aim.
RUMBLE_HZ = 60
_HIGH_PASS = scipy.signal.butter(4, RUMBLE_HZ, "highpass", fs=RATE, output="sos")

PLAIN = Mixing(babble=0.0, synthetic=0.0, second_noise=0.0, room=0.0, speed=(1, 1), level_db=(0, 0),
               equalise=False)       # what evaluation lists are drawn with


@dataclass(frozen=True)
class Noise:
    """One layer of noise: clips laid end to end, talkers laid over one another, or made from the seed."""

    kind: str                # recorded, babble, or a name of SYNTHETIC
    pieces: tuple[Piece, ...] = ()
    gain_db: float = 0.0     # against the other layers
    speed: float = 1.0


@dataclass(frozen=True)
class Mixture:
    """Everything needed to make one mixture again."""

    id: str
    seconds: float
    speech: tuple[Piece, ...]
    noises: tuple[Noise, ...]
    snr_db: float
    speed: float = 1.0
    room: str | None = None
    level_db: float = 0.0
    equalise: bool = False
    seed: int = 0

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Mixture":
        noises = tuple(Noise(**{**noise, "pieces": pieces_of(noise["pieces"])}) for noise in record["noises"])
        return cls(**{**record, "speech": pieces_of(record["speech"]), "noises": noises})


@dataclass(frozen=True)
class Mixer:
    """Draws and renders mixtures of these clips."""

    speech: Pool
    noise: Pool
    babble: Pool
    rooms: Pool | None
    settings: Mixing

    inputs: ClassVar[int] = 1            # of what is rendered, the first so many are given to the model

    def draw(self, seed: int, index: int) -> Mixture:
        """The plan number `index` of the endless sequence that `seed` starts."""
        rng = np.random.default_rng([seed, index])
        settings = self.settings
        speed = float(rng.uniform(*settings.speed))
        speech = fill(rng, self.speech, settings.seconds * speed)
        noises = [self._noise(rng)]
        if rng.random() < settings.second_noise:
            noises.append(replace(self._noise(rng), gain_db=float(rng.uniform(-10, 0))))
        in_room = rng.random() < settings.room
        return Mixture(
            id=f"{seed}-{index}",
            seconds=settings.seconds,
            speech=speech,
            noises=tuple(noises),
            snr_db=float(rng.uniform(*settings.snr_db)),
            speed=speed,
            room=self.rooms.draw(rng)[0] if in_room and self.rooms else None,
            level_db=float(rng.uniform(*settings.level_db)),
            equalise=settings.equalise,
            seed=int(rng.integers(2**31)),
        )

    def _noise(self, rng: np.random.Generator) -> Noise:
        settings = self.settings
        choice = rng.random()
        if choice < settings.babble:
            talkers = int(rng.integers(settings.talkers[0], settings.talkers[1] + 1))
            return Noise("babble", tuple(random_piece(rng, self.babble, settings.seconds) for _ in range(talkers)))
        if choice < settings.babble + settings.synthetic:
            return Noise(str(rng.choice(list(SYNTHETIC))))
        speed = float(rng.uniform(*settings.speed)) ** 2
        return Noise("recorded", fill(rng, self.noise, settings.seconds * speed), speed=speed)

    def render(self, mixture: Mixture) -> tuple[Array, Array]:
        """Noisy and clean waveforms [samples] of a plan, the noisy one at RMS 1 before its level is applied."""
        rng = np.random.default_rng(mixture.seed)
        samples = round(mixture.seconds * RATE)
        spoken = scipy.signal.sosfilt(_HIGH_PASS, joined(self.speech, mixture.speech)).astype(np.float32)
        clean = unit(fitted(sped(spoken, mixture.speed), samples))
        if mixture.equalise:
            clean = unit(equalise(rng, clean))
        if mixture.room is not None and self.rooms is not None:
            clean = unit(_reverberant(clean, self.rooms.read(mixture.room, 0, 10)))
        noise = np.zeros(samples, np.float32)
        for layer in mixture.noises:
            noise += np.float32(10 ** (layer.gain_db / 20)) * unit(self._layer(rng, layer, mixture, samples))
        noisy = clean + unit(noise) * np.float32(10 ** (-mixture.snr_db / 20))
        rms = float(np.sqrt(np.mean(np.square(noisy, dtype=np.float64))))
        gain = np.float32(10 ** (mixture.level_db / 20) / max(rms, 1e-8))
        return noisy * gain, clean * gain

    def _layer(self, rng: np.random.Generator, layer: Noise, mixture: Mixture, samples: int) -> Array:
        if layer.kind in SYNTHETIC:
            return SYNTHETIC[layer.kind](rng, samples, RATE)
        if layer.kind == "babble":
            talkers = [unit(fitted(joined(self.babble, (piece,)), samples)) for piece in layer.pieces]
            together: Array = np.sum([talker * np.float32(rng.uniform(0.5, 1)) for talker in talkers], axis=0)
            return together
        wave = fitted(sped(joined(self.noise, layer.pieces), layer.speed), samples)
        return equalise(rng, wave) if mixture.equalise else wave


def fill(rng: np.random.Generator, pool: Pool, seconds: float) -> tuple[Piece, ...]:
    """Pieces laid end to end, all of one speaker or class, until they last `seconds`."""
    pieces = [random_piece(rng, pool, seconds)]
    group = pool.groups[pool.index[pieces[0].clip]]
    while (left := seconds - sum(piece.seconds for piece in pieces)) > SHORTEST:
        pieces.append(random_piece(rng, pool, left, group))
    return tuple(pieces)


def sped(wave: Array, speed: float) -> Array:
    """The wave so many times as fast, and higher."""
    return wave if speed == 1 else soxr.resample(wave, RATE * speed, RATE, quality="LQ")


def _reverberant(clean: Array, room: Array) -> Array:
    """Speech in a room, the direct sound where it was, so that noisy and clean stay aligned."""
    direct = int(np.argmax(np.abs(room)))
    wet: Array = scipy.signal.oaconvolve(clean, room[direct:])[: len(clean)].astype(np.float32)
    return wet
