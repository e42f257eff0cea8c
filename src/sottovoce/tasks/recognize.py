"""Recognition: speech in, log probabilities of symbols out."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sottovoce.data.batches import Batch, numbered_batches
from sottovoce.data.pool import RATE, Pool
from sottovoce.data.utterances import Speaking, Speech, Transcribed, Utterance, cut, padded
from sottovoce.data.vocabulary import Units, Vocabulary, spoken, trigrams, vocabulary
from sottovoce.errors import RecipeError
from sottovoce.metrics.recognition import error_rate
from sottovoce.runtime.transcribe import greedy, text_of
from sottovoce.tasks.lists import Array, Corpus, Split, check_loading

if TYPE_CHECKING:
    from sottovoce.decoding.contexts import States
    from sottovoce.decoding.words import WordDecoder


@dataclass(frozen=True)
class Evaluation:
    """A fixed list of utterances of a corpus, spread evenly over it."""

    speech: Corpus
    count: int = 1000                                    # utterances at most

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count must be at least 1, got {self.count}")


@dataclass(frozen=True)
class Decoder:
    """How words are found from phones: by a graph of the dictionary and the trigram model of pocketsphinx."""

    graph: Path                                          # folder that it is kept in; built there if it is not yet
    words: int = 100_000                                 # at most, the most frequent ones; the model has 72,546
    ngrams: int = 1_500_000                              # about, of 3.7 million: those that matter most
    scale: float = 1.0                                   # of the log probabilities of phones to those of words
    beam: float = 16.0                                   # how much worse than the best a way may be and stay open
    active: int = 7000                                   # ways at most that stay open

    def __post_init__(self) -> None:
        if min(self.words, self.ngrams, self.active) < 1:
            raise ValueError("words, ngrams and active must be at least 1, "
                             f"got {self.words}, {self.ngrams} and {self.active}")
        if not (self.scale > 0 and self.beam > 0):
            raise ValueError(f"scale and beam must be above 0, got {self.scale} and {self.beam}")

    def ready(self, symbols: Sequence[str]) -> "WordDecoder":
        """It at work, with its graph; raises RecipeError where it is not installed."""
        return self._ready(symbols, None)

    def _ready(self, symbols: "Sequence[str] | States", log_priors: Sequence[float] | None) -> "WordDecoder":
        try:
            from sottovoce.decoding.words import WordDecoder, kept_graph
        except ImportError as error:
            needed = "finding words needs: pip install 'sottovoce[recognition]'"
            raise RecipeError(f"task: decoder: {error.name} is not installed; {needed}") from None
        graph, words = kept_graph(self.graph, symbols, spoken(), trigrams(), self.words, self.ngrams)
        return WordDecoder(graph, words, self.scale, self.beam, self.active, log_priors)


@dataclass(frozen=True)
class Recognize:
    """The data, loss and metrics of recognition."""

    speech: Corpus                                       # transcribed speech to train on
    noise: Corpus | None = None                          # recorded noise to train with
    units: Units = "phones"                              # of the symbols
    pieces: Path | None = None                           # sentencepiece model, of units "pieces"
    speaking: Speaking = field(default_factory=Speaking)
    seconds: float = 100.0                               # of speech in a batch, with its padding
    most_seconds: float = 20.0                           # longer utterances are left out
    workers: int = 1                                     # processes that make batches
    dev: Evaluation | None = None                        # scored after every stage
    test: Evaluation | None = None                       # scored at the end
    decoder: Decoder | None = None                       # scores word errors too, of units "phones"

    name: ClassVar[str] = "recognize"
    given: ClassVar[str] = "nothing"                     # without a model nothing is understood
    sample_rate: ClassVar[int] = RATE

    def __post_init__(self) -> None:
        if (self.units == "pieces") != (self.pieces is not None):
            raise ValueError(f'pieces: expected a model for units "pieces" and no others, got units "{self.units}"')
        if self.decoder is not None and self.units != "phones":
            raise ValueError(f'decoder: expected units "phones", of which it makes words, got "{self.units}"')
        if not (self.seconds > 0 and self.most_seconds > 0):
            raise ValueError(f"seconds and most_seconds must be above 0, got {self.seconds} and {self.most_seconds}")
        check_loading(self.workers)

    @property
    def has_test(self) -> bool:
        return self.test is not None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return vocabulary(self.units, self.pieces)

    @property
    def meta(self) -> Mapping[str, Any]:
        """What a file of a model has to say for it to be used."""
        scale = {} if self.decoder is None else {"scale": self.decoder.scale}
        return {"symbols": list(self.vocabulary.symbols), **scale}

    @cached_property
    def words(self) -> "WordDecoder | None":
        """What finds words, if the recipe has it."""
        return None if self.decoder is None else self.decoder.ready(self.vocabulary.symbols)

    @cached_property
    def transcribed(self) -> Transcribed:
        """The speech to train on."""
        return self._transcribed(self.speech, self.speaking.speed[1])

    @cached_property
    def lists(self) -> dict[Split, Transcribed]:
        """The corpora of the lists that the recipe has."""
        given: dict[Split, Evaluation | None] = {"dev": self.dev, "test": self.test}
        return {split: self._transcribed(evaluation.speech) for split, evaluation in given.items() if evaluation}

    def _transcribed(self, corpus: Corpus, fastest: float = 1.0) -> Transcribed:
        return Transcribed(corpus.pool("speaker"), self.vocabulary, self.most_seconds, fastest)

    @property
    def step_seconds(self) -> float:
        return self.seconds

    def batches(self, seed: int, start: int, stride: int = 1) -> Iterator[Batch]:
        noise = self.noise.pool("class") if self.noise else None
        speech = Speech(self.transcribed.pool, self.transcribed.utterances, noise, self.speaking, self.seconds)
        return numbered_batches(partial(speech.batch, seed), start=start, stride=stride, workers=self.workers)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """CTC's negative log probability of the symbols, per symbol, of log probabilities [batch, frames, symbols].

        The frames are taken as spread evenly over the samples, whatever a model's are. Source: Graves et al. 2006.
        """
        _, symbols, counts = batch.targets
        losses = F.ctc_loss(outputs.float().transpose(0, 1), symbols, _frames(outputs, batch), counts, reduction="none")
        return losses.sum() / counts.sum()

    def imitation(self, outputs: Any, teacher: Any, batch: Batch) -> Tensor:
        """Divergence of the outputs from the teacher's (Kullback-Leibler), mean over the frames of utterances."""
        frames = _frames(outputs, batch)
        divergence = F.kl_div(outputs.float(), teacher.float(), reduction="none", log_target=True).sum(-1)
        within = torch.arange(outputs.shape[1], device=frames.device) < frames.unsqueeze(1)
        return (divergence * within).sum() / within.sum()

    def utterances(self, split: Split) -> list[Utterance]:
        """Those of a list. Raises RecipeError when the recipe has none of that name."""
        evaluation = {"dev": self.dev, "test": self.test}[split]
        if evaluation is None:
            raise RecipeError(f"task: expected a table [task.{split}] with the utterances to score, got none")
        there_are = self.lists[split].utterances
        count = min(evaluation.count, len(there_are))
        return [there_are[(2 * number + 1) * len(there_are) // (2 * count)] for number in range(count)]

    def fixed(self, split: Split) -> Iterator[Batch]:
        """The utterances of a list as batches, in order of length."""
        ordered = sorted(self.utterances(split), key=lambda utterance: utterance.seconds)
        for first, last in cut([utterance.seconds for utterance in ordered], self.seconds):
            chosen = ordered[first:last]
            yield padded([_read(self.lists[split].pool, utterance) for utterance in chosen], chosen)

    def scores(self, model: Callable[..., Array] | None, split: Split) -> list[dict[str, float]]:
        """Error rates of the greedy transcript of every utterance of a list, and of the words that a decoder finds.

        Without a model nothing is understood. Empty for a dev list that the recipe does not have.
        """
        if split == "dev" and self.dev is None:
            return []
        utterances, symbols = self.utterances(split), self.vocabulary.symbols
        pool = self.lists[split].pool
        found: list[dict[str, float]] = []
        for utterance in utterances:
            heard = np.zeros((0, len(symbols)), np.float32) if model is None else model(_read(pool, utterance))
            texts = text_of(greedy(heard), symbols), text_of(utterance.codes, symbols)
            found.append({metric: error_rate(metric, *texts) for metric in self.vocabulary.metrics})
            if self.words is not None:
                found[-1]["wer"] = error_rate("wer", " ".join(self.words.words(heard)), utterance.text)
        return found

    def identity(self, split: Split) -> Mapping[str, Any]:
        said = [(utterance.clip, utterance.text) for utterance in self.utterances(split)]
        decoder = None if self.decoder is None else {**asdict(self.decoder), "graph": self.decoder.graph.name}
        return {"list": hashlib.sha256(json.dumps([self.units, said]).encode()).hexdigest(), "decoder": decoder}

    def groups(self, split: Split) -> list[str]:
        """The corpus that each utterance of a list comes from."""
        pool = self.lists[split].pool
        cuts = (pool.cuts[pool.index[utterance.clip]] for utterance in self.utterances(split))
        return [str((cut.custom or {}).get("corpus", "all")) for cut in cuts]

    def check(self) -> Iterator[str]:
        """What there is to train on and to score, and what was left out, in words; builds the decoder's graph."""
        for side, transcribed in (("speech", self.transcribed), *self.lists.items()):
            seconds = sum(utterance.seconds for utterance in transcribed.utterances)
            yield f"{side}: {len(transcribed.utterances)} transcribed utterances, {seconds / 3600:.2f} h"
            yield from (f"{side}: {complaint}" for complaint in transcribed.complaints())
        if self.decoder is not None and self.words is not None:
            yield f"decoder: {len(self.words.vocabulary)} words in {self.decoder.graph}"

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(1, self.sample_rate),)


def _read(pool: Pool, utterance: Utterance) -> Array:
    return pool.read(utterance.clip, 0.0, utterance.seconds)


def _frames(outputs: Tensor, batch: Batch) -> Tensor:
    """How many frames [batch] of outputs [batch, frames, symbols] are of each utterance, not of its padding."""
    samples, most = batch.targets[0], batch.inputs[0].shape[-1]
    return torch.ceil(samples * (outputs.shape[1] / most)).long().clamp(max=outputs.shape[1])
