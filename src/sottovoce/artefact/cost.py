"""What a model costs to run: multiply-adds, from its graph and its tensors alone.

A product of a weight with a value counts one, at every place where a kernel is laid, edges included; biases, norms and
what goes on inside the cell of a recurrent layer count nothing; nor do products of values with each other, as in
attention, which grow with the length of what is heard; nor does what depends on conditions alone, such as an
enrolment, and runs once, before the stream. Transposed convolutions count at every place of their output, as if
zeros had been put between their inputs, because Tan and Wang 2021 (Table III) do so; a stride of 2 needs half of that.
With 401 frames for 4 s their totals exceed ours by 0.05 % (FDNN), 0.2 % (LSTM), 1.1 % (TCNN) and 0.6 % (GCRN):
biases, two products a value in batch norms and those within LSTM cells make up for it, but for 0.2 % of the GCRN.
"""

import math
from dataclasses import dataclass

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.features import Features
from sottovoce.artefact.graph import GATES
from sottovoce.errors import FormatError


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of a node for one frame."""

    node: str
    op: str
    dense: int               # with every weight
    nonzero: int             # with those that are not zero


def costs(artefact: Artefact) -> list[Cost]:
    """A row for every node of the stream that has weights.

    Raises FormatError when graph and tensors do not fit together.
    """
    features = Features(artefact.graph, {name: stored.shape for name, stored in artefact.tensors.items()})
    sizes = {value: tuple(map(len, axes)) for value, axes in features.values.items()}
    weights = {
        name: (math.prod(stored.shape), int(np.count_nonzero(stored.to_array())))
        for name, stored in artefact.tensors.items()
    }
    rows = []
    folded: dict[str, int] = {}          # by value: how many frames of the model's beginning are one of its own
    for node in artefact.graph.streamed:
        every = max((folded.get(name, 1) for name in node.inputs), default=1)
        folded[node.name] = every * (node.attributes["size"] if node.op == "fold" else 1)
        tensors = [weights[name] for role, name in node.tensors.items() if role in MATRICES.get(node.op, ())]
        if tensors:
            times = math.prod(sizes[node.name][:-1])              # at how many places of a frame
            counted = (sum(counts) for counts in zip(*tensors, strict=True))
            dense, nonzero = (times * count // every for count in counted)
            rows.append(Cost(node.name, node.op, dense, nonzero))
    return rows


def frame_rate(artefact: Artefact) -> float:
    """Frames per second of audio. Raises FormatError when the model has no sample rate or no frames."""
    rate = artefact.meta.get("sample_rate")
    framed = (node for node in artefact.graph.streamed if node.op in ("stft", "frames", "fbank"))
    hop = next((node.attributes["hop"] for node in framed), None)
    if not isinstance(rate, int) or rate < 1 or hop is None:
        raise FormatError(f"model: expected a sample_rate in Hz and frames, got {rate!r} and a hop of {hop!r}")
    return float(rate / hop)


def multiply_adds(artefact: Artefact, seconds: float = 1.0) -> tuple[int, int]:
    """Multiply-adds for so much audio: with every weight, and with those that are not zero.

    Raises FormatError as `costs` and `frame_rate` do.
    """
    frames, rows = seconds * frame_rate(artefact), costs(artefact)
    return round(frames * sum(row.dense for row in rows)), round(frames * sum(row.nonzero for row in rows))


MATRICES: dict[str, tuple[str, ...]] = {     # the tensors of an operation that values are multiplied with and summed
    "linear": ("weight",), **dict.fromkeys(GATES, ("weight_ih", "weight_hh")),
    "conv1d": ("weight",), "conv2d": ("weight",), "conv_transpose2d": ("weight",),
}

