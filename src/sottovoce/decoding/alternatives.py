"""What else may have been said: the lattice of an utterance, by search in a decoding graph."""

import re
from typing import Any

import kaldifst
import numpy as np
from kaldi_decoder import DecodableCtc, LatticeSimpleDecoder, LatticeSimpleDecoderConfig
from numpy.typing import ArrayLike

from sottovoce.decoding.lattices import Lattice, longest

MOST = 100               # nodes of a lattice for each frame
WIDTHS = 0.4, 0.55, 0.75, 1.0        # of the beams


class LatticeDecoder:
    """Finds the ways through a graph of states that are nearly as probable as the best.

    The input labels of the graph are numbers of states plus one. As there is no limit to the ways that stay open, the
    search begins narrow, and widens until it has its beams or finds too much.
    """

    def __init__(self, graph: Any, beam: float, lattice_beam: float) -> None:
        """Ways stay open that are less than `beam` worse than the best, and are kept if less than `lattice_beam`."""
        self._graph = graph
        self._settings = [LatticeSimpleDecoderConfig(beam=width * beam, lattice_beam=width * lattice_beam)
                          for width in WIDTHS]

    def lattice(self, scores: ArrayLike) -> Lattice | None:
        """The lattice of scaled log likelihoods [frames, states]; None where no way that was open comes to an end."""
        frames, best = np.asarray(scores, np.float32), None
        for settings in self._settings if len(frames) else ():
            raw = self._found(frames, settings)
            if raw is not None and raw.num_states > MOST * len(frames):
                break
            best = best if raw is None else raw
        return None if best is None else _lattice(best)

    def _found(self, frames: Any, settings: LatticeSimpleDecoderConfig) -> Any:
        """What the search gives, kaldi's lattice; None where nothing has come to an end."""
        decoder = LatticeSimpleDecoder(self._graph, settings)
        if not decoder.decode(DecodableCtc(frames)) or not np.isfinite(decoder.final_relative_cost()):
            return None
        found, raw = decoder.get_raw_lattice()
        return raw if found else None


def _lattice(raw: Any) -> Lattice | None:
    """The arcs of one of kaldi's, with costs of the graph alone, and from its ends to one node more."""
    # Only as text does it tell its arcs, "from to input output graph,acoustic", and its ends, "node graph,acoustic".
    graph = kaldifst.compile(re.sub(r",\S+", "", raw.to_str(show_weight_one=True)))
    kaldifst.connect(graph)
    end = graph.num_states
    rows = [(node, arc.nextstate, arc.ilabel - 1, -arc.weight.value)
            for node in range(end) for arc in kaldifst.ArcIterator(graph, node)]
    rows += [(node, end, -1, -cost) for node in range(end) if np.isfinite(cost := graph.final(node).value)]
    if not rows:
        return None
    source, target, state = np.array([row[:3] for row in rows], np.int32).T
    frames = longest(source, target, state >= 0)             # heard before each node
    frame = np.where(state >= 0, frames[source], -1).astype(np.int32)
    return Lattice(source, target, frame, state, np.array([row[3] for row in rows], np.float32))
