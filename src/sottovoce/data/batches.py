"""Mixtures as batches of tensors, made ahead of need by worker processes, from any step of the sequence on."""

from collections.abc import Iterator, Sequence
from functools import partial
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


Item = Rendered | SottovoceError


class _Mixtures(Dataset[Item]):
    """Mixtures by number; what is wrong with one is given, not raised: from a worker it would come as a traceback."""

    def __init__(self, mixer: Mixer, seed: int) -> None:
        self.mixer, self.seed = mixer, seed

    def __getitem__(self, index: int) -> Item:
        try:
            return self.mixer.render(self.mixer.draw(self.seed, index))
        except SottovoceError as error:
            return error


class _From(Sampler[list[int]]):
    """Index lists of batch `start`, `start + stride`, ... without end."""

    def __init__(self, start: int, stride: int, size: int) -> None:
        self.start, self.stride, self.size = start, stride, size

    def __iter__(self) -> Iterator[list[int]]:
        batch = self.start
        while True:
            yield list(range(batch * self.size, (batch + 1) * self.size))
            batch += self.stride


def mixture_batches(mixer: Mixer, seed: int, *, size: int, start: int = 0, stride: int = 1,
                    workers: int = 1) -> Iterator[Batch]:
    """Batches of `size` mixtures without end, beginning with batch number `start`.

    Batch n is the same whatever the start, the number of workers and the process: training resumes where it stopped.
    `stride` is the number of processes that share the sequence. With workers=0 batches are made where they are used.
    """
    loader = DataLoader(
        _Mixtures(mixer, seed),
        batch_sampler=_From(start, stride, size),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_quiet_worker,
        collate_fn=partial(_collated, mixer.inputs),
    )
    for batch in loader:
        if isinstance(batch, SottovoceError):
            raise batch
        yield batch


def stacked(items: Sequence[Rendered], inputs: int) -> Batch:
    """A batch of what was rendered; of each item the first `inputs` arrays are given to the model."""
    tensors = [torch.from_numpy(np.stack(arrays)) for arrays in zip(*items, strict=True)]
    return Batch(tuple(tensors[:inputs]), tuple(tensors[inputs:]))


def _collated(inputs: int, items: list[Item]) -> Batch | SottovoceError:
    rendered: list[Rendered] = []
    for item in items:
        if isinstance(item, SottovoceError):
            return item
        rendered.append(item)
    return stacked(rendered, inputs)


def _quiet_worker(_: int) -> None:
    torch.set_num_threads(1)
    np.seterr(all="ignore")
