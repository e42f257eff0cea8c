"""Graphs put together by hand, node by node, over a toy front end; weights from a seed, with holes where asked."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Sparse, Stored

FRAME = {"n_fft": 8, "hop": 4, "window": "hann_sqrt"}
BINS = 5
Array = NDArray[Any]


class Sketch:
    """A graph under construction; every method gives the name of the value that it adds."""

    def __init__(self, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.most_holes = 0.6
        self.tensors: dict[str, Stored] = {}
        self.nodes = [
            Node("stft", "spectrum", ("noisy",), attributes=FRAME), Node("magnitude", "magnitude", ("spectrum",)),
        ]

    def add(self, op: str, *inputs: str, tensors: dict[str, Array | Stored] | None = None, **attributes: Any) -> str:
        name, roles = f"{op}{len(self.nodes)}", {}
        for role, tensor in (tensors or {}).items():
            roles[role] = f"{name}.{role}"
            self.tensors[roles[role]] = Dense(tensor.astype(np.float32)) if isinstance(tensor, np.ndarray) else tensor
        self.nodes.append(Node(op, name, inputs, roles, attributes))
        return name

    def normal(self, *shape: int) -> Array:
        """Values that are nowhere near zero."""
        values = self.random.normal(0, 0.5, shape)
        return np.asarray(values + 0.1 * np.sign(values))

    def linear(self, x: str, weight: Array, bias: Array | None = None) -> str:
        bias = self.normal(len(weight)) if bias is None else bias
        return self.add("linear", x, tensors={"weight": weight, "bias": bias})

    def lstm(self, x: str, weight_ih: Array, weight_hh: Array) -> str:
        return self.recurrent("lstm", x, weight_ih, weight_hh)

    def recurrent(self, op: str, x: str, weight_ih: Array, weight_hh: Array) -> str:
        gates, hidden = weight_hh.shape
        biases = {role: self.normal(gates) for role in ("bias_ih", "bias_hh")}
        return self.add(op, x, tensors={"weight_ih": weight_ih, "weight_hh": weight_hh, **biases}, hidden=hidden)

    def conv(self, op: str, x: str, weight: Array, **attributes: Any) -> str:
        outputs = weight.shape[1 if op == "conv_transpose2d" else 0]
        return self.add(op, x, tensors={"weight": weight, "bias": self.normal(outputs)}, **attributes)

    def mask(self, x: str, features: int) -> Artefact:
        """The model whose output is the input times a mask made of the features of `x`."""
        return self.gain(self.linear(x, self.normal(BINS, features)))

    def gain(self, x: str) -> Artefact:
        """The model whose mask are the sigmoids of the bins `x`."""
        enhanced = self.add("mul", "spectrum", self.add("unsqueeze", self.add("sigmoid", x)))
        self.nodes.append(Node("istft", "clean", (enhanced,), attributes=FRAME))
        return Artefact(Graph(("noisy",), ("clean",), tuple(self.nodes)), self.tensors, {"sample_rate": 16_000})


def holes(weight: Array, *, rows: Any = (), columns: Any = ()) -> Array:
    """The weights with zeros in these rows (axis 0) and columns (axis 1)."""
    pruned = weight.copy()
    pruned[list(rows)] = 0
    pruned[:, list(columns)] = 0
    return pruned


def in_forms(tensors: dict[str, Stored], random: np.random.Generator) -> dict[str, Stored]:
    """Matrices by turns dense, sparse and with a codebook, vectors in 16 bits."""
    stored: dict[str, Stored] = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        values = tensor.to_array()
        if values.ndim < 2:
            stored[name] = Dense(values.astype(np.float16))
        elif number % 3 == 0:
            stored[name] = Sparse(values != 0, values[values != 0])
        elif number % 3 == 1:
            codes = random.integers(1, 9, values.shape).astype(np.uint8) * (values != 0)
            stored[name] = Codebook(codes.astype(np.uint8), np.append(0, random.normal(0, 0.3, 8)).astype(np.float32))
        else:
            stored[name] = tensor
    return stored
