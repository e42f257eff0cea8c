"""What `bench` says of a model; never how long it took."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import toy

from sottovoce.artefact.file import save
from sottovoce.bench import KINDS, REFERENCES
from sottovoce.packing import pack

KEYS = {"microseconds", "microseconds_10", "microseconds_90", "real_time_factor", "speedup", "speedup_10",
        "speedup_90", "weight_bytes", "process_bytes"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "settings", "rate", "causal"), [
    ("lstm", toy.MODEL_SETTINGS["lstm"][0], 16000, True),
    ("wase", toy.MODEL_SETTINGS["wase"][0], 8000, False),            # these have no form in ONNX
    ("conformer", {**toy.STREAMING_SETTINGS[1], "causal": True}, 16000, True),
], ids=["lstm", "wase", "conformer"])
def test_every_kind_is_timed_or_says_why_not(
    name: str, settings: dict[str, object], rate: int, causal: bool, sottovoce: Callable, tmp_path: Path,
) -> None:
    model = tmp_path / f"{name}.sotto"
    save(pack(toy.built(name, settings), {"sample_rate": rate}), model)
    outcome = sottovoce("bench", model, "--rounds", 1, "--seconds", 0.2, "--json")
    assert (outcome.status, outcome.err) == (0, "")
    told = json.loads(outcome.out)
    assert (tuple(told["kinds"]), told["causal"], told["rounds"]) == (KINDS, causal, 1)
    ran = {kind: row for kind, row in told["kinds"].items() if "error" not in row}
    assert "numpy" in ran and all(set(row) == KEYS for row in ran.values())
    assert told["reference"] == next(kind for kind in REFERENCES if kind in ran)
    assert ran[told["reference"]]["speedup"] == 1
    assert all(set(row) == {"error"} and row["error"] for kind, row in told["kinds"].items() if kind not in ran)


def test_what_is_no_model_is_said(sottovoce: Callable, tmp_path: Path) -> None:
    (tmp_path / "no.sotto").write_bytes(b"SOTT")
    outcome = sottovoce("bench", tmp_path / "no.sotto")
    assert outcome.status == 2 and len(outcome.complaints) == 1 and "cut short" in outcome.complaints[0]
