"""Scores of many utterances, in parallel.

The workers are plain child processes that import numpy and the metrics only. multiprocessing would fork a
process that has torch's threads, or import the caller's main module, torch included, into each worker; and
its workers wait for ever when their parent is killed. These start with the first score, are used again by the
next, run one thread each, get no Ctrl-C of their own, and end when their stdin does. Every score comes from
such a worker, even if there is only one: threads change the last bits of STOI, and so a number depends
neither on how many workers there are nor on the threads of the caller.
"""

import atexit
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from sottovoce.errors import SottovoceError
from sottovoce.metrics.speech import known
from sottovoce.metrics.worker import BAD_INPUT

Pair = tuple[str, ArrayLike, ArrayLike]                  # id, estimate, reference
Scores = dict[str, float]

THREAD_LIMITS = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"
)


def score(
    pairs: Iterable[Pair],
    names: Iterable[str],
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    *,
    sample_rate: int = 16000,
) -> list[Scores]:
    """The named metrics of every utterance, in the order of the pairs; waveforms are [samples].

    `workers` is the number of processes, by default one a core; `progress` is called with the number of
    utterances done. Pairs are drawn as workers become free: making and scoring them go on side by side.
    Raises SottovoceError that names the utterance it could not score.
    """
    chosen = known(names)
    count = _cores() if workers is None else workers
    if count < 1:
        raise SottovoceError(f"workers: expected 1 or more, got {count}")
    scores: list[Scores] = []
    threads = ThreadPoolExecutor(count, "score")         # each only waits for its worker's answer
    try:
        for answer in _in_order(threads, pairs, chosen, sample_rate, ahead=2 * count):
            scores.append(answer)
            if progress is not None:
                progress(len(scores))
    finally:
        threads.shutdown(cancel_futures=True)
    return scores


def close() -> None:
    """Ends the idle workers; a later `score` starts new ones."""
    while _idle:
        _idle.pop().close()


class Worker:
    """A child process that scores one utterance at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "sottovoce.metrics.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A process group of its own, for Ctrl-C goes to the whole group of the terminal.
            process_group=0 if os.name == "posix" else None,
            env={**os.environ, **THREAD_LIMITS, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )

    def measure(self, job: tuple[object, ...]) -> Scores | tuple[str, str]:
        """The answer to a job, see `worker`. Raises OSError or EOFError when the process is gone."""
        assert self._process.stdin and self._process.stdout
        pickle.dump(job, self._process.stdin)
        self._process.stdin.flush()
        answer: Scores | tuple[str, str] = pickle.load(self._process.stdout)
        return answer

    def close(self) -> int:
        """Ends the process, or finds it ended; its exit status."""
        self._process.kill()
        with self._process:
            return self._process.wait()


_idle: deque[Worker] = deque()                           # started, and not at work
atexit.register(close)


def _in_order(
    threads: ThreadPoolExecutor, pairs: Iterable[Pair], names: tuple[str, ...], sample_rate: int, ahead: int
) -> Iterator[Scores]:
    """The scores in the order of the pairs, of which no more than `ahead` are held beside the one in hand."""
    waiting: deque[Future[Scores]] = deque()
    for identifier, estimate, reference in pairs:
        job = (names, np.asarray(estimate), np.asarray(reference), sample_rate)
        waiting.append(threads.submit(_score_one, identifier, job))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _score_one(identifier: str, job: tuple[object, ...]) -> Scores:
    try:
        worker = _idle.pop()
    except IndexError:
        worker = Worker()
    try:
        answer = worker.measure(job)
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        end = f"its scoring process ended with status {worker.close()}"
        raise SottovoceError(f"utterance {identifier}: {end}") from error
    _idle.append(worker)                                 # one that broke off is not used again
    if isinstance(answer, dict):
        return answer
    kind, text = answer
    message = f"utterance {identifier}: {text}"
    raise SottovoceError(message) if kind == BAD_INPUT else RuntimeError(message)


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
