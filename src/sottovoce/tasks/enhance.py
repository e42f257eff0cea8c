"""Speech enhancement: noisy waveforms in, clean ones out."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sottovoce.data.batches import Batch
from sottovoce.data.mixing import PLAIN, Mixer, Mixing, Mixture
from sottovoce.data.pool import RATE
from sottovoce.tasks.lists import Corpus, FixedList, ListTask, Split, check_loading, check_metrics

LossOn = Literal["compressed", "magnitude", "spectrum", "ideal_ratio", "waveform"]
MOST_DB = 40.0           # a ratio of signal to noise that is as good as any
METRICS = ("pesq_wb", "pesq_nb", "stoi", "si_sdr", "dnsmos")


@dataclass(frozen=True)
class Evaluation(FixedList[Mixture]):
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

    kind = Mixture

    def __post_init__(self) -> None:
        if not self.snr_db or not all(map(math.isfinite, self.snr_db)):
            raise ValueError(f"snr_db: expected at least one finite number, got {self.snr_db}")
        if self.per_snr < 1:
            raise ValueError(f"per_snr must be at least 1, got {self.per_snr}")
        _ = self.settings        # refuses what cannot be drawn
        check_metrics(self.metrics, METRICS)

    @property
    def settings(self) -> Mixing:
        """How the mixtures are drawn."""
        return replace(PLAIN, seconds=self.seconds, babble=self.babble)

    @cached_property
    def mixer(self) -> Mixer:
        speech = self.speech.pool("speaker")
        return Mixer(speech, self.noise.pool("class"), speech, None, self.settings)

    def drawn(self) -> list[Mixture]:
        return [
            replace(self.mixer.draw(self.seed, number), id=f"{snr:g}dB-{number:03d}", snr_db=snr)
            for number, snr in enumerate(snr for snr in self.snr_db for _ in range(self.per_snr))
        ]

    def group(self, mixture: Mixture) -> str:
        return f"{mixture.snr_db:g} dB"

    def caption(self, mixture: Mixture) -> str:
        return f"{mixture.snr_db:g} dB, {' and '.join(layer.kind for layer in mixture.noises)} noise"


@dataclass(frozen=True)
class Enhance(ListTask[Evaluation]):
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
    given: ClassVar[str] = "noisy"
    sample_rate: ClassVar[int] = RATE

    def __post_init__(self) -> None:
        if not self.snr_weight >= 0:
            raise ValueError(f"snr_weight must not be negative, got {self.snr_weight}")
        check_loading(self.workers, self.batch)

    @cached_property
    def mixer(self) -> Mixer:
        speech, noise = self.speech.pool("speaker"), self.noise.pool("class")
        babble = speech if self.babble is None else self.babble.pool("speaker")
        return Mixer(speech, noise, babble, None if self.rooms is None else self.rooms.pool("room"), self.mixing)

    @cached_property
    def lists(self) -> dict[Split, Evaluation]:
        given: dict[Split, Evaluation | None] = {"dev": self.dev, "test": self.test}
        return {split: evaluation for split, evaluation in given.items() if evaluation is not None}

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

    def check(self) -> Iterator[str]:
        """What there is to train on and to score, in words. Raises DataError where there is nothing."""
        mixer = self.mixer
        for name, pool in (("speech", mixer.speech), ("noise", mixer.noise), ("babble", mixer.babble)):
            yield f"{name}: {len(pool.cuts)} clips, {pool.seconds.sum() / 3600:.2f} h, {len(pool.members)} groups"
        for split, evaluation in self.lists.items():
            yield f"{split}: {len(evaluation.mixtures)} mixtures of {len(evaluation.mixer.speech.members)} speakers"

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(1, RATE),)


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
