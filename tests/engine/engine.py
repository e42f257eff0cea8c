"""The engine's public functions, by ctypes: as thin as it gets, for tests; and what they assert of them."""

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float32]
INT8, INT16, FLOAT32 = range(3)
OK, BAD_ARGUMENT, BAD_FILE, UNSUPPORTED, NO_MEMORY = range(5)


class Options(ctypes.Structure):
    _fields_ = (("precision", ctypes.c_int), ("instructions", ctypes.c_int))


class Limits(ctypes.Structure):
    _fields_ = (("max_samples", ctypes.c_size_t), ("max_condition", ctypes.c_size_t))


class Info(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_uint32) for name in ("sample_rate", "hop", "delay", "conditions", "features",
                                                          "frames")),
                ("causal", ctypes.c_int), ("instructions", ctypes.c_int), ("weight_bytes", ctypes.c_size_t))


class EngineError(Exception):
    """What a call said that failed, and its status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Engine:
    """The shared library."""

    def __init__(self, library: Path) -> None:
        self.c = ctypes.CDLL(str(library))
        self.c.sv_query.restype, self.c.sv_error.restype = Info, ctypes.c_char_p
        self.c.sv_outputs.restype = ctypes.c_size_t

    def open(self, file: bytes, precision: int = FLOAT32, instructions: int = 0) -> "Model":
        return Model(self.c, file, Options(precision, instructions))


class Model:
    def __init__(self, c: ctypes.CDLL, file: bytes, options: Options) -> None:
        self.c, self.handle, text = c, ctypes.c_void_p(), ctypes.create_string_buffer(256)
        status = c.sv_open(ctypes.byref(self.handle), file, ctypes.c_size_t(len(file)), ctypes.byref(options), text)
        if status:
            raise EngineError(status, text.value.decode())
        self.info: Info = c.sv_query(self.handle)

    def start(self, *conditions: Array, max_samples: int = 0) -> "Running":
        session = Running(self, Limits(max_samples, 0))
        for number, condition in enumerate(conditions):
            session.give(number, condition)
        return session

    def __del__(self) -> None:
        self.c.sv_close(ctypes.byref(self.handle))


class Running:
    def __init__(self, model: Model, limits: Limits) -> None:
        self.model, self.c, self.handle, text = model, model.c, ctypes.c_void_p(), ctypes.create_string_buffer(256)
        self.stepped = False                             # since the state was fresh
        status = self.c.sv_start(ctypes.byref(self.handle), model.handle, ctypes.byref(limits), text)
        if status:
            raise EngineError(status, text.value.decode())

    def give(self, number: int, samples: Array) -> None:
        count = ctypes.c_size_t(len(samples))
        self._check(self.c.sv_give(self.handle, ctypes.c_uint32(number), _floats(samples), count))

    def step(self, samples: Array) -> Array:
        """[N], or [T, features]."""
        info, count = self.model.info, len(samples)
        if info.frames:
            count = max(count - (0 if self.stepped else info.delay), 0) // info.hop * info.frames * info.features
        out = np.full(count, np.nan, np.float32)
        self._check(self.c.sv_step(self.handle, _floats(samples), _floats(out), ctypes.c_size_t(len(samples))))
        self.stepped = True
        return out.reshape(-1, info.features) if info.features else out

    def finish(self, samples: Array) -> Array:
        """The rest [T, features]."""
        count = len(samples) + (self.model.info.delay if self.stepped else 0)
        out = np.full(self.c.sv_outputs(self.model.handle, ctypes.c_size_t(count)), np.nan, np.float32)
        self._check(self.c.sv_finish(self.handle, _floats(samples), ctypes.c_size_t(len(samples)), _floats(out)))
        self.stepped = False
        return out.reshape(-1, self.model.info.features)

    def steps(self, samples: Array, hops: Sequence[int]) -> Array:
        """All samples, so many hops at once in turn."""
        parts, start, hop = [], 0, self.model.info.hop
        while start < len(samples):
            size = hops[len(parts) % len(hops)] * hop
            parts.append(self.step(samples[start : start + size]))
            start += size
        return np.concatenate(parts)

    def run(self, samples: Array) -> Array:
        """[N], or [T, features]."""
        count = self.c.sv_outputs(self.model.handle, ctypes.c_size_t(len(samples)))
        out = np.full(count, np.nan, np.float32)
        self._check(self.c.sv_run(self.handle, _floats(samples), ctypes.c_size_t(len(samples)), _floats(out)))
        self.stepped = False
        return out.reshape(-1, self.model.info.features) if self.model.info.features else out

    def reset(self) -> None:
        self._check(self.c.sv_reset(self.handle))
        self.stepped = False

    def _check(self, status: int) -> None:
        if status:
            raise EngineError(status, self.c.sv_error(self.handle).decode())

    def __del__(self) -> None:
        self.c.sv_end(ctypes.byref(self.handle))


def _floats(samples: Array) -> ctypes.c_void_p:
    assert samples.dtype == np.float32 and samples.flags.c_contiguous
    return ctypes.c_void_p(samples.ctypes.data)


def agree(ours: Array, expected: Array, within: float = 1e-4) -> None:
    """As close as that, of the largest value."""
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max(initial=0) <= within * np.abs(expected).max(initial=1e-9)


def refuses(call: Callable[[], object], status: int, says: str) -> None:
    with pytest.raises(EngineError, match=says) as caught:
        call()
    assert caught.value.status == status
