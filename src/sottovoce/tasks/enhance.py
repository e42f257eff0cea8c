"""Speech enhancement: noisy waveforms in, clean ones out."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.data.batches import Batch, mixture_batches
from sottovoce.data.corpora import load_corpus
from sottovoce.data.mixing import PLAIN, Mixer, Mixing, Mixture, read_list, write_list
from sottovoce.data.pool import RATE, Pool
from sottovoce.errors import DataError, RecipeError
from sottovoce.metrics.scoring import score

Split = Literal["dev", "test"]
Where = Mapping[str, Any]
Array = NDArray[np.float32]
LossOn = Literal["compressed", "magnitude", "spectrum", "ideal_ratio", "waveform"]
MOST_DB = 40.0           # a ratio of signal to noise that is as good as any
METRICS = ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "dnsmos")


@dataclass(frozen=True)
class Corpus:
    """A corpus and which of its clips to take."""

    path: Path
    where: Where = field(default_factory=dict)           # field of the manifest -> value(s); "!value" excludes


@dataclass(frozen=True)
class Evaluation:
    """A fixed list of mixtures; drawn from the seed and written to its file when that is not there yet."""

    plans: Path                                          # the list, JSON, one mixture a line
    speech: Corpus
    noise: Corpus
    snr_db: tuple[float, ...] = (0.0, 5.0, 10.0)
    per_snr: int = 20
    seconds: float = 4.0
    babble: float = 0.0                                  # share of the mixtures whose noise is babble
    seed: int = 1
    metrics: tuple[str, ...] = METRICS

    def __post_init__(self) -> None:
        if not self.snr_db or not all(map(math.isfinite, self.snr_db)):
            raise ValueError(f"snr_db: expected at least one finite number, got {self.snr_db}")
        if self.per_snr < 1:
            raise ValueError(f"per_snr must be at least 1, got {self.per_snr}")
        _ = self.settings        # refuses what cannot be drawn
        for metric in self.metrics:
            if metric not in METRICS:
                raise ValueError(f"metrics: unknown {metric!r}; there are: {', '.join(METRICS)}")

    @cached_property
    def mixtures(self) -> list[Mixture]:
        """The plans, as stored."""
        if not self.plans.is_file():
            write_list(self.plans, self._drawn())
        return read_list(self.plans)

    @property
    def settings(self) -> Mixing:
        """How the mixtures are drawn."""
        return replace(PLAIN, seconds=self.seconds, babble=self.babble)

    @cached_property
    def mixer(self) -> Mixer:
        speech = _pool(self.speech, "speaker")
        return Mixer(speech, _pool(self.noise, "class"), speech, None, self.settings)

    @cached_property
    def waveforms(self) -> list[tuple[Array, Array]]:
        """Noisy and clean waveform of every mixture. Raises DataError when the list is of another corpus."""
        try:
            return [self.mixer.render(mixture) for mixture in self.mixtures]
        except DataError as error:
            raise DataError(f"{self.plans}: {error}; remove the list to have it drawn anew") from None

    def _drawn(self) -> list[Mixture]:
        return [
            replace(self.mixer.draw(self.seed, number), id=f"{snr:g}dB-{number:03d}", snr_db=snr)
            for number, snr in enumerate(snr for snr in self.snr_db for _ in range(self.per_snr))
        ]


@dataclass(frozen=True)
class Enhance:
    """The data, loss and metrics of speech enhancement."""

    speech: Corpus                                       # clean speech to train on
    noise: Corpus
    babble: Corpus | None = None                         # talkers of the babble; the speech itself if not given
    rooms: Corpus | None = None                          # room impulse responses
    mixing: Mixing = field(default_factory=Mixing)
    batch: int = 16                                      # mixtures a step
    workers: int = 1                                     # processes that make batches
    loss_on: LossOn = "compressed"
    snr_weight: float = 0.0                              # in the loss, of each dB that the waveform is short of 40
    dev: Evaluation | None = None                        # scored after every stage
    test: Evaluation | None = None                       # scored at the end

    name: ClassVar[str] = "enhance"
    sample_rate: ClassVar[int] = RATE

    def __post_init__(self) -> None:
        if not self.snr_weight >= 0:
            raise ValueError(f"snr_weight must not be negative, got {self.snr_weight}")
        if self.batch < 1 or self.workers < 0:
            raise ValueError(f"batch must be at least 1 and workers at least 0, got {self.batch} and {self.workers}")

    @cached_property
    def mixer(self) -> Mixer:
        speech, noise = _pool(self.speech, "speaker"), _pool(self.noise, "class")
        babble = speech if self.babble is None else _pool(self.babble, "speaker")
        return Mixer(speech, noise, babble, None if self.rooms is None else _pool(self.rooms, "room"), self.mixing)

    def batches(self, seed: int, start: int, stride: int = 1) -> Iterator[Batch]:
        return mixture_batches(self.mixer, seed, size=self.batch, start=start, stride=stride, workers=self.workers)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Distance on what `loss_on` names, and `snr_weight` times the decibels that the output is short of 40."""
        return self._distance(outputs, batch.targets[0], batch.inputs[0])

    def imitation(self, outputs: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """The same distance, to the teacher's output."""
        return self._distance(outputs, teacher, batch.inputs[0])

    def _distance(self, estimate: Tensor, reference: Tensor, mixture: Tensor) -> Tensor:
        distance = squared_error(estimate, reference, mixture, self.loss_on)
        if self.snr_weight == 0:
            return distance
        return distance + self.snr_weight * (MOST_DB - signal_to_noise(estimate, reference))

    @property
    def has_test(self) -> bool:
        return self.test is not None

    def evaluation(self, split: Split) -> Evaluation:
        """The list of that name. Raises RecipeError when the recipe has none."""
        evaluation = self.dev if split == "dev" else self.test
        if evaluation is None:
            raise RecipeError(f"task: expected a table [task.{split}] with the mixtures to score, got none")
        return evaluation

    def fixed(self, split: Split) -> Iterator[Batch]:
        """The mixtures of a list as batches."""
        waveforms = self.evaluation(split).waveforms
        for first in range(0, len(waveforms), self.batch):
            group = waveforms[first : first + self.batch]
            noisy, clean = (torch.from_numpy(np.stack(waves)) for waves in zip(*group, strict=True))
            yield Batch((noisy,), (clean,))

    def scores(self, model: Callable[[Array], Array] | None, split: Split) -> list[dict[str, float]]:
        """The metrics of every mixture of a list, its waveform [samples] enhanced, or as it is without a model.

        Empty for a dev list that the recipe does not have.
        """
        if split == "dev" and self.dev is None:
            return []
        evaluation = self.evaluation(split)
        pairs = (
            (mixture.id, noisy if model is None else model(noisy), clean)
            for mixture, (noisy, clean) in zip(evaluation.mixtures, evaluation.waveforms, strict=True)
        )
        return score(pairs, evaluation.metrics)

    def groups(self, split: Split) -> list[str]:
        """What each mixture of a list is grouped by in tables: its signal-to-noise ratio."""
        return [f"{mixture.snr_db:g} dB" for mixture in self.evaluation(split).mixtures]

    def check(self) -> Iterator[str]:
        """What there is to train on and to score, in words. Raises DataError where there is nothing."""
        mixer = self.mixer
        for name, pool in (("speech", mixer.speech), ("noise", mixer.noise), ("babble", mixer.babble)):
            yield f"{name}: {len(pool.cuts)} clips, {pool.seconds.sum() / 3600:.2f} h, {len(pool.members)} groups"
        for split, evaluation in (("dev", self.dev), ("test", self.test)):
            if evaluation is not None:
                yield f"{split}: {len(evaluation.mixtures)} mixtures of {len(evaluation.mixer.speech.members)} speakers"

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(1, RATE),)


