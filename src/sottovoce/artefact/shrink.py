"""A pruned model as a smaller one that computes the same: what nothing reads goes, with the weights that made it.

A feature is needed when it is fixed (see features.py), or when a weight that is not zero carries it into one that is
needed. Recurrent units feed themselves, so this is a fixed point, reached from nothing: units that only feed each other
go.

Where zeros lie in blocks of 16 rows, which the engine runs fast, one row less would move all those below it into blocks
of two: there only whole blocks of features go, or where gates begin within blocks, nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact import Artefact
from sottovoce.artefact.constants import BIASES, Arrays, Constants, added, find_constants
from sottovoce.artefact.features import Features
from sottovoce.artefact.graph import GATES, Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored

Needed = NDArray[np.bool_]               # by number of the feature

SLICE = 16                               # rows of a block
BROKEN = 1.1                             # times as many blocks as before, for fewer weights: they were cut through


def shrink(artefact: Artefact) -> Artefact:
    """The artefact without what cannot change its output, every tensor in the form that it had.

    The output is the same up to rounding. A bias may take up what was constant; a float16 one becomes float32 where
    that needs it. `meta["removed"]` has [old shape, new shape] of every tensor that became smaller, None for one that
    is gone; `meta["folded"]` names the biases that changed. Where nothing can go it is the artefact itself.
    Raises FormatError when graph and tensors do not fit together.
    """
    graph = _read_by_someone(artefact.graph)
    shapes = {name: stored.shape for name, stored in artefact.tensors.items()}
    features = Features(graph, shapes)
    arrays = {name: artefact.tensors[name].to_array() for name in features.tensors}
    constants = find_constants(graph, features, arrays)
    most = BROKEN * _blocks(features, arrays, np.full(features.numbers, True))
    several = (_needed(features, constants, arrays, run) for run in (1, SLICE))
    needed = next((needed for needed in several if _blocks(features, arrays, needed) <= most), None)
    if needed is None:
        return artefact
    folded = _folded(features, constants, needed, arrays)
    tensors = {}
    for name, stored in artefact.tensors.items():
        if name in features.tensors:
            there = _with_values(stored, folded[name]) if name in folded else stored
            places = [None if axis is None else needed[axis] for axis in features.tensors[name]]
            tensors[name] = taken(there, places)
    if {name: stored.shape for name, stored in tensors.items()} == shapes:
        return artefact
    nodes = tuple(replace(node, attributes=_attributes(node, features, needed)) for node in graph.nodes)
    meta = _meta(artefact.meta, shapes, tensors, folded)
    return Artefact(replace(graph, nodes=nodes), tensors, meta)


def taken(stored: Stored, places: Sequence[Needed | None]) -> Stored:
    """These indices of every axis of a tensor (None: all), in the form that it has; a codebook without idle values."""
    if all(place is None or place.all() for place in places):
        return stored
    grid = np.ix_(*(np.full(size, True) if place is None else place
                    for size, place in zip(stored.shape, places, strict=True)))
    match stored:
        case Dense(values):
            return Dense(values[grid])
        case Sparse(keep):
            return Sparse(keep[grid], stored.to_array()[grid][keep[grid]])
        case Codebook(codes, table):
            used = np.union1d(codes[grid], [0])
            fitting = np.uint8 if len(used) <= 256 else np.uint16
            return Codebook(np.searchsorted(used, codes[grid]).astype(fitting), table[used])
        case Levels(levels, scale, bits):
            along = (slice(None) if place is None or size == 1 else place
                     for place, size in zip(places, scale.shape, strict=True))
            return Levels(levels[grid], scale[tuple(along)], bits)
    raise TypeError(f"cannot take a part of a {type(stored).__name__}")


def _read_by_someone(graph: Graph) -> Graph:
    """The graph without nodes whose values lead to no output."""
    wanted, nodes = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if node.name in wanted:
            wanted.update(node.inputs)
            nodes.append(node)
    return replace(graph, nodes=tuple(reversed(nodes)))


def _blocks(features: Features, arrays: Arrays, needed: Needed) -> int:
    """How many columns of 16 rows are not all zeros, in what is left of all matrices."""
    count = 0
    for reading in features.readings:
        matrix = reading.matrix(arrays[reading.tensor])[needed[reading.results]][:, needed[reading.sources]] != 0
        count += sum(int(matrix[first : first + SLICE].any(0).sum()) for first in range(0, len(matrix), SLICE))
    return count


def _needed(features: Features, constants: Constants, arrays: Arrays, run: int = 1) -> Needed:
    """Which features have to stay; of every axis at least one does, and of a run of new ones all or none."""
    needed = features.fixed[: features.numbers].copy()
    reads = []
    for reading in reversed(features.readings):
        varies = np.isnan(constants.replaceable(reading))
        reads.append((reading, (reading.matrix(arrays[reading.tensor]) != 0).any(2) & varies))
    axes = [axis for value in features.values.values() for axis in value if len(axis)]
    made = [features.values[name][-1] for name in dict.fromkeys(reading.node.name for reading in features.readings)]
    runs = [axis[first : first + run] for axis in made for first in range(0, len(axis), run)] if run > 1 else []
    before = -1
    while before < needed.sum():
        before = needed.sum()
        for one, two in reversed(features.ties):
            needed[one[needed[two]]] = True
            needed[two[needed[one]]] = True
        for reading, matrix in reads:
            needed[reading.sources[matrix[needed[reading.results]].any(0)]] = True
        for together in runs:
            needed[together] = needed[together].any()
        empty = [axis for axis in axes if not needed[axis].any()]
        if before == needed.sum() and empty:
            needed[empty[0][0]] = True
    return needed


def _folded(
    features: Features, constants: Constants, needed: Needed, arrays: Arrays
) -> dict[str, NDArray[np.float32]]:
    """The biases that take up constants which go, with their new values."""
    folded = {}
    for reading in features.readings:
        gone = np.where(needed[reading.sources], np.nan, constants.replaceable(reading))
        more = added(reading, gone, arrays)
        if more.any():
            bias = reading.node.tensors[BIASES[reading.node.op]]
            folded[bias] = (arrays[bias] + more).astype(np.float32)
    return folded


def _with_values(stored: Stored, values: NDArray[np.float32]) -> Dense:
    """New values, in 16 bits if the old ones were and these fit."""
    half = values.astype(np.float16)
    was_half = isinstance(stored, Dense) and stored.values.dtype == np.float16
    return Dense(half if was_half and np.array_equal(half, values) else values)


def _attributes(node: Node, features: Features, needed: Needed) -> dict[str, Any]:
    """The attributes of a node that count features, counted again."""
    changed = {}
    if node.op == "take":
        stays, come = (needed[features.values[name][-1]] for name in (node.name, node.inputs[0]))
        places = np.where(come, np.cumsum(come) - 1, -1)
        channels = np.array(node.attributes["channels"])[stays]
        return node.attributes | {"channels": np.where(channels < 0, -1, places[channels]).tolist()}
    if node.op in GATES:
        changed = {"hidden": needed[features.values[node.name][0]]}
    elif node.op == "slice":
        stays = needed[features.values[node.inputs[0]][-1]]
        changed = {name: stays[: node.attributes[name]] for name in ("start", "stop")}
    elif node.op == "attention":
        stays = needed[features.values[node.name][0]]
        changed = {"heads": stays[:: len(stays) // node.attributes["heads"]]}
    elif node.op == "conv1d" and node.attributes["groups"] > 1:
        changed = {"groups": needed[features.values[node.name][0]]}
    return node.attributes | {name: int(stays.sum()) for name, stays in changed.items()}


def _meta(
    meta: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Stored],
    folded: Mapping[str, Any],
) -> dict[str, Any]:
    """What the file says of itself after removal; what was removed before stays in the record."""
    removed = dict(meta.get("removed", {}))
    for name, old in shapes.items():
        new = list(tensors[name].shape) if name in tensors else None
        if new != list(old):
            removed[name] = [removed.get(name, [list(old)])[0], new]
    record = {**meta, "removed": removed, "folded": sorted({*meta.get("folded", []), *folded})}
    if "not_compressed" in meta:
        record["not_compressed"] = {name: why for name, why in meta["not_compressed"].items() if name in tensors}
    return record
