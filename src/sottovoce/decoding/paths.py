"""What training on whole utterances asks of the ways through them: objectives that rise as the right way wins.

Scores [frames, states] are scaled log likelihoods of states; the reference is the state of every frame. A way is worth
as many frames as it has in common with the reference, and as probable as its scores and its graph make it.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
States = NDArray[np.integer]


class Occupancy(NamedTuple):
    """Where ways lead through an utterance."""

    total: float             # log sum of the ways
    right: float             # frames of a way that are as in the reference, expected
    occupied: Array          # [frames, states], probability of being there (gamma)
    surplus: Array           # [frames, states], that times how many more right frames the ways through there have


class Paths(Protocol):
    """All ways through an utterance that are considered: a lattice, or a graph of phones."""

    def occupancy(self, scores: Array, reference: States) -> Occupancy:
        """Of scores and a reference; in the precision of the scores."""
        ...


Objective = Callable[[Paths, Array, States], tuple[float, Array]]      # -> its value, its gradient by the scores


def smbr(paths: Paths, scores: Array, reference: States) -> tuple[float, Array]:
    """Frames that are right, expected over the ways (state-level minimum Bayes risk). Source: Gibson and Hain 2006."""
    found = paths.occupancy(scores, reference)
    return found.right, found.surplus


def mmi(paths: Paths, scores: Array, reference: States) -> tuple[float, Array]:
    """Log probability of the reference among the ways (maximum mutual information), but for its own in the graph."""
    found = paths.occupancy(scores, reference)
    frames, gradient = np.arange(len(reference)), -found.occupied
    gradient[frames, reference] += 1
    return float(scores[frames, reference].sum()) - found.total, gradient


OBJECTIVES: dict[str, Objective] = {"smbr": smbr, "mmi": mmi}
