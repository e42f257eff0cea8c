"""Acoustic models of a hybrid recognizer: speech in, log probabilities of the tied states of an HMM out."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from sottovoce.data.alignments import Alignments, kept_alignments
from sottovoce.data.batches import Batch, numbered_batches
from sottovoce.data.pool import RATE, Pool
from sottovoce.data.rows import NONE, Joined, Row, Span, rows_of
from sottovoce.data.vocabulary import PHONES, Phones, hmms
from sottovoce.decoding.contexts import Contexts, States
from sottovoce.decoding.hmms import Hmms, read_hmms
from sottovoce.decoding.phones import PhoneGraph
from sottovoce.errors import RecipeError
from sottovoce.metrics.recognition import error_rate
from sottovoce.metrics.statistics import Rate
from sottovoce.tasks.lists import Array, Corpus, Split, check_loading
from sottovoce.tasks.recognize import Decoder, Evaluation

if TYPE_CHECKING:
    from sottovoce.decoding.alternatives import LatticeDecoder
    from sottovoce.decoding.words import WordDecoder


@dataclass(frozen=True)
class StateDecoder(Decoder):
    """How words are found from states: as from phones, by a graph that knows the states of phones in context."""

    ngrams: int = 250_000                                # about, of 3.7 million: with more it takes over 2 GB to build
    scale: float = 0.1                                   # of the log likelihoods of states to those of words

    def hybrid(self, alignments: Alignments, definition: Hmms) -> "WordDecoder":
        """It at work, for the states of alignments; raises RecipeError where it is not installed."""
        phones, silence = definition.of(PHONES)
        contexts = Contexts(alignments.state_of[phones], alignments.state_of[silence])
        log_priors = alignments.log_priors.tolist()
        return self._ready(States(alignments.digest, contexts, log_priors), log_priors)


@dataclass(frozen=True)
class Acoustic:
    """The data, loss and metrics of acoustic models, whose frames are aligned with states."""

    speech: Corpus                                       # transcribed speech to train on
    alignments: Path                                     # folder that they are kept in; made there if they are not yet
    least: int = 100                                     # frames of a senone that is a state of its own
    row_seconds: float = 60.0                            # of one speaker that are joined; a longer clip is alone
    seconds: float = 60.0                                # of speech in a batch, with its padding
    share: float = 1.0                                   # of its frames that are learnt from, drawn at random
    workers: int = 1                                     # processes that make batches
    dev: Evaluation | None = None                        # scored after every stage
    test: Evaluation | None = None                       # scored at the end
    decoder: StateDecoder | None = None                  # scores errors of words and phones too

    name: ClassVar[str] = "acoustic"
    given: ClassVar[str] = "nothing"                     # without a model nothing is understood
    sample_rate: ClassVar[int] = RATE

    def __post_init__(self) -> None:
        if self.least < 1:
            raise ValueError(f"least must be at least 1, got {self.least}")
        if not (self.seconds > 0 and self.row_seconds > 0):
            raise ValueError(f"seconds and row_seconds must be above 0, got {self.seconds} and {self.row_seconds}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {self.share}")
        check_loading(self.workers)

    @property
    def has_test(self) -> bool:
        return self.test is not None

    @property
    def meta(self) -> Mapping[str, Any]:
        """What a file of a model has to say for it to be used."""
        scale = {} if self.decoder is None else {"scale": self.decoder.scale}
        return {"states": self.aligned.digest, **scale}

    @property
    def states(self) -> int:
        """How many a model gives probabilities of."""
        return self.aligned.states

    @property
    def log_priors(self) -> NDArray[np.float64]:
        """How likely each state is [states]."""
        return self.aligned.log_priors

    @cached_property
    def pools(self) -> dict[str, Pool]:
        """The clips to train on, and those of the lists that the recipe has."""
        lists = {"dev": self.dev, "test": self.test}
        corpora = {split: evaluation.speech for split, evaluation in lists.items() if evaluation}
        return {side: corpus.pool("speaker") for side, corpus in {"speech": self.speech, **corpora}.items()}

    @cached_property
    def aligned(self) -> Alignments:
        return kept_alignments(self.alignments, [*self.pools.values()], self._definition.kinds, self.least)

    @cached_property
    def words(self) -> "WordDecoder | None":
        """What finds words, if the recipe has it."""
        return None if self.decoder is None else self.decoder.hybrid(self.aligned, self._definition)

    @cached_property
    def _definition(self) -> Hmms:
        return read_hmms(hmms())

    @cached_property
    def _training(self) -> Joined:
        pool = self.pools["speech"]
        rows = rows_of(pool, {*self.aligned.clips}, self.row_seconds)
        return Joined(pool, self.aligned, rows, self.seconds, self.share)

    @property
    def step_seconds(self) -> float:
        return self.seconds * self.share

    def batches(self, seed: int, start: int, stride: int = 1) -> Iterator[Batch]:
        return numbered_batches(partial(self._training.batch, seed), start=start, stride=stride, workers=self.workers)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Cross-entropy of the states of aligned frames, of log probabilities [batch, frames, states]."""
        return F.nll_loss(outputs.float().flatten(0, 1), batch.targets[0].flatten(), ignore_index=NONE)

    def imitation(self, outputs: Any, teacher: Any, batch: Batch) -> Tensor:
        """Divergence of the outputs from the teacher's (Kullback-Leibler), mean over the aligned frames."""
        divergence = F.kl_div(outputs.float(), teacher.float(), reduction="none", log_target=True).sum(-1)
        return divergence[batch.targets[0] != NONE].mean()

    def spans(self, batch: Batch) -> list[Span]:
        """The utterances of a batch that are aligned. Raises RecipeError where batches are of frames here and there."""
        if self.share < 1:
            raise RecipeError(f"task: expected a share of 1, to learn from whole utterances, got {self.share}")
        return self._training.spans(batch)

    def alternatives(self, beam: float, lattice_beam: float) -> "LatticeDecoder":
        """A search in the decoding graph. Raises RecipeError where the recipe has none."""
        graph = self._search.graph
        from sottovoce.decoding.alternatives import LatticeDecoder

        return LatticeDecoder(graph, beam, lattice_beam)

    def anything(self) -> PhoneGraph:
        """All that could be said in phones, as often as they follow each other in what is trained on."""
        kinds = [name.partition("/")[0].split(".") for name in self.aligned.names]
        phones = sorted({phone for phone, _ in kinds})
        return PhoneGraph.seen(
            (self.aligned.of(clip) for row in self._training.rows for clip in row.clips),
            np.array([phones.index(phone) for phone, _ in kinds]), np.array([int(place) for _, place in kinds]))

    def labels(self, log_probabilities: Array) -> NDArray[np.int64]:
        """The states [frames] of the best words for log probabilities [frames, states]; NONE where none were found.

        Raises RecipeError where the recipe has no decoder.
        """
        states, _ = self._search.path(log_probabilities)
        return np.array(states or [NONE] * len(log_probabilities))

    @property
    def _search(self) -> "WordDecoder":
        if self.words is None:
            raise RecipeError("task: expected a table [task.decoder], to find words with, got none")
        return self.words

    def rows(self, split: Split) -> list[Row]:
        """The utterances of a list, those of a speaker as one row. Raises RecipeError when the recipe has none."""
        evaluation = {"dev": self.dev, "test": self.test}[split]
        if evaluation is None:
            raise RecipeError(f"task: expected a table [task.{split}] with the utterances to score, got none")
        pool, there = self.pools[split], {*self.aligned.clips}
        clips = [cut.id for cut in pool.cuts if cut.id in there]
        count = min(evaluation.count, len(clips))
        chosen = {clips[(2 * number + 1) * len(clips) // (2 * count)] for number in range(count)}
        return rows_of(pool, chosen, float("inf"))

    def fixed(self, split: Split) -> Iterator[Batch]:
        """The speakers of a list as batches, in order of length."""
        rows = self.rows(split)
        yield from Joined(self.pools[split], self.aligned, rows, self.seconds).in_order()

    def scores(self, model: Callable[..., Array] | None, split: Split) -> list[dict[str, float]]:
        """Error rates of every utterance of a list: frames, and the words and their phones that a decoder finds.

        The model hears all of a speaker at once. Without one nothing is understood. Empty for a dev list that the
        recipe does not have.
        """
        if split == "dev" and self.dev is None:
            return []
        found: list[dict[str, float]] = []
        rows = self.rows(split)
        listening = Joined(self.pools[split], self.aligned, rows, self.seconds)
        for row in rows:
            waveform, states, places = listening.joined(row)
            heard = np.zeros((0, self.states), np.float32) if model is None else model(waveform)
            for clip, first, count in places:
                found.append(self._scored(clip, heard[first : first + count], states[first : first + count]))
        return found

    def _scored(self, clip: str, heard: Array, states: NDArray[np.int64]) -> dict[str, float]:
        right = (heard.argmax(-1) == states[: len(heard)]).sum()
        rates: dict[str, float] = {"fer": Rate(len(states) - right, len(states))}
        if self.words is not None:
            words, said = self.words.words(heard), self.aligned.text(clip)
            rates["wer"] = error_rate("wer", " ".join(words), said)
            rates["per"] = error_rate("per", _in_phones(words), _in_phones(said.split()))
        return rates

    def speakers(self, split: Split) -> list[str]:
        """Who speaks in each of the entries of `scores`."""
        return [row.speaker for row in self.rows(split) for _ in row.clips]

    def identity(self, split: Split) -> Mapping[str, Any]:
        said = [(clip, self.aligned.text(clip)) for row in self.rows(split) for clip in row.clips]
        decoder = None if self.decoder is None else {**asdict(self.decoder), "graph": self.decoder.graph.name}
        digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
        return {"list": digest, "states": self.aligned.digest, "decoder": decoder}

    def groups(self, split: Split) -> list[str]:
        """The corpus that each utterance of a list comes from."""
        pool = self.pools[split]
        cuts = (pool.cuts[pool.index[clip]] for row in self.rows(split) for clip in row.clips)
        return [str((cut.custom or {}).get("corpus", "all")) for cut in cuts]

    def check(self) -> Iterator[str]:
        """What there is to train on and to score, and what was left out, in words; aligns it, and builds the graph."""
        there = {*self.aligned.clips}
        for side, pool in self.pools.items():
            seconds = sum(row.seconds for row in rows_of(pool, there, self.row_seconds))
            clips = sum(cut.id in there for cut in pool.cuts)
            yield f"{side}: {clips} aligned utterances of {len(pool.cuts)}, {seconds / 3600:.2f} h"
        yield f"alignments: {self.states} states; {self.aligned.left_out} says what was left out"
        if self.decoder is not None and self.words is not None:
            yield f"decoder: {len(self.words.vocabulary)} words in {self.decoder.graph}"

    def example(self) -> tuple[Tensor, ...]:
        return (torch.zeros(1, self.sample_rate),)


def _in_phones(words: Sequence[str]) -> str:
    """How words are spoken, as the dictionary's first entries say."""
    return " ".join(PHONES[code - 1] for code in Phones().codes(words))
