"""Batches of tensors, made ahead of need by worker processes, from any step of the sequence on."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sottovoce.errors import SottovoceError


class Batch(NamedTuple):
    """What a model is given, and what it should give back."""

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]


Rendered = tuple[NDArray[Any], ...]      # inputs of a model, then its targets


class Mixer(Protocol):
    """Makes mixtures of one kind; what its plans are is its own affair."""

    inputs: ClassVar[int]            # of what is rendered, the first so many are given to the model

    def draw(self, seed: int, index: int) -> Any:
        """The plan number `index` of the endless sequence that `seed` starts."""
        ...

    def render(self, mixture: Any) -> Rendered:
        """What a plan stands for, of the same shapes for every plan."""
        ...


def mixture_batches(mixer: Mixer, seed: int, *, size: int, start: int = 0, stride: int = 1,
                    workers: int = 1) -> Iterator[Batch]:
    """Batches of `size` mixtures without end, see `numbered_batches`."""
    return numbered_batches(partial(_mixtures, mixer, seed, size), start=start, stride=stride, workers=workers)


def _mixtures(mixer: Mixer, seed: int, size: int, number: int) -> Batch:
    plans = (mixer.draw(seed, index) for index in range(number * size, (number + 1) * size))
    return stacked([mixer.render(plan) for plan in plans], mixer.inputs)


def numbered_batches(make: Callable[[int], Batch], *, start: int = 0, stride: int = 1,
                     workers: int = 1) -> Iterator[Batch]:
    """The batches that `make` makes of their numbers, without end, beginning with number `start`.

    Batch n is the same whatever the start, the number of workers and the process: training resumes where it stopped.
    `stride` is the number of processes that share the sequence. With workers=0 batches are made where they are used.
    """
    loader = DataLoader(
        _Numbered(make),
        sampler=_From(start, stride),
        batch_size=None,                 # they come as batches
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_quiet_worker,
        collate_fn=_as_it_is,
    )
    for batch in loader:
        if isinstance(batch, SottovoceError):
            raise batch
        yield batch


class _Numbered(Dataset[Batch | SottovoceError]):
    """Batches by number; what is wrong with one is given, not raised: from a worker it would come as a traceback."""

    def __init__(self, make: Callable[[int], Batch]) -> None:
        self.make = make

    def __getitem__(self, number: int) -> Batch | SottovoceError:
        try:
            return self.make(number)
        except SottovoceError as error:
            return error


class _From(Sampler[int]):
    """`start`, `start + stride`, ... without end."""

    def __init__(self, start: int, stride: int) -> None:
        self.start, self.stride = start, stride

    def __iter__(self) -> Iterator[int]:
        return count(self.start, self.stride)


def stacked(items: Sequence[Rendered], inputs: int) -> Batch:
    """A batch of what was rendered; of each item the first `inputs` arrays are given to the model."""
    tensors = [torch.from_numpy(np.stack(arrays)) for arrays in zip(*items, strict=True)]
    return Batch(tuple(tensors[:inputs]), tuple(tensors[inputs:]))


def _as_it_is(batch: Any) -> Any:
    return batch


def _quiet_worker(_: int) -> None:
    torch.set_num_threads(1)
    np.seterr(all="ignore")
