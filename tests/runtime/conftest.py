import numpy as np
import pytest

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import Graph, Node
from sottovoce.artefact.stored import Dense
from sottovoce.runtime.session import Session

N_FFT, HOP, BINS, RATE = 320, 160, 161, 16_000
FRAME = {"n_fft": N_FFT, "hop": HOP, "window": "hamming"}
LSTM_ROLES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def lstm_enhancer(hidden: int = 8, layers: int = 2, seed: int = 0) -> Artefact:
    """A masking LSTM enhancer with weights from a seed."""
    random = np.random.default_rng(seed)
    tensors = {}

    def stored(name: str, *shape: int) -> str:
        tensors[name] = Dense((random.standard_normal(shape) / np.sqrt(hidden)).astype(np.float32))
        return name

    energy = float(np.square(np.hamming(N_FFT)).sum())
    level = {"decay": 0.99, "floor": 1e-4, "window_energy": energy}
    nodes = [
        Node("stft", "spectrum", ("waveform",), attributes=FRAME),
        Node("running_rms", "level", ("spectrum",), attributes=level),
        Node("magnitude", "magnitude", ("spectrum",)),
        Node("div", "levelled", ("magnitude", "level")),
        Node("log1p", "features", ("levelled",)),
    ]
    for layer in range(layers):
        size = hidden if layer else BINS
        shapes = ((4 * hidden, size), (4 * hidden, hidden), (4 * hidden,), (4 * hidden,))
        weights = zip(LSTM_ROLES, shapes, strict=True)
        roles = {role: stored(f"lstm.{role}_l{layer}", *shape) for role, shape in weights}
        nodes.append(Node("lstm", f"lstm.{layer}", (nodes[-1].name,), roles, {"hidden": hidden}))
    output = {"weight": stored("output.weight", BINS, hidden), "bias": stored("output.bias", BINS)}
    nodes += [
        Node("linear", "estimate", (nodes[-1].name,), output),
        Node("sigmoid", "mask", ("estimate",)),
        Node("unsqueeze", "gain", ("mask",)),
        Node("mul", "enhanced", ("spectrum", "gain")),
        Node("istft", "output", ("enhanced",), attributes=FRAME),
    ]
    return Artefact(Graph(("waveform",), ("output",), tuple(nodes)), tensors, {"sample_rate": RATE})


def passing_through() -> Artefact:
    """An enhancer that leaves everything as it is: its mask is sigmoid(40) = 1."""
    artefact = lstm_enhancer()
    weight, bias = np.zeros((BINS, 8), np.float32), np.full(BINS, 40, np.float32)
    tensors = artefact.tensors | {"output.weight": Dense(weight), "output.bias": Dense(bias)}
    return Artefact(artefact.graph, tensors, artefact.meta)


@pytest.fixture(scope="session")
def artefact() -> Artefact:
    return lstm_enhancer()


@pytest.fixture
def session(artefact) -> Session:
    return Session(artefact)


@pytest.fixture
def wire() -> Session:
    """A session whose output is its input."""
    return Session(passing_through())


@pytest.fixture
def speech():
    """A second and a bit of something that rises and falls, [N] in -1..1."""
    random = np.random.default_rng(1)
    time = np.arange(18_001) / RATE
    tone = np.sin(2 * np.pi * 300 * time) * (1 + np.sin(2 * np.pi * 3 * time)) * 0.2
    return (tone + 0.02 * random.standard_normal(len(time))).astype(np.float32)
