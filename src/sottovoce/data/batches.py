"""Mixtures as batches of tensors, made ahead of need by worker processes, from any step of the sequence on."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sottovoce.data.mixing import Mixer
from sottovoce.errors import SottovoceError


class Batch(NamedTuple):
    """What a model is given, and what it should give back."""

    inputs: tuple[Tensor, ...]
    targets: tuple[Tensor, ...]


Item = tuple[Tensor, Tensor] | SottovoceError


class _Mixtures(Dataset[Item]):
    """Mixtures by number; what is wrong with one is given, not raised: from a worker it would come as a traceback."""

    def __init__(self, mixer: Mixer, seed: int) -> None:
        self.mixer, self.seed = mixer, seed

    def __getitem__(self, index: int) -> Item:
        try:
            noisy, clean = self.mixer.render(self.mixer.draw(self.seed, index))
        except SottovoceError as error:
            return error
        return torch.from_numpy(noisy), torch.from_numpy(clean)


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
    """Batches of noisy and clean waveforms [size, samples] without end, beginning with batch number `start`.

    Batch n is the same whatever the start, the number of workers and the process: training resumes where it stopped.
    `stride` is the number of processes that share the sequence. With workers=0 batches are made where they are used.
    """
    loader = DataLoader(
        _Mixtures(mixer, seed),
        batch_sampler=_From(start, stride, size),
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_quiet_worker,
        collate_fn=_stack,
    )
    for batch in loader:
        if isinstance(batch, SottovoceError):
            raise batch
        yield batch


def _stack(items: list[Item]) -> Batch | SottovoceError:
    for item in items:
        if isinstance(item, SottovoceError):
            return item
    noisy, clean = zip(*items, strict=True)
    return Batch((torch.stack(noisy),), (torch.stack(clean),))


def _quiet_worker(_: int) -> None:
    torch.set_num_threads(1)
    np.seterr(all="ignore")
