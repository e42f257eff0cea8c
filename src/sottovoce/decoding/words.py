"""Words from log probabilities of symbols, by the best way through a graph that is built once and kept."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from kaldi_decoder import DecodableCtc, FasterDecoder, FasterDecoderOptions
from kaldifst import StdVectorFst, get_linear_symbol_sequence
from numpy.typing import ArrayLike

from sottovoce.decoding.contexts import States
from sottovoce.decoding.graph import Spoken, build_graph
from sottovoce.decoding.ngrams import limited, read_ngrams
from sottovoce.errors import DataError, FormatError
from sottovoce.files import write_bytes, write_text

GRAPH, ABOUT = "graph.fst", "graph.json"


class WordDecoder:
    """Finds the words whose symbols and language model together are the most probable."""

    def __init__(
        self, graph: Any, vocabulary: Sequence[str], scale: float = 1.0, beam: float = 16.0, active: int = 7000,
        log_priors: Sequence[float] | None = None,
    ) -> None:
        """`scale` weighs the log probabilities of symbols against those of words, less their priors if given.

        Ways stay open that are less than `beam` worse than the best, `active` of them at most.
        """
        self.vocabulary, self.graph, self._scale = vocabulary, graph, scale
        self._log_priors = None if log_priors is None else np.asarray(log_priors, np.float32)
        self._options = FasterDecoderOptions(beam=beam, max_active=active)

    def words(self, log_probabilities: ArrayLike) -> list[str]:
        """The words of [frames, symbols]; none of no frames."""
        return self.path(log_probabilities)[1]

    def path(self, log_probabilities: ArrayLike) -> tuple[list[int], list[str]]:
        """The symbol of each frame and the words of [frames, symbols]; none where no way was found.

        Raises FormatError for another number of states than there are priors of.
        """
        frames = np.asarray(log_probabilities, np.float32)
        if not len(frames):
            return [], []
        if self._log_priors is not None and frames.shape[1:] != self._log_priors.shape:
            raise FormatError(f"model: expected [frames, {len(self._log_priors)}], as the graph has states, "
                              f"got {list(frames.shape)}")
        frames = (frames if self._log_priors is None else frames - self._log_priors) * np.float32(self._scale)
        decoder = FasterDecoder(self.graph, self._options)
        decoder.decode(DecodableCtc(frames))
        found, best = decoder.get_best_path()
        if not found:
            return [], []
        _, heard, labels, _ = get_linear_symbol_sequence(best)
        return [label - 1 for label in heard], [self.vocabulary[label - 1] for label in labels]


def kept_graph(
    folder: Path, symbols: Sequence[str] | States, spoken: Spoken, model: Path, words: int, ngrams: int
) -> tuple[Any, list[str]]:
    """The graph of a folder and its words; built there first, in minutes, where there is none.

    It knows the so many words most frequent of a trigram model that can be spoken, and about so many bigrams and
    trigrams. Raises DataError for a graph of other settings or a damaged one, or a model that cannot be read.
    """
    known = symbols.digest if isinstance(symbols, States) else list(symbols)
    about = {"symbols": known, "model": model.name, "words": words, "ngrams": ngrams}
    if not (folder / ABOUT).is_file():
        graph, chosen = _built(symbols, spoken, model, words, ngrams)
        write_bytes(folder / GRAPH, b"")                             # the folder is there, and can be written to
        graph.write(str(folder / GRAPH))
        priors = {"log_priors": [*symbols.log_priors]} if isinstance(symbols, States) else {}
        write_text(folder / ABOUT, json.dumps({**about, "vocabulary": chosen, **priors}))
    found, chosen, _ = _about(folder)
    if found != about:
        other = ", ".join(f"{name} {value}" for name, value in found.items() if name != "symbols")
        wanted = f"expected a graph of {words} words and {ngrams} ngrams of {model.name}"
        raise DataError(f"{folder}: {wanted}, got one of {other}; choose another folder or remove it")
    return _read(folder), chosen


def finished_graph(folder: Path, symbols: Sequence[str]) -> tuple[Any, list[str]]:
    """The graph of a folder and its words. Raises DataError where there is none, or one of other symbols."""
    found, chosen, _ = _about(folder)
    if found.get("symbols") != symbols:
        raise DataError(f"{folder}: expected a graph of the {len(symbols)} symbols of the model, got one of others")
    return _read(folder), chosen


def finished_hybrid(folder: Path, digest: str) -> tuple[Any, list[str], list[float]]:
    """The graph of a folder, its words, and the log priors of its states.

    Raises DataError where there is none, or one of other states than those of the digest.
    """
    found, chosen, log_priors = _about(folder)
    if found.get("symbols") != digest:
        raise DataError(f"{folder}: expected a graph of the states {digest} of the model, got one of others")
    return _read(folder), chosen, log_priors


def _about(folder: Path) -> tuple[dict[str, Any], list[str], list[float]]:
    """What a graph is made of, its words, and the log priors of its states if it is of such."""
    try:
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return found, found.pop("vocabulary"), found.pop("log_priors", [])
    except OSError as error:
        raise DataError(f"{folder / ABOUT}: expected what a graph is made of, got: {error.strerror}") from None
    except (ValueError, LookupError, AttributeError) as error:
        raise DataError(f"{folder / ABOUT}: expected what a graph is made of, got damaged data ({error})") from None


def _read(folder: Path) -> Any:
    if (graph := StdVectorFst.read(str(folder / GRAPH))) is None:
        raise DataError(f"{folder / GRAPH}: expected a graph, got damaged data; remove its folder to build it anew")
    return graph


def _built(
    symbols: Sequence[str] | States, spoken: Spoken, path: Path, words: int, ngrams: int
) -> tuple[Any, list[str]]:
    model = read_ngrams(path)
    sound = {word for word, _ in spoken}
    frequent = (model.words[place] for place in np.argsort(-model.orders[0].log_p, kind="stable"))
    chosen = list(islice((word for word in frequent if word in sound), words))
    small = limited(model, chosen, ngrams)
    del model                                                        # what follows needs the memory
    if not isinstance(symbols, States):
        return build_graph(len(symbols), spoken, small), list(small.words)
    contexts = symbols.contexts
    return build_graph(contexts.symbols, contexts.placed(spoken), small, contexts.topology), list(small.words)