def _pool(corpus: Corpus, group: str) -> Pool:
    return Pool(load_corpus(corpus.path, corpus.where), group)


def squared_error(estimate: Tensor, reference: Tensor, mixture: Tensor, on: LossOn = "compressed") -> Tensor:
    """Mean squared error between waveforms [batch, samples] on what is named, a scalar.

    All are first scaled so that the mixture has RMS 1. "compressed": magnitudes of spectra to the power 0.3, which
    weighs quiet speech more. The published ones: "magnitude" (Tan and Wang 2021, LSTM); "ideal_ratio", the gain over
    the mixture against sqrt(S^2 / (S^2 + N^2)) (FDNN); "spectrum", real and imaginary parts (GCRN); "waveform",
    samples (TCNN).
    """
    scale = mixture.square().mean(-1, keepdim=True).add(1e-12).rsqrt()
    estimate, reference, mixture = estimate * scale, reference * scale, mixture * scale
    if on == "waveform":
        return (estimate - reference).square().mean()
    given, wanted = _spectrum(estimate), _spectrum(reference)
    if on == "spectrum":
        return (given - wanted).square().mean()
    if on == "ideal_ratio":
        speech, noise = wanted.square().sum(-1), _spectrum(mixture - reference).square().sum(-1)
        ideal = (speech / (speech + noise + _FLOOR)).sqrt()
        return (_magnitude(given) / _magnitude(_spectrum(mixture)) - ideal).square().mean()
    power = 1.0 if on == "magnitude" else 0.3
    return (_magnitude(given).pow(power) - _magnitude(wanted).pow(power)).square().mean()


def signal_to_noise(estimate: Tensor, reference: Tensor) -> Tensor:
    """Mean ratio of the reference's power to that of the error, waveforms [batch, samples], dB, at most 40."""
    power, least = reference.square().mean(-1), 10 ** (-MOST_DB / 10)
    return 10 * torch.log10((power + 1e-8) / ((estimate - reference).square().mean(-1) + least * power + 1e-8)).mean()


_FLOOR = 1e-4        # power 60 dB below a typical bin's: bounds the gradient of the power 0.3 near silence


def _spectrum(waveform: Tensor, n_fft: int = 320, hop: int = 160) -> Tensor:
    window = torch.hamming_window(n_fft, periodic=False, device=waveform.device)
    return torch.view_as_real(torch.stft(waveform, n_fft, hop, window=window, center=True, return_complex=True))


def _magnitude(spectrum: Tensor) -> Tensor:
    return (spectrum.square().sum(-1) + _FLOOR).sqrt()
