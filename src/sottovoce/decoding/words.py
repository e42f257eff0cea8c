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

from sottovoce.decoding.contexts import Contexts
from sottovoce.decoding.graph import Spoken, build_graph
from sottovoce.decoding.ngrams import limited, read_ngrams
from sottovoce.errors import DataError
from sottovoce.files import write_bytes, write_text

GRAPH, ABOUT = "graph.fst", "graph.json"


class WordDecoder:
    """Finds the words whose symbols and language model together are the most probable."""

    def __init__(
        self, graph: Any, vocabulary: Sequence[str], scale: float = 1.0, beam: float = 16.0, active: int = 7000
    ) -> None:
        """`scale` weighs the log probabilities of symbols against those of words.

        Ways stay open that are less than `beam` worse than the best, `active` of them at most.
        """
        self.vocabulary, self.graph, self._scale = vocabulary, graph, scale
        self._options = FasterDecoderOptions(beam=beam, max_active=active)

    def words(self, log_probabilities: ArrayLike) -> list[str]:
        """The words of [frames, symbols]; none of no frames."""
        return self.path(log_probabilities)[1]

    def path(self, log_probabilities: ArrayLike) -> tuple[list[int], list[str]]:
        """The symbol of each frame and the words of [frames, symbols]; none where no way was found."""
        frames = np.asarray(log_probabilities, np.float32) * np.float32(self._scale)
        if not len(frames):
            return [], []
        decoder = FasterDecoder(self.graph, self._options)
        decoder.decode(DecodableCtc(frames))
        found, best = decoder.get_best_path()
        if not found:
            return [], []
        _, heard, labels, _ = get_linear_symbol_sequence(best)
        return [label - 1 for label in heard], [self.vocabulary[label - 1] for label in labels]


def kept_graph(
    folder: Path, symbols: Sequence[str], spoken: Spoken, model: Path, words: int, ngrams: int,
    contexts: Contexts | None = None,
) -> tuple[Any, list[str]]:
    """The graph of a folder and its words; built there first, in minutes, where there is none.

    It knows the so many words most frequent of a trigram model that can be spoken, and about so many bigrams and
    trigrams. With contexts the symbols are the states of phones in them. Raises DataError for a graph of other settings
    or a damaged one, or a model that cannot be read.
    """
    about = {"symbols": list(symbols), "model": model.name, "words": words, "ngrams": ngrams}
    if not (folder / ABOUT).is_file():
        graph, chosen = _built(len(symbols), spoken, model, words, ngrams, contexts)
        write_bytes(folder / GRAPH, b"")                             # the folder is there, and can be written to
        graph.write(str(folder / GRAPH))
        write_text(folder / ABOUT, json.dumps({**about, "vocabulary": chosen}))
    found, chosen = _about(folder)
    if found != about:
        other = ", ".join(f"{name} {value}" for name, value in found.items() if name != "symbols")
        wanted = f"expected a graph of {words} words and {ngrams} ngrams of {model.name}"
        raise DataError(f"{folder}: {wanted}, got one of {other}; choose another folder or remove it")
    return _read(folder), chosen


def finished_graph(folder: Path, symbols: Sequence[str]) -> tuple[Any, list[str]]:
    """The graph of a folder and its words. Raises DataError where there is none, or one of other symbols."""
    found, chosen = _about(folder)
    if found.get("symbols") != symbols:
        raise DataError(f"{folder}: expected a graph of the {len(symbols)} symbols of the model, got one of others")
    return _read(folder), chosen


def _about(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """What a graph is made of, and its words."""
    try:
        found = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        return found, found.pop("vocabulary")
    except OSError as error:
        raise DataError(f"{folder / ABOUT}: expected what a graph is made of, got: {error.strerror}") from None
    except (ValueError, LookupError, AttributeError) as error:
        raise DataError(f"{folder / ABOUT}: expected what a graph is made of, got damaged data ({error})") from None


def _read(folder: Path) -> Any:
    if (graph := StdVectorFst.read(str(folder / GRAPH))) is None:
        raise DataError(f"{folder / GRAPH}: expected a graph, got damaged data; remove its folder to build it anew")
    return graph


def _built(
    symbols: int, spoken: Spoken, path: Path, words: int, ngrams: int, contexts: Contexts | None
) -> tuple[Any, list[str]]:
    model = read_ngrams(path)
    sound = {word for word, _ in spoken}
    frequent = (model.words[place] for place in np.argsort(-model.orders[0].log_p, kind="stable"))
    chosen = list(islice((word for word in frequent if word in sound), words))
    small = limited(model, chosen, ngrams)
    del model                                                        # what follows needs the memory
    if contexts is None:
        return build_graph(symbols, spoken, small), list(small.words)
    return build_graph(contexts.symbols, contexts.placed(spoken), small, contexts.topology), list(small.words)
