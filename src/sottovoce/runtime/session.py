"""Runs an artefact: whole waveforms, or hop by hop with an explicit state. Both are the same computation."""

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import ENDS, FEATURES, Node
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.runtime.fbank import ahead, mirrored, past
from sottovoce.runtime.reference import OPS, Array, State
from sottovoce.runtime.surface import AnySession, Step

BLOCK_FRAMES = 256         # of all waveforms computed at once, however many are given: bounds memory, and fits caches


class Session(AnySession):
    """A model that numpy runs: what its file's operations are defined by.

    Raises FormatError unless the artefact makes one waveform, or features, out of one, with or without conditions.
    """

    def __init__(self, artefact: Artefact) -> None:
        self.graph, self.inputs, self.causal = artefact.graph, artefact.graph.inputs, artefact.graph.causal
        self.meta = artefact.meta
        self._nodes = artefact.graph.streamed
        self.features = [node.op for node in self._nodes if node.op in (FEATURES, *chain(*ENDS))] == [FEATURES]
        self._front = next((node for node in self._nodes if node.op == FEATURES and self.features), None)
        self._before = tuple(node for node in self.graph.nodes if node not in self._nodes)       # once, in `given`
        self._gone = _last_reads((*self._before, *self._nodes), self.graph.outputs)
        self.tensors = {name: stored.to_array() for name, stored in artefact.tensors.items()}
        rate = artefact.meta.get("sample_rate")
        if not isinstance(rate, int) or rate < 1:
            raise FormatError(f"model: expected a sample_rate in Hz, got {rate!r}")
        self.sample_rate = rate
        self.hop, self.delay = self._timing()
        self._state: State = {}
        self._known: dict[str, Array] = {}                       # what the conditions come to
        self._missing = self.inputs[1:]
        self._windows = {name: self._window(name) for name in self._missing}
        self._try()

    def advance(self, samples: Array, state: State) -> tuple[Array, State]:
        """Output and new state for samples [B, K * hop] after `state`; `{}` is a fresh start.

        Pure and unchecked: `step` is this with its input checked and the state kept. Raises SottovoceError as `step`
        does for a model that is not causal.
        """
        self._expect_causal("advance")
        self._expect_conditions()
        if not state:
            samples, state = self._begun(samples)
        size = max(BLOCK_FRAMES // (len(samples) * self.graph.piece), 1) * self.hop
        parts = []
        for start in range(0, max(samples.shape[1], 1), size):
            value, state = self._execute(samples[:, start : start + size], state)
            parts.append(value)
        return np.concatenate(parts, axis=1), state

    def reset(self) -> None:
        self._state = {}

    @property
    def state(self) -> State:
        """What `step` remembers, copied: arrays [B, ...] by name; empty before the first step.

        Assign such a dictionary to continue from there. Raises SottovoceError if it is not one of this model.
        """
        return {name: array.copy() for name, array in self._state.items()}

    @state.setter
    def state(self, state: Mapping[str, Array]) -> None:
        arrays = {name: np.array(array, np.float32) for name, array in state.items()}
        fresh = self._silence(_batch(arrays)) if arrays else {}
        for name in sorted(fresh.keys() | arrays.keys()):
            wanted, came = (str(of[name].shape) if name in of else "nothing" for of in (fresh, arrays))
            if wanted != came:
                raise SottovoceError(f"state {name}: expected {wanted}, got {came}")
        self._state = arrays

    def _know(self, conditions: Sequence[Array]) -> None:
        self._known = self._conditioned(conditions)

    def _whole(self, samples: Array) -> Array:
        if self.causal:
            return np.concatenate([*self.stream([samples])], axis=1)
        if self.features:
            return self._execute(samples, {})[0]
        length = samples.shape[1]
        padded = np.pad(samples, ((0, 0), (0, self.delay + -length % self.hop)))
        return self._execute(padded, {})[0][:, self.delay : self.delay + length]

    def _fresh(self) -> tuple[Step, Step]:
        state: State = {}

        def step(samples: Array) -> Array:
            nonlocal state
            value, state = self.advance(samples, state)
            return value

        def last(samples: Array) -> Array:
            return self._execute(self._ended(samples, state), state)[0]

        return step, last

    def _next(self, samples: Array) -> Array:
        value, self._state = self.advance(samples, self._state)
        return value

    def _heard(self) -> int | None:
        return _batch(self._state) if self._state else None

    def _begun(self, samples: Array) -> tuple[Array, State]:
        """What is left of the first samples [B, N] of a stream, and the state before that."""
        if self._front is None:
            return samples, {}
        return samples[:, self.delay :], {f"{self._front.name}.past": past(self._front.attributes, samples)}

    def _ended(self, samples: Array, state: State) -> Array:
        """The last samples [B, N] of a stream of features, mirrored at their end, as far as frames need them."""
        if not state or self._front is None:
            return samples                                       # all that there are
        heard, hop = state[f"{self._front.name}.past"], self._front.attributes["hop"]
        start, frames = heard.shape[1], (self.delay + samples.shape[1] + hop // 2) // hop
        return mirrored(np.concatenate([heard, samples], 1), np.arange(start, start + frames * hop))

    def _execute(self, samples: Array, state: State) -> tuple[Array, State]:
        before: defaultdict[str, State] = defaultdict(dict)
        for name, array in state.items():
            node_name, _, key = name.rpartition(".")
            before[node_name][key] = array
        values = {**self._known, self.inputs[0]: samples}
        after = self._through(self._nodes, values, before)
        return values[self.graph.outputs[0]], after

    def _conditioned(self, conditions: Sequence[Array]) -> dict[str, Array]:
        """What the stream reads of the nodes that depend on conditions [1, any] alone."""
        values = {}
        for (name, (n_fft, hop)), waveform in zip(self._windows.items(), conditions, strict=True):
            # So that, as in torch, every sample is seen by all its windows.
            values[name] = np.pad(waveform, ((0, 0), (0, n_fft - hop + -waveform.shape[1] % hop)))
        self._through(self._before, values, defaultdict(dict))
        return values

    def _through(self, nodes: Sequence[Node], values: dict[str, Array], before: Mapping[str, State]) -> State:
        """Adds the values of nodes, lets go of those that no later node reads, and gives the new state."""
        after: State = {}
        for node in nodes:
            tensors = {role: self.tensors[name] for role, name in node.tensors.items()}
            inputs = [values[name] for name in node.inputs]
            values[node.name], kept = OPS[node.op](node.attributes, tensors, inputs, before[node.name])
            after |= {f"{node.name}.{key}": array for key, array in kept.items()}
            for name in self._gone[node.name]:
                del values[name]
        return after

    def _try(self) -> None:
        """Raises FormatError unless the model runs at all, on silence."""
        fresh = copy.copy(self)
        with _fitting():
            fresh._known = self._conditioned([np.zeros((1, 1), np.float32)] * len(self._windows))
            fresh._execute(np.zeros((1, self.hop), np.float32), {})

    def _silence(self, batch: int) -> State:
        """The state of so many waveforms before the first hop."""
        with _fitting():
            samples, state = self._begun(np.zeros((batch, self.delay), np.float32))
            return self._execute(samples[:, :0], state)[1]

    def _timing(self) -> tuple[int, int]:
        """Hop and delay in samples, from the operations at the two ends of the graph."""
        if self._front is not None and len(self.graph.outputs) == 1:
            of = self._front.attributes
            return (of["hop"] * self.graph.piece, ahead(of)) if self.causal else (of["hop"], 0)
        ends = [node for node in self._nodes if node.op in chain(*ENDS)]
        if tuple(node.op for node in ends) not in ENDS or not self.inputs or len(self.graph.outputs) != 1:
            known = " or ".join(f"one {first}, one {last}" for first, last in ENDS)
            raise FormatError(f"model: expected one waveform in, {known}, and one waveform out, or one {FEATURES} and "
                              "features out")
        n_fft, hop = _whole_hops(ends[0])
        if ends[0].attributes != ends[1].attributes:
            first, last = (node.op for node in ends)
            raise FormatError(f"model: expected an {last} that undoes its {first}, got other settings")
        return hop, n_fft - hop

    def _window(self, condition: str) -> tuple[int, int]:
        """Window and hop in samples of a condition."""
        readers = [node for node in self.graph.nodes if condition in node.inputs]
        if len(readers) != 1 or readers[0].op not in [first for first, _ in ENDS]:
            known = " or ".join(f"one {first}" for first, _ in ENDS)
            raise FormatError(f"model: expected {known} that reads {condition}, got {[node.op for node in readers]}")
        return _whole_hops(readers[0])


def _whole_hops(node: Node) -> tuple[int, int]:
    """Window and hop in samples of what makes frames."""
    n_fft, hop = (node.attributes.get(name) for name in ("n_fft", "hop"))
    if not isinstance(n_fft, int) or not isinstance(hop, int) or hop < 1 or n_fft < hop or n_fft % hop:
        raise FormatError(f"model: expected an n_fft of whole hops, got n_fft {n_fft!r} and hop {hop!r}")
    return n_fft, hop


def _last_reads(nodes: Sequence[Node], outputs: Sequence[str]) -> dict[str, list[str]]:
    """For each node the values that no node after it reads, in this order."""
    last = {name: node.name for node in nodes for name in node.inputs if name not in outputs}
    return {node.name: [name for name in last if last[name] == node.name] for node in nodes}


@contextmanager
def _fitting() -> Iterator[None]:
    """Turns what a graph raises that does not fit its tensors into FormatError."""
    try:
        yield
    except (LookupError, ValueError, TypeError, MemoryError) as error:
        raise FormatError(f"model: its graph and tensors do not fit together ({error})") from error


def _batch(state: State) -> int:
    """The batch size of a state that is not empty."""
    shape = next(iter(state.values())).shape
    return shape[0] if shape else 0
