"""What an ONNX file holds of a model: all between the two ends of its graph, one frame at a time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import ENDS, Node
from sottovoce.errors import SottovoceError
from sottovoce.runtime.reference import OPS

Array = NDArray[np.float32]
Shape = tuple[int, ...]
States = dict[str, dict[str, Array]]           # name of the node -> what it keeps
FORMS = " or ".join(f"one {first}, operations, one {last} like it" for first, last in ENDS)


@dataclass(frozen=True)
class Inside:
    """The nodes between the two that stay outside: first makes frames of a waveform, last a waveform of frames."""

    artefact: Artefact
    first: Node
    last: Node
    nodes: tuple[Node, ...]

    @property
    def frame(self) -> Shape:
        """Shape of one frame: a spectrum [bins, 2] or samples [n_fft]."""
        n_fft = self.first.attributes["n_fft"]
        return (n_fft // 2 + 1, 2) if self.first.op == "stft" else (n_fft,)

    def shapes(self) -> tuple[dict[str, Shape], dict[tuple[str, str], Shape]]:
        """Of one frame: shapes of all values by name, and of what nodes keep by node and part; batch and time 1.

        Raises SottovoceError if operations and tensors do not fit together.
        """
        return shapes(self.artefact, self.nodes, {self.first.name: np.zeros((1, 1, *self.frame), np.float32)})

    def run(self, frames: Array) -> Iterator[Array]:
        """What the numpy reference makes of each of the frames [T, ...], from a fresh start."""
        tensors, states = floats(self.artefact), States()
        for frame in frames:
            values = {self.first.name: frame[None, None]}
            states = through(self.nodes, tensors, values, states)
            yield values[self.last.inputs[0]][0, 0]


def floats(artefact: Artefact) -> dict[str, Array]:
    """The values of all tensors."""
    return {name: stored.to_array() for name, stored in artefact.tensors.items()}


def through(nodes: Sequence[Node], tensors: Mapping[str, Array], values: dict[str, Array], states: States) -> States:
    """Put what the numpy reference makes of them into the `values` of nodes; gives what the nodes keep."""
    after = States()
    for node in nodes:
        used = {role: tensors[name] for role, name in node.tensors.items()}
        inputs = [values[name] for name in node.inputs]
        values[node.name], after[node.name] = OPS[node.op](node.attributes, used, inputs, states.get(node.name, {}))
    return after


def shapes(
    artefact: Artefact, nodes: Sequence[Node], values: dict[str, Array]
) -> tuple[dict[str, Shape], dict[tuple[str, str], Shape]]:
    """Of all values, those at the start given, by name, and of what nodes keep by node and part.

    Raises SottovoceError if operations and tensors do not fit together.
    """
    try:
        states = through(nodes, floats(artefact), values, {})
    except (LookupError, ValueError) as error:
        raise SottovoceError(f"ONNX export: the model does not fit together ({error})") from error
    kept = {(node, part): array.shape for node, parts in states.items() for part, array in parts.items()}
    return {name: value.shape for name, value in values.items()}, kept


def check_operations(nodes: Sequence[Node], known: Mapping[str, object]) -> None:
    """Raise SottovoceError unless all of them have a form in ONNX."""
    for node in nodes:
        if node.op not in known:
            raise SottovoceError(f"ONNX export: node {node.name}: expected one of {', '.join(known)}, got {node.op}")


def inside(artefact: Artefact) -> Inside:
    """All between the ends of the graph.

    Raises SottovoceError unless it has two that belong together, one input and nothing that waits for later frames.
    """
    graph = artefact.graph
    if len(graph.inputs) > 1:
        raise SottovoceError(f"ONNX export: expected a model of one waveform, got one of {', '.join(graph.inputs)}")
    if not graph.causal:
        node = next(node for node in graph.streamed if not node.causal)
        raise SottovoceError(f"ONNX export: expected a causal model, got one that looks ahead ({node.op} {node.name})")
    ends = [node for node in graph.nodes if any(node.op in pair for pair in ENDS)]
    nodes = tuple(node for node in graph.nodes if node not in ends)
    outside = {*graph.inputs, *graph.outputs}
    if (
        tuple(node.op for node in ends) not in ENDS
        or ends[0].inputs != graph.inputs
        or (ends[1].name,) != graph.outputs
        or ends[0].attributes != ends[1].attributes
        or any(outside & {*node.inputs} for node in nodes)
    ):
        raise SottovoceError(
            f"ONNX export: expected a waveform, {FORMS} and a waveform, "
            f"got {', '.join(node.op for node in graph.nodes)}"
        )
    return Inside(artefact, ends[0], ends[1], nodes)

