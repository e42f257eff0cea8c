"""Lists of mixtures, and how a model is scored on them."""

from pathlib import Path

import numpy as np
import pytest
import toy

from sottovoce.tasks import lists


@pytest.mark.parametrize("at_once", [1, 2, 8])
def test_scores_do_not_depend_on_how_many_mixtures_are_heard_at_once(at_once: int, tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    task = toy.recipe("", tmp_path).task
    heard: list[int] = []

    def with_gaps(mixtures: np.ndarray) -> np.ndarray:
        heard.append(len(mixtures))
        return mixtures * (np.arange(mixtures.shape[-1]) % 3 > 0)

    expected = [task.scores(None, "dev"), task.scores(with_gaps, "dev")]
    assert len(expected[0]) == 2 and expected[0] != expected[1]
    heard.clear()
    monkeypatch.setattr(lists, "AT_ONCE", at_once)
    assert [task.scores(None, "dev"), task.scores(with_gaps, "dev")] == expected
    assert heard == ([1, 1] if at_once == 1 else [2])
