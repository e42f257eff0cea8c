"""Runs an artefact: whole waveforms, or hop by hop with an explicit state. Both are the same computation."""

import copy
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import ENDS, FEATURES, Node
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.runtime.reference import OPS, Array, State

BLOCK_FRAMES = 256         # frames computed at once, however many are given: bounds the memory, and fits caches


class Session:
    """A model ready to run.

    `sample_rate` is in Hz, `hop` the number of samples that `step` advances by, `delay` the number of samples
    that the output of `step` lies behind its input. `meta` is what the file says of itself. `inputs` are names: of what
    is streamed, and of conditions, such as an enrolment, that `given` takes. A model that is not `causal` has to hear
    all before it says anything. Whether its output is `features` and not a waveform is told by how it begins: such a
    model only `run`s.
    Raises FormatError unless the artefact makes one waveform, or features, out of one, with or without conditions.
    """

    def __init__(self, artefact: Artefact) -> None:
        self.graph, self.inputs, self.causal = artefact.graph, artefact.graph.inputs, artefact.graph.causal
        self.meta = artefact.meta
        self._nodes = artefact.graph.streamed
        self.features = [node.op for node in self._nodes if node.op in (FEATURES, *chain(*ENDS))] == [FEATURES]
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

    def given(self, *conditions: Array) -> "Session":
        """The same model with its conditions: a waveform [M] or [1, M] of any length for each input but the first.

        What depends on them alone is computed here, once. Raises SottovoceError for another number of them, a wrong
        shape or type, or a NaN.
        """
        names = self.inputs[1:]
        if len(conditions) != len(names):
            raise SottovoceError(f"given: expected {', '.join(names) or 'nothing'}, got {len(conditions)} waveforms")
        waveforms = [np.atleast_2d(_checked(name, wave)) for name, wave in zip(names, conditions, strict=True)]
        for name, waveform in zip(names, waveforms, strict=True):
            if len(waveform) != 1:
                raise SottovoceError(f"{name}: expected [samples] or [1, samples], got {list(waveform.shape)}")
        bound = copy.copy(self)
        bound._known, bound._missing, bound._state = self._conditioned(waveforms), (), {}
        return bound

    def run(self, *inputs: Array) -> Array:
        """Enhanced waveform [N] or [B, N] of a noisy one of that shape, as if nothing had come before.

        Of a model whose output are `features`: these, [T, ...] or [B, T, ...].
        Conditions may follow it where they were not `given`. Leaves the state of `step` alone. Raises SottovoceError
        for a wrong shape or type, or a NaN.
        """
        if self._missing and len(inputs) == len(self.inputs):
            return self.given(*inputs[1:]).run(inputs[0])
        waveform = self._checked(inputs)
        if self.features:
            value, _ = self._execute(np.atleast_2d(waveform), {})
            return value if waveform.ndim == 2 else value[0]
        return np.concatenate([*self.stream([np.atleast_2d(waveform)])], axis=1).reshape(waveform.shape)

    def step(self, *inputs: Array) -> Array:
        """The next samples [K * hop] or [B, K * hop] for as many given, `delay` late; keeps its state.

        Raises SottovoceError for a wrong shape or type, a NaN, another batch size than before, or a model that is not
        causal or gives features.
        """
        self._expect_waveform("step")
        self._expect_causal("step")
        waveform = self._checked(inputs)
        if waveform.shape[-1] % self.hop:
            raise SottovoceError(f"step: expected a multiple of {self.hop} samples, got {waveform.shape[-1]}")
        samples = np.atleast_2d(waveform)
        if self._state and len(samples) != _batch(self._state):
            before = _batch(self._state)
            raise SottovoceError(f"step: expected a batch of {before} as before, got {len(samples)}")
        value, self._state = self.advance(samples, self._state)
        return value.reshape(waveform.shape)

    def stream(self, blocks: Iterable[Array]) -> Iterator[Array]:
        """Enhanced blocks [B, any] of a waveform in blocks [B, any]: aligned with it, and as long in all.

        A hop comes out once it is known, `delay` samples after it went in; of a model that is not causal all at once,
        after the last block. Leaves the state of `step` alone. Raises SottovoceError for a model that gives features.
        """
        self._expect_waveform("stream")
        self._expect_conditions()
        if not self.causal:
            yield from self._at_once([*blocks])
            return
        state: State = {}
        early = self.delay                                       # samples still to come from before the start
        rest: Array | None = None                                # less than a hop
        for block in blocks:
            rest = block if rest is None else np.concatenate([rest, block], axis=1)
            whole = rest.shape[1] - rest.shape[1] % self.hop
            value, state = self.advance(rest[:, :whole], state)
            yield value[:, early:]
            early, rest = max(early - whole, 0), rest[:, whole:]
        if rest is not None:
            length = rest.shape[1] + self.delay
            value, _ = self.advance(np.pad(rest, ((0, 0), (0, self.delay + -length % self.hop))), state)
            yield value[:, early:length]

    def advance(self, samples: Array, state: State) -> tuple[Array, State]:
        """Output [B, K * hop] and new state for samples [B, K * hop] after `state`; `{}` is a fresh start.

        Pure and unchecked: `step` is this with its input checked and the state kept. Raises SottovoceError as `step`
        does for a model that is not causal or gives features.
        """
        self._expect_waveform("advance")
        self._expect_causal("advance")
        self._expect_conditions()
        size = BLOCK_FRAMES * self.hop
        parts = []
        for start in range(0, max(samples.shape[1], 1), size):
            value, state = self._execute(samples[:, start : start + size], state)
            parts.append(value)
        return np.concatenate(parts, axis=1), state

    def reset(self) -> None:
        """Forget everything that `step` has heard."""
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
        fresh = self._fresh(_batch(arrays)) if arrays else {}
        for name in sorted(fresh.keys() | arrays.keys()):
            wanted, came = (str(of[name].shape) if name in of else "nothing" for of in (fresh, arrays))
            if wanted != came:
                raise SottovoceError(f"state {name}: expected {wanted}, got {came}")
        self._state = arrays

    def _at_once(self, blocks: Sequence[Array]) -> Iterator[Array]:
        """The enhanced waveform in one block."""
        if blocks:
            length = sum(block.shape[1] for block in blocks)
            after = np.zeros((len(blocks[0]), self.delay + -length % self.hop), np.float32)
            value, _ = self._execute(np.concatenate([*blocks, after], axis=1), {})
            yield value[:, self.delay : self.delay + length]

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

    def _fresh(self, batch: int) -> State:
        """The state of so many waveforms before the first hop."""
        with _fitting():
            return self._execute(np.zeros((batch, 0), np.float32), {})[1]

    def _timing(self) -> tuple[int, int]:
        """Hop and delay in samples, from the operations at the two ends of the graph."""
        if self.features and len(self.graph.outputs) == 1:
            return next(node.attributes["hop"] for node in self._nodes if node.op == FEATURES), 0
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

    def _checked(self, inputs: tuple[Array, ...]) -> Array:
        """The one input as float32 [N] or [B, N]."""
        if len(inputs) != 1:
            wanted = ", ".join(self.inputs[: 1 + len(self._missing)])
            raise SottovoceError(f"expected {wanted}, got {len(inputs)} waveforms")
        self._expect_conditions()
        return _checked("waveform", inputs[0])

    def _expect_conditions(self) -> None:
        if self._missing:
            names = ", ".join(self._missing)
            raise SottovoceError(f"expected a session that was given its {names}, got one without: see Session.given")

    def _expect_waveform(self, what: str) -> None:
        if self.features:
            raise SottovoceError(f"{what}: expected a model whose output is a waveform, got one that gives features: "
                                 "run works with it")

    def _expect_causal(self, what: str) -> None:
        if not self.causal:
            raise SottovoceError(f"{what}: expected a causal model, got one that has to hear all of a waveform first: "
                                 "run and stream work with it")


def _checked(name: str, samples: Array) -> Array:
    """A waveform as float32 [N] or [B, N]."""
    waveform = np.asarray(samples)
    if not np.issubdtype(waveform.dtype, np.floating):
        raise SottovoceError(f"{name}: expected floating point samples in -1..1, got {waveform.dtype}")
    if waveform.ndim not in (1, 2):
        raise SottovoceError(f"{name}: expected [samples] or [batch, samples], got {list(waveform.shape)}")
    if not np.isfinite(waveform).all():
        raise SottovoceError(f"{name}: expected finite samples, got NaN or infinity")
    return waveform.astype(np.float32)


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
