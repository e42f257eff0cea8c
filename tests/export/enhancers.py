"""LSTM enhancers with weights from a seed, built as artefacts by hand."""

import math

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Sparse, Stored

BINS = 161
LEVEL_SECONDS = 2.0


def enhancer(
    hidden: int = 32,
    layers: int = 1,
    values: int = 16,
    zeros: float = 0.0,
    form: str = "codebook",
    mask: bool = True,
    window: str = "hamming",
) -> Artefact:
    """A causal LSTM: gains in 0..1 after a running level (`mask`), or magnitudes by relu without one.

    `form` of the weights: dense, sparse or codebook; `values` the length of a codebook with its exact zero,
    `zeros` the share of weights at zero. Biases are float16.
    """
    rng = np.random.default_rng(hidden + layers)
    tensors: dict[str, Stored] = {}

    def weight(name: str, rows: int, columns: int) -> str:
        tensors[name] = stored(rng, (rows, columns), values, zeros, form)
        return name

    def bias(name: str, rows: int) -> str:
        tensors[name] = Dense((rng.standard_normal(rows) * 0.3).astype(np.float16))
        return name

    edge = {"n_fft": 320, "hop": 160, "window": window}
    nodes = [Node("stft", "stft", ("waveform",), attributes=edge), Node("magnitude", "magnitude", ("stft",))]
    if mask:
        energy = float(np.square(np.hamming(320)).sum()) if window == "hamming" else 160.0
        level = {"decay": math.exp(-0.01 / LEVEL_SECONDS), "floor": 1e-4, "window_energy": energy}
        nodes += [
            Node("running_rms", "level", ("stft",), attributes=level),
            Node("div", "normal", ("magnitude", "level")),
            Node("log1p", "features", ("normal",)),
        ]
    for layer in range(layers):
        roles = {
            "weight_ih": weight(f"lstm.weight_ih_l{layer}", 4 * hidden, hidden if layer else BINS),
            "weight_hh": weight(f"lstm.weight_hh_l{layer}", 4 * hidden, hidden),
            "bias_ih": bias(f"lstm.bias_ih_l{layer}", 4 * hidden),
            "bias_hh": bias(f"lstm.bias_hh_l{layer}", 4 * hidden),
        }
        nodes.append(Node("lstm", f"lstm_{layer}", (nodes[-1].name,), roles, {"hidden": hidden}))
    roles = {"weight": weight("output.weight", BINS, hidden), "bias": bias("output.bias", BINS)}
    nodes.append(Node("linear", "output", (nodes[-1].name,), roles))
    if mask:
        nodes.append(Node("sigmoid", "gain", ("output",)))
    else:
        nodes += [Node("relu", "target", ("output",)), Node("div", "gain", ("target", "magnitude"))]
    nodes += [
        Node("unsqueeze", "complex_gain", ("gain",)),
        Node("mul", "enhanced", ("stft", "complex_gain")),
        Node("istft", "istft", ("enhanced",), attributes=edge),
    ]
    meta = {"model": "lstm", "task": "enhance", "sample_rate": 16_000, "parameters": 1}
    return Artefact(Graph(("waveform",), ("istft",), tuple(nodes)), tensors, meta)


def stored(rng: np.random.Generator, shape: tuple[int, int], values: int, zeros: float, form: str) -> Stored:
    """A weight of about the size that keeps an LSTM lively."""
    dense = (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32)
    dense[rng.random(shape) < zeros] = 0
    if form == "dense":
        return Dense(dense)
    if form == "sparse":
        return Sparse(dense != 0, dense[dense != 0])
    quantiles = np.quantile(dense[dense != 0], (np.arange(values - 1) + 0.5) / (values - 1))
    nearest = np.searchsorted((quantiles[1:] + quantiles[:-1]) / 2, dense) + 1
    codes = np.where(dense == 0, 0, nearest).astype(np.uint8 if values <= 256 else np.uint16)
    return Codebook(codes, np.array([0, *quantiles], np.float32))
