"""What TensorBoard reads is what training did, each step once."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sottovoce.curves import Curves
from sottovoce.errors import SottovoceError


def test_a_restart_takes_back_the_steps_it_does_again(tmp_path: Path) -> None:
    for first in (0, 6):
        with Curves(tmp_path) as curves:
            for step in range(first, 10):
                curves.add("loss", first + step / 16, step)
    read = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [(event.step, event.value) for event in read] == [
        (step, (6 if step >= 6 else 0) + step / 16) for step in range(10)
    ]


def test_a_fit_that_tells_nothing_leaves_nothing(tmp_path: Path) -> None:
    with Curves(tmp_path / "stage"):
        pass
    assert not list(tmp_path.iterdir())


def test_where_it_cannot_write_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "stage").touch()
    with pytest.raises(SottovoceError, match=r"stage: cannot be written: File exists"):
        Curves(tmp_path / "stage").add("loss", 1.0, 0)
