"""A model without channels picked out of others beside its matrices, at which dense runtimes are slow.

A `take` that only matrices read, or that reads what one matrix gives, becomes columns or rows of zeros in these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact import Artefact
from sottovoce.artefact.features import Features
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Levels, Stored
from sottovoce.export.scope import rearranged

MOST = 1.5               # times as large a matrix may become

Places = Sequence[int]   # an index of an axis for each one that is wanted, -1 for zeros


def without_picks(artefact: Artefact) -> Artefact:
    """The artefact with every `take` that can be in the matrices beside it, each tensor in the form that it had.

    The output is the same up to rounding. Raises FormatError when graph and tensors do not fit together.
    """
    for node in artefact.graph.nodes:
        if node.op == "take":
            artefact = _before(artefact, node) or _behind(artefact, node) or artefact
    return artefact


def _before(artefact: Artefact, take: Node) -> Artefact | None:
    """Without a take that only matrices read; None where there is more to it."""
    shapes = {name: stored.shape for name, stored in artefact.tensors.items()}
    channels, wide = take.attributes["channels"], len(Features(artefact.graph, shapes).values[take.inputs[0]][-1])
    readers = [node.name for node in artefact.graph.nodes if take.name in node.inputs and node.op == "linear"]
    if _readers(artefact.graph, take.name) != len(readers) or len({*channels, -1}) <= len(channels):
        return None
    places = np.full(wide, -1)
    places[channels] = np.arange(len(channels))
    return _merged(artefact, take, readers, {"weight": 1}, places.tolist())


def _behind(artefact: Artefact, take: Node) -> Artefact | None:
    """Without a take of what one matrix gives, times constants maybe; None where there is more to it."""
    nodes = {node.name: node for node in artefact.graph.nodes}
    name = take.inputs[0]
    while name in nodes and _readers(artefact.graph, name) == 1:
        node = nodes[name]
        if node.op == "linear":
            return _merged(artefact, take, [name], {"weight": 0, "bias": 0}, take.attributes["channels"])
        if node.op != "affine" or node.attributes["shift"]:
            break
        name = node.inputs[0]
    return None


def _readers(graph: Graph, name: str) -> int:
    """How often a value is read, by whoever uses the model too."""
    return [*graph.outputs, *(of for node in graph.nodes for of in node.inputs)].count(name)


def _merged(artefact: Artefact, take: Node, layers: Sequence[str], axes: Mapping[str, int],
            places: Places) -> Artefact | None:
    """Without the take: these layers have such places on these axes of their tensors; None where that is too many."""
    tensors, nodes = dict(artefact.tensors), []
    for node in artefact.graph.nodes:
        if node.name == take.name:
            continue
        inputs = tuple(take.inputs[0] if of == take.name else of for of in node.inputs)
        of = dict(node.tensors)
        for role in axes if node.name in layers else ():
            if role in of:
                stored = artefact.tensors[of[role]]
                if len(places) > MOST * stored.shape[axes[role]]:
                    return None
                of[role] = f"{of[role]}/{take.name}"             # others may read the tensor as it is
                tensors[of[role]] = placed(stored, axes[role], places)
        nodes.append(replace(node, inputs=inputs, tensors=of))
    outputs = tuple(take.inputs[0] if of == take.name else of for of in artefact.graph.outputs)
    return replace(artefact, graph=replace(artefact.graph, outputs=outputs, nodes=tuple(nodes)), tensors=tensors)


def placed(stored: Stored, axis: int, places: Places) -> Stored:
    """These places of an axis of a tensor, in the form that it has."""
    def chosen(array: NDArray[Any], beyond: float = 0) -> NDArray[Any]:
        zeros = np.full_like(array.take([0], axis), beyond)
        return np.concatenate([array, zeros], axis).take(places, axis)

    if isinstance(stored, Levels):
        scale = stored.scale if stored.scale.shape[axis] == 1 else chosen(stored.scale, beyond=1)
        return Levels(chosen(stored.levels), scale, stored.bits)
    return rearranged(stored, chosen)
