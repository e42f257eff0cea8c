"""Target-speaker extraction: a mixture of two talkers and a sample of one's voice in, that talker out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sottovoce.data.batches import Batch
from sottovoce.data.talkers import TalkerMixer, TalkerMixing, TalkerMixture
from sottovoce.metrics.scoring import score
from sottovoce.tasks.lists import (
    Array,
    Corpus,
    FixedList,
    ListTask,
    Split,
    check_loading,
    check_metrics,
)

Presence = Literal["onset", "onset_offset"]
RATES = (8000, 16000)    # Hz
MOST_DB = 40.0           # a ratio of voice to distortion that is as good as any
METRICS = ("si_sdr", "sdr", "pesq_nb", "stoi")


@dataclass(frozen=True)
class Evaluation:
    """A fixed list of mixtures, each there twice, so that each of its talkers is the target once."""

    plans: Path                                          # the list, JSON, one target a line
    speech: Corpus
    count: int = 100                                     # mixtures
    seconds: float = 4.0
    enrolment_seconds: float = 4.0
    gain_db: float = 2.5
    seed: int = 1
    metrics: tuple[str, ...] = ("si_sdr", "sdr")

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")
        _ = self.settings        # refuses what cannot be drawn
        check_metrics(self.metrics, METRICS)

    @property
    def settings(self) -> TalkerMixing:
        """How the mixtures are drawn."""
        return TalkerMixing(self.seconds, self.enrolment_seconds, self.gain_db)


class TalkerList(FixedList[TalkerMixture]):
    """The list of an evaluation at a sample rate."""

    kind = TalkerMixture

    def __init__(self, evaluation: Evaluation, rate: int) -> None:
        self.evaluation, self.rate = evaluation, rate
        self.plans, self.metrics = evaluation.plans, evaluation.metrics

    @cached_property
    def mixer(self) -> TalkerMixer:
        return TalkerMixer(self.evaluation.speech.pool("speaker", self.rate), self.evaluation.settings)

    def drawn(self) -> list[TalkerMixture]:
        numbers = range(self.evaluation.count)
        return [plan for number in numbers for plan in self.mixer.draw_both(self.evaluation.seed, number)]

    def group(self, mixture: TalkerMixture) -> str:
        """Whether two of one sex speak, if the corpus says so: the same sex is harder to tell apart."""
        genders = {self._gender(piece.clip) for piece in (mixture.target, mixture.other)}
        return "unknown gender" if None in genders else "same gender" if len(genders) == 1 else "different gender"

    def caption(self, mixture: TalkerMixture) -> str:
        return f"target {mixture.gain_db:+.1f} dB, other {-mixture.gain_db:+.1f} dB, {self.group(mixture)}"

    def _gender(self, clip: str) -> str | None:
        speech = self.mixer.speech
        said = speech.cuts[speech.index[clip]].supervisions
        return said[0].gender if said else None


@dataclass(frozen=True)
class Extract(ListTask[TalkerList]):
    """The data, loss and metrics of target-speaker extraction."""

    speech: Corpus                                       # speech to train on; clips without a speaker are one each
    rate: int = 8000                                     # Hz, 8000 or 16000; that of the model
    mixing: TalkerMixing = field(default_factory=TalkerMixing)
    batch: int = 16                                      # mixtures a step
    workers: int = 1                                     # processes that make batches
    endpoint_weight: float = 1.0                         # in the loss, of when the target speaks
    presence: Presence = "onset"                         # from where it begins to the end, or to where it ends
    any_order: bool = False                              # either talker may come first: to learn to separate at all
    dev: Evaluation | None = None                        # scored after every stage
    test: Evaluation | None = None                       # scored at the end

    name: ClassVar[str] = "extract"
    given: ClassVar[str] = "mixture"

    def __post_init__(self) -> None:
        if self.rate not in RATES:
            raise ValueError(f"rate must be 8000 or 16000, got {self.rate}")
        if not self.endpoint_weight >= 0:
            raise ValueError(f"endpoint_weight must not be negative, got {self.endpoint_weight}")
        check_loading(self.workers, self.batch)

    @property
    def sample_rate(self) -> int:
        return self.rate

    @cached_property
    def mixer(self) -> TalkerMixer:
        return TalkerMixer(self.speech.pool("speaker", self.rate), self.mixing)

    @cached_property
    def lists(self) -> dict[Split, TalkerList]:
        given: dict[Split, Evaluation | None] = {"dev": self.dev, "test": self.test}
        return {split: TalkerList(evaluation, self.rate) for split, evaluation in given.items() if evaluation}

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Decibels that both talkers are short of 40, and `endpoint_weight` times the error of the target's presence.

        Source: Hao et al. 2021, who take the negative ratio in decibels; with 40 added the loss is above 0. `outputs`
        are both talkers [batch, samples] and the probabilities [batch, sites, frames] that the target speaks.
        """
        voice, other, presence = outputs
        wanted, unwanted, spans = batch.targets
        separation = _separation((voice, other), (wanted, unwanted), self.any_order)
        frames = presence_of(spans, presence.shape[-1], wanted.shape[-1], self.presence)
        return separation + self.endpoint_weight * F.binary_cross_entropy(
            presence, frames.unsqueeze(1).expand_as(presence)
        )

    def imitation(self, outputs: Any, teacher: Any, batch: Batch) -> Tensor:
        """The same decibels, to the teacher's two talkers."""
        return _separation(outputs[:2], teacher[:2], any_order=False)

    def swaps(self, model: Callable[[Array, Array], Array], split: Split) -> list[dict[str, float]]:
        """SI-SDR of every estimate of a list against the talker asked for, `wanted`, and the other one, dB.

        Each mixture comes twice: that `wanted` is above `other` both times shows that the enrolment decides.
        """
        evaluation = self.evaluation(split)
        triples = [
            (mixture.id, model(mixed, enrolment), wanted, other)
            for mixture, (mixed, enrolment, wanted, other, _) in zip(
                evaluation.mixtures, evaluation.waveforms, strict=True
            )
        ]
        sides = {
            side: score(((name, estimate, talkers[at]) for name, estimate, *talkers in triples), ["si_sdr"],
                        sample_rate=self.rate)
            for at, side in enumerate(("wanted", "other"))
        }
        return [{side: found[place]["si_sdr"] for side, found in sides.items()} for place in range(len(triples))]

    def check(self) -> Iterator[str]:
        """What there is to train on and to score, in words. Raises DataError where there is nothing."""
        speech, targets = self.mixer.speech, self.mixer.targets
        yield f"speech: {len(speech.cuts)} clips, {speech.seconds.sum() / 3600:.2f} h, {_speakers(self.mixer)}"
        if len(targets.cuts) < len(speech.cuts):
            yield f"speech: {len(speech.cuts) - len(targets.cuts)} clips too short for a target's two parts"
        for split, evaluation in self.lists.items():
            yield f"{split}: {len(evaluation.mixtures)} mixtures with a target, {_speakers(evaluation.mixer)}"

    def example(self) -> tuple[Tensor, ...]:
        return torch.zeros(1, self.rate), torch.zeros(1, self.rate)


