import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sottovoce.errors import SottovoceError
from sottovoce.metrics import scoring
from sottovoce.metrics.scoring import Pair, score
from sottovoce.metrics.speech import METRICS, measure

Array = NDArray[np.float32]
Noisy = Callable[[float], Array]


@pytest.fixture
def pairs(speech: Array, noisy: Noisy) -> list[Pair]:
    """Nine, of one second each."""
    return [(f"{snr} dB", noisy(snr)[16000:32000], speech[16000:32000]) for snr in range(-4, 5)]


def test_any_number_of_workers_gives_the_same_bits_in_the_order_given(pairs: list[Pair]) -> None:
    names = ["si_sdr", "stoi", "pesq_wb"]
    one = score(pairs, names, workers=1)
    assert score(iter(pairs), names, workers=2) == one
    assert [list(scores) for scores in one] == [names] * len(pairs)
    alone = [measure(names, estimate, reference) for _, estimate, reference in pairs]
    np.testing.assert_allclose([list(s.values()) for s in one], [list(s.values()) for s in alone], rtol=1e-9)


def test_every_metric_goes_through_a_worker(pairs: list[Pair]) -> None:
    scores, = score(pairs[:1], METRICS, workers=1)
    assert list(scores) == list(METRICS)
    assert np.isfinite(list(scores.values())).all()


def test_nothing_to_score_gives_nothing() -> None:
    assert score([], ["stoi"]) == []


def test_progress_counts_up_and_pairs_are_drawn_as_needed(pairs: list[Pair]) -> None:
    drawn: list[str] = []
    ahead: list[int] = []

    def drawing() -> Iterator[Pair]:
        for pair in pairs:
            drawn.append(pair[0])
            yield pair

    done: list[int] = []

    def progress(count: int) -> None:
        done.append(count)
        ahead.append(len(drawn) - count)

    score(drawing(), ["si_sdr"], workers=1, progress=progress)
    assert done == list(range(1, len(pairs) + 1))
    assert max(ahead) <= 2


def test_workers_are_used_again(pairs: list[Pair]) -> None:
    scoring.close()
    score(pairs, ["si_sdr"], workers=1)
    worker, = scoring._idle
    score(pairs, ["si_sdr"], workers=1)
    assert list(scoring._idle) == [worker]
    scoring.close()
    assert not scoring._idle


def test_a_failing_utterance_is_named_and_the_next_list_is_scored(pairs: list[Pair]) -> None:
    good, estimate, reference = pairs[2]
    bad = [pairs[0], ("talk-17", estimate * np.nan, reference), pairs[1]]
    with pytest.raises(SottovoceError, match=r"^utterance talk-17: estimate: expected finite"):
        score(bad, ["stoi", "si_sdr"], workers=2)
    assert len(score([(good, estimate, reference)], ["stoi"], workers=2)) == 1


def test_a_worker_that_dies_is_named_with_its_utterance_and_replaced(pairs: list[Pair]) -> None:
    scoring.close()
    score(pairs, ["si_sdr"], workers=1)
    scoring._idle[0]._process.kill()
    with pytest.raises(SottovoceError, match=r"^utterance -4 dB: its scoring process ended with status -9$"):
        score(pairs, ["si_sdr"], workers=1)
    assert len(score(pairs, ["si_sdr"], workers=1)) == len(pairs)


@pytest.mark.parametrize(
    ("names", "workers", "message"),
    [
        (["stoy"], 1, "metrics: expected names among .*, got 'stoy'"),
        (["stoi"], 0, "workers: expected 1 or more, got 0"),
    ],
)
def test_impossible_wishes_are_refused_at_once(names: list[str], workers: int, message: str) -> None:
    with pytest.raises(SottovoceError, match=f"^{message}$"):
        score([], names, workers=workers)


ENDLESS = """
    import itertools
    import numpy as np
    from sottovoce.metrics import scoring

    wave = np.random.default_rng(0).standard_normal(160000)
    pair = ("utterance", wave, wave)
    scoring.score([pair] * 4, ["stoi"], workers=2)
    print(*(worker._process.pid for worker in scoring._idle), flush=True)
    scoring.score(itertools.repeat(pair), ["stoi"], workers=2)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_however_the_parent_ends_its_workers_end_quietly(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "endless.py"
    script.write_text(textwrap.dedent(ENDLESS))          # it has no guard for __main__, and needs none
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(script)], **pipes, start_new_session=True) as parent:
        workers = [int(pid) for pid in parent.stdout.readline().split()]
        os.killpg(parent.pid, how)                       # to the whole group, as a terminal does
        try:
            # Workers share the parent's stderr: it ends when the last of them has.
            _, complaints = parent.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            raise
    assert len(workers) == 2
    assert complaints.count("Traceback") == (how == signal.SIGINT)   # the caller's own KeyboardInterrupt


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system tells no thread counts")
def test_a_worker_keeps_to_one_thread(pairs: list[Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in scoring.THREAD_LIMITS:
        monkeypatch.setenv(name, "2")
    scoring.close()
    score(pairs[:1], ["si_sdr", "stoi"], workers=1)
    status = Path(f"/proc/{scoring._idle[0]._process.pid}/status").read_text()
    assert "Threads:\t1\n" in status


def test_a_worker_loads_no_torch() -> None:
    code = """
        import io, pickle, sys, numpy as np
        from sottovoce.metrics import worker
        wave = np.random.default_rng(0).standard_normal(16000)
        job = (["si_sdr", "stoi", "pesq_nb"], wave, wave, 16000)
        sys.stdin = io.TextIOWrapper(io.BytesIO(pickle.dumps(job)))
        worker.main()
        print("torch" in sys.modules, file=sys.stderr)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, check=True)
    assert done.stderr.decode().split() == ["False"]
