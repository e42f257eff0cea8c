"""Runs an artefact: whole waveforms, or hop by hop with an explicit state. Both are the same computation."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import numpy as np

from sottovoce.artefact import Artefact
from sottovoce.artefact.graph import ENDS
from sottovoce.errors import FormatError, SottovoceError
from sottovoce.runtime.reference import OPS, Array, State

BLOCK_FRAMES = 256         # frames computed at once, however many are given: bounds the memory, and fits caches


class Session:
    """A model ready to run.

    `sample_rate` is in Hz, `hop` the number of samples that `step` advances by, `delay` the number of samples
    that the output of `step` lies behind its input. Raises FormatError unless the artefact makes one waveform
    out of one.
    """

    def __init__(self, artefact: Artefact) -> None:
        self.graph = artefact.graph
        self.tensors = {name: stored.to_array() for name, stored in artefact.tensors.items()}
        rate = artefact.meta.get("sample_rate")
        if not isinstance(rate, int) or rate < 1:
            raise FormatError(f"model: expected a sample_rate in Hz, got {rate!r}")
        self.sample_rate = rate
        self.hop, self.delay = self._timing()
        self._state: State = {}
        self._after_silence(1, hops=1)                           # shows whether the model runs at all

    def run(self, *inputs: Array) -> Array:
        """Enhanced waveform [N] or [B, N] of a noisy one of that shape, as if nothing had come before.

        Leaves the state of `step` alone. Raises SottovoceError for a wrong shape or type, or a NaN.
        """
        waveform = self._checked(inputs)
        return np.concatenate([*self.stream([np.atleast_2d(waveform)])], axis=1).reshape(waveform.shape)

    def step(self, *inputs: Array) -> Array:
        """The next samples [K * hop] or [B, K * hop] for as many given, `delay` late; keeps its state.

        Raises SottovoceError for a wrong shape or type, a NaN, or another batch size than before.
        """
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

        A hop comes out once it is known, `delay` samples after it went in. Leaves the state of `step` alone.
        """
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

        Pure and unchecked: `step` is this with its input checked and the state kept.
        """
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
        fresh = self._after_silence(_batch(arrays), hops=0) if arrays else {}
        for name in sorted(fresh.keys() | arrays.keys()):
            wanted, came = (str(of[name].shape) if name in of else "nothing" for of in (fresh, arrays))
            if wanted != came:
                raise SottovoceError(f"state {name}: expected {wanted}, got {came}")
        self._state = arrays

    def _execute(self, samples: Array, state: State) -> tuple[Array, State]:
        before: defaultdict[str, State] = defaultdict(dict)
        for name, array in state.items():
            node_name, _, key = name.rpartition(".")
            before[node_name][key] = array
        values = {self.graph.inputs[0]: samples}
        after: State = {}
        for node in self.graph.nodes:
            tensors = {role: self.tensors[name] for role, name in node.tensors.items()}
            inputs = [values[name] for name in node.inputs]
            values[node.name], kept = OPS[node.op](node.attributes, tensors, inputs, before[node.name])
            after |= {f"{node.name}.{key}": array for key, array in kept.items()}
        return values[self.graph.outputs[0]], after

    def _after_silence(self, batch: int, hops: int) -> State:
        """The state that silence leaves behind, zeros after no hops. Raises FormatError if that fails."""
        try:
            return self._execute(np.zeros((batch, hops * self.hop), np.float32), {})[1]
        except (LookupError, ValueError, TypeError, MemoryError) as error:
            raise FormatError(f"model: its graph and tensors do not fit together ({error})") from error

    def _timing(self) -> tuple[int, int]:
        """Hop and delay in samples, from the operations at the two ends of the graph."""
        ends = [node for node in self.graph.nodes if node.op in chain(*ENDS)]
        one_to_one = len(self.graph.inputs) == len(self.graph.outputs) == 1
        if tuple(node.op for node in ends) not in ENDS or not one_to_one:
            known = " or ".join(f"one {first}, one {last}" for first, last in ENDS)
            raise FormatError(f"model: expected one waveform in, {known}, and one waveform out")
        n_fft, hop = (ends[0].attributes.get(name) for name in ("n_fft", "hop"))
        if not isinstance(n_fft, int) or not isinstance(hop, int) or hop < 1 or n_fft < hop or n_fft % hop:
            raise FormatError(f"model: expected an n_fft of whole hops, got n_fft {n_fft!r} and hop {hop!r}")
        if ends[0].attributes != ends[1].attributes:
            first, last = (node.op for node in ends)
            raise FormatError(f"model: expected an {last} that undoes its {first}, got other settings")
        return hop, n_fft - hop

    def _checked(self, inputs: tuple[Array, ...]) -> Array:
        """The one input as float32 [N] or [B, N]."""
        if len(inputs) != 1:
            raise SottovoceError(f"expected 1 waveform, got {len(inputs)}")
        waveform = np.asarray(inputs[0])
        if not np.issubdtype(waveform.dtype, np.floating):
            raise SottovoceError(f"waveform: expected floating point samples in -1..1, got {waveform.dtype}")
        if waveform.ndim not in (1, 2):
            shape = list(waveform.shape)
            raise SottovoceError(f"waveform: expected [samples] or [batch, samples], got {shape}")
        if not np.isfinite(waveform).all():
            raise SottovoceError("waveform: expected finite samples, got NaN or infinity")
        return waveform.astype(np.float32)


def _batch(state: State) -> int:
    """The batch size of a state that is not empty."""
    shape = next(iter(state.values())).shape
    return shape[0] if shape else 0