def _speakers(mixer: TalkerMixer) -> str:
    return f"{len(mixer.speech.members)} speakers, {len(mixer.targets.members)} of them with enough speech for a target"


def presence_of(spans: Tensor, frames: int, samples: int, presence: Presence) -> Tensor:
    """0 or 1 [batch, frames] from spans of samples [batch, 2]: whether a frame's middle is where the target speaks.

    The frames are taken as spread evenly over the samples, whatever a model's windows are.
    """
    middle = (torch.arange(frames, device=spans.device) + 0.5) * (samples / frames)
    begun, ended = middle >= spans[:, :1], middle >= spans[:, 1:]
    return (begun if presence == "onset" else begun & ~ended).float()


def si_snr(estimate: Tensor, reference: Tensor) -> Tensor:
    """Scale-invariant ratio of signal to noise, waveforms [batch, samples] made zero-mean, [batch], dB, at most 40."""
    estimate, reference = (wave - wave.mean(-1, keepdim=True) for wave in (estimate, reference))
    scale = (estimate * reference).sum(-1, keepdim=True) / (reference.square().sum(-1, keepdim=True) + 1e-8)
    power, noise = (part.square().sum(-1) for part in (scale * reference, estimate - scale * reference))
    return 10 * torch.log10((power + 1e-8) / (noise + 10 ** (-MOST_DB / 10) * power + 1e-8))


def _separation(outputs: Any, references: Any, any_order: bool) -> Tensor:
    """Mean decibels that the outputs are short of 40, over both talkers and the batch."""
    (one, two), (first, second) = outputs, references
    ratios = (si_snr(one, first) + si_snr(two, second)) / 2
    if any_order:
        ratios = torch.maximum(ratios, (si_snr(one, second) + si_snr(two, first)) / 2)
    return MOST_DB - ratios.mean()
