"""The process that scores utterances for `scoring`: jobs come on stdin, answers go to stdout, all pickled.

A job is (names, estimate, reference, sample_rate); its answer is the scores, or the kind and the text of what
went wrong. The end of stdin ends the process, so that it never outlives its parent, however that one ended.
"""

import contextlib
import os
import pickle
import sys
import traceback
from typing import Any

from sottovoce.errors import SottovoceError
from sottovoce.metrics.speech import measure

BAD_INPUT, BROKEN = "bad input", "broken"


def main() -> None:
    # Only answers may go out on stdout: what a package prints there goes to stderr instead.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _import_without_torch("fast_bss_eval")
    while True:
        try:
            job = pickle.load(sys.stdin.buffer)
        except (EOFError, pickle.UnpicklingError):       # the parent has ended, maybe within a job
            return
        try:
            pickle.dump(_answer(job), answers)
            answers.flush()
        except BrokenPipeError:
            return


def _answer(job: Any) -> dict[str, float] | tuple[str, str]:
    try:
        return measure(*job)
    except SottovoceError as error:
        return BAD_INPUT, str(error)
    except Exception:
        return BROKEN, traceback.format_exc()


def _import_without_torch(name: str) -> None:
    """Imports a package that would take torch along: two seconds and 250 MB a process, for nothing."""
    sys.modules["torch"] = None  # type: ignore[assignment]
    with contextlib.suppress(ModuleNotFoundError):       # said with its utterance if the package is needed
        __import__(name)
    del sys.modules["torch"]


if __name__ == "__main__":
    main()
