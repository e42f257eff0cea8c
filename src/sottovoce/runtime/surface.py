"""What a session is to those who use it, whatever computes it: waveforms whole, in blocks, or step by step."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from sottovoce.errors import SottovoceError
from sottovoce.runtime.operation import Array

Step = Callable[[Array], Array]


class AnySession(ABC):
    """A model ready to run.

    `sample_rate` is in Hz, `hop` the number of samples that `step` advances by, `delay` the number of samples
    that the output of `step` lies behind its input. `meta` is what the file says of itself. `inputs` are names: of what
    is streamed, and of conditions, such as an enrolment, that `given` takes. A model that is not `causal` has to hear
    all before it says anything. Whether its output is `features` and not a waveform is told by how it begins. If such a
    model is causal, each `hop` gives it as many frames as it takes together, known `delay` samples after the hop.
    """

    meta: Mapping[str, Any]
    inputs: tuple[str, ...]
    sample_rate: int
    hop: int
    delay: int
    causal: bool
    features: bool
    _missing: tuple[str, ...]            # names of the conditions that are still to be given

    def given(self, *conditions: Array) -> Self:
        """The same model with its conditions: a waveform [M] or [1, M] of any length for each input but the first.

        What depends on them alone is computed once. Raises SottovoceError for another number of them, a wrong shape or
        type, or a NaN.
        """
        names = self.inputs[1:]
        if len(conditions) != len(names):
            raise SottovoceError(f"given: expected {', '.join(names) or 'nothing'}, got {len(conditions)} waveforms")
        waveforms = [np.atleast_2d(_checked(name, wave)) for name, wave in zip(names, conditions, strict=True)]
        for name, waveform in zip(names, waveforms, strict=True):
            if len(waveform) != 1:
                raise SottovoceError(f"{name}: expected [samples] or [1, samples], got {list(waveform.shape)}")
        bound = copy.copy(self)
        bound._missing = ()
        bound._know(waveforms)
        bound.reset()
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
        value = self._whole(np.atleast_2d(waveform))
        return value if waveform.ndim == 2 else value[0]

    def step(self, *inputs: Array) -> Array:
        """The next samples [K * hop] or [B, K * hop] for as many given, `delay` late; keeps its state.

        Of a model whose output are `features`: the next frames [T, ...] or [B, T, ...]. The first step then takes the
        `delay` samples that its frames wait for too, K * hop + delay in all; `stream` knows where the waveform ends.
        Raises SottovoceError for a wrong shape or type, a NaN, another batch size than before, or a model that is not
        causal.
        """
        self._expect_causal("step")
        waveform = self._checked(inputs)
        samples, before = (waveform if waveform.ndim == 2 else waveform[None]), self._heard()
        early = self.delay if self.features and before is None else 0
        if waveform.shape[-1] < early or (waveform.shape[-1] - early) % self.hop:
            more = f" and {early} more" if early else ""
            raise SottovoceError(f"step: expected a multiple of {self.hop} samples{more}, got {waveform.shape[-1]}")
        if before not in (None, len(samples)):
            raise SottovoceError(f"step: expected a batch of {before} as before, got {len(samples)}")
        value = self._next(samples)
        return value if waveform.ndim == 2 else value[0]

    def stream(self, blocks: Iterable[Array]) -> Iterator[Array]:
        """Enhanced blocks [B, any] of a waveform in blocks [B, any]: aligned with it, and as long in all.

        A hop comes out once it is known, `delay` samples after it went in; of a model that is not causal all at once,
        after the last block. Of a model whose output are `features`: these, [B, any, ...]. Leaves the state of `step`
        alone.
        """
        self._expect_conditions()
        if not self.causal:
            if heard := [*blocks]:
                yield self._whole(np.concatenate(heard, axis=1))
            return
        step, last = self._fresh()
        if self.features:
            yield from self._frames(blocks, step, last)
            return
        early = self.delay                                       # samples still to come from before the start
        rest: Array | None = None                                # less than a hop
        for block in blocks:
            rest = block if rest is None else np.concatenate([rest, block], axis=1)
            whole = rest.shape[1] - rest.shape[1] % self.hop
            yield step(rest[:, :whole])[:, early:]
            early, rest = max(early - whole, 0), rest[:, whole:]
        if rest is not None:
            length = rest.shape[1] + self.delay
            yield step(np.pad(rest, ((0, 0), (0, self.delay + -length % self.hop))))[:, early:length]

    def _frames(self, blocks: Iterable[Array], step: Step, last: Step) -> Iterator[Array]:
        """The frames of features that are known after each block, and at the end the rest."""
        early = self.delay                                       # samples that the first step takes more than others
        rest: Array | None = None
        for block in blocks:
            rest = block if rest is None else np.concatenate([rest, block], axis=1)
            if (whole := (rest.shape[1] - early) // self.hop * self.hop) > 0:
                yield step(rest[:, : early + whole])
                rest, early = rest[:, early + whole :], 0
        if rest is not None:
            yield last(rest)

    @abstractmethod
    def reset(self) -> None:
        """Forget everything that `step` has heard."""

    @abstractmethod
    def _know(self, conditions: Sequence[Array]) -> None:
        """Take the conditions, [1, any] each."""

    @abstractmethod
    def _whole(self, samples: Array) -> Array:
        """The output for whole waveforms [B, N]."""

    @abstractmethod
    def _fresh(self) -> tuple[Step, Step]:
        """From a fresh start, what `step` does of samples one after the other; and the features of the last ones."""

    @abstractmethod
    def _next(self, samples: Array) -> Array:
        """Output for the next samples of `step`."""

    @abstractmethod
    def _heard(self) -> int | None:
        """The batch size of what `step` has heard; None before the first."""

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

    def _expect_causal(self, what: str) -> None:
        if not self.causal:
            raise SottovoceError(f"{what}: expected a causal model, got one that has to hear all of a waveform first: "
                                 "run and stream work with it")


def _checked(name: str, samples: Array) -> Array:
    """A waveform as float32 [N] or [B, N]."""
    waveform = np.asarray(samples)
    if waveform.dtype.kind != "f":
        raise SottovoceError(f"{name}: expected floating point samples in -1..1, got {waveform.dtype}")
    if waveform.ndim not in (1, 2):
        raise SottovoceError(f"{name}: expected [samples] or [batch, samples], got {list(waveform.shape)}")
    if waveform.ndim == 2 and not len(waveform):
        raise SottovoceError(f"{name}: expected one waveform or more, got {list(waveform.shape)}")
    if not np.isfinite(waveform).all():
        raise SottovoceError(f"{name}: expected finite samples, got NaN or infinity")
    return waveform.astype(np.float32)
