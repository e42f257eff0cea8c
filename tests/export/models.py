"""LSTM enhancers with weights from a seed, built as artefacts by hand."""

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Codebook, Dense, Sparse, Stored

BINS = 161
STFT = {"n_fft": 320, "hop": 160, "window": "hamming"}


def enhancer(
    hidden: int = 32, layers: int = 1, values: int = 16, zeros: float = 0.0, form: str = "codebook", mask: bool = True
) -> Artefact:
    """A causal magnitude LSTM: gains in 0..1 after a running level (`mask`), or magnitudes by relu without one.

    `values` is the length of each weight's table, the exact zero included; `zeros` the share of weights at zero.
    """
    rng = np.random.default_rng(hidden + layers)
    tensors: dict[str, Stored] = {}

    def weight(name: str, rows: int, columns: int) -> str:
        tensors[name] = stored(rng, (rows, columns), values, zeros, form)
        return name

    def bias(name: str, rows: int) -> str:
        tensors[name] = Dense((rng.standard_normal(rows) * 0.3).astype(np.float16))
        return name

    nodes = [Node("stft", "stft", ("waveform",), attributes=STFT), Node("magnitude", "magnitude", ("stft",))]
    if mask:
        level = {"decay": 0.995, "floor": 1e-4, "window_energy": 127.0}
        nodes += [
            Node("running_rms", "level", ("stft",), attributes=level),
            Node("div", "normal", ("magnitude", "level")),
            Node("log1p", "features", ("normal",)),
        ]
    for layer in range(layers):
        inputs = BINS if layer == 0 else hidden
        roles = {
            "weight_ih": weight(f"lstm.weight_ih_l{layer}", 4 * hidden, inputs),
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
        Node("istft", "istft", ("enhanced",), attributes=STFT),
    ]
    meta = {"model": "lstm", "task": "enhance", "sample_rate": 16_000, "parameters": 1}
    return Artefact(Graph(("waveform",), ("istft",), tuple(nodes)), tensors, meta)


def stored(rng: np.random.Generator, shape: tuple[int, int], values: int, zeros: float, form: str) -> Stored:
    dense = (rng.standard_normal(shape) / np.sqrt(shape[1])).astype(np.float32)
    dense[rng.random(shape) < zeros] = 0
    if form == "dense":
        return Dense(dense)
    if form == "sparse":
        return Sparse(dense != 0, dense[dense != 0])
    table = np.concatenate([[0], np.quantile(dense[dense != 0], np.linspace(0.01, 0.99, values - 1))]).astype(np.float32)
    codes = rng.integers(1, values, shape) if values > 1 else np.zeros(shape, int)
    codes[dense == 0] = 0
    return Codebook(codes.astype(np.uint8 if values <= 256 else np.uint16), table)


def weight_count(artefact: Artefact) -> int:
    return sum(t.codes.size for t in artefact.tensors.values() if isinstance(t, Codebook))
