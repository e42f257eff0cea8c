"""What the page says of the engine: a row for all that ran, targets that are met by the figures alone."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import toy

sys.path.insert(0, str(toy.ROOT / "benchmarks"))
from full.compiled import Compiled, by_cpu, page
from full.tables import MISSING


def row(microseconds: float, speedup: float) -> dict[str, float]:
    return {"microseconds": microseconds, "speedup": speedup, "speedup_10": speedup - 1, "speedup_90": speedup + 1}


def stored(folder: Path, hot: float = 12.5, avx2: float = 6, cold: float = 7, most: float = 9e6, share: float = 0.8,
           stoi: float = 0.05) -> Compiled:
    """Of one model that was measured and one that was not."""
    def kinds(speedup: float) -> dict[str, Any]:
        return {"instructions": "avx512", "kinds": {
            "compiled int8": row(50, speedup), "compiled float32": row(400, 2), "compiled int8 avx2": row(90, avx2),
            "onnxruntime int8": row(900, 1), "onnxruntime float32": {"error": "no"}}}

    model = {
        "hot": kinds(hot), "cold": kinds(cold), "bytes": 10, "weight_bytes": 200_000, "bytes_a_second": 1e9,
        "bandwidth": 2e9, "share_of_bandwidth": share, "c_process": {"VmHWM": most, "VmRSS": most},
        "onnxruntime_process": None, "load": 4.0, "commit": "0123456789",
        "profile": {"linear": 35.2, "lstm": 60.0, "stft": 4.04, "istft": 0.76},
        "quality": {of: {"pesq_wb": 0.001, "stoi": stoi} for of in ("reference", "int8", "change")},
    }
    path = folder / "engine.json"
    path.write_text(json.dumps({"models": {"lstm-c1": model}, "missing": ["tcnn-c1"], "cores": 2, "rounds": 20,
                                "cpu": "One, L2 1M"}))
    return Compiled(path)


def test_every_kind_of_instructions_has_a_row(tmp_path: Path) -> None:
    rows = stored(tmp_path).times().splitlines()[2:]
    assert rows == [
        "| lstm-c1: avx512 | 50 |  | 400 | 12.50 (11.50 .. 13.50) | 50 | 7.00 (6.00 .. 8.00) |",
        "| lstm-c1: avx2 | 90 |  |  | 6.00 (5.00 .. 7.00) | 90 | 6.00 (5.00 .. 7.00) |",
        "| lstm-c1: onnxruntime, dense | 900 |  | not run | 1.00 (0.00 .. 2.00) | 900 | 1.00 (0.00 .. 2.00) |",
        f"| tcnn-c1 | {MISSING} |  |  |  |  |  |",
    ]


def test_in_short_a_model_has_one_row(tmp_path: Path) -> None:
    rows = stored(tmp_path).short().splitlines()[2:]
    assert rows == ["| lstm-c1 | 10 | 50 | 12.50 (11.50 .. 13.50) | 9.0 MB |"]


def test_a_profile_begins_with_what_takes_most(tmp_path: Path) -> None:
    rows = stored(tmp_path).profile().splitlines()[2:]
    assert rows == ["| lstm-c1 | 100 | lstm 60, linear 35, stft 4.0 | 2.0 | 2.0 |"]


@pytest.mark.parametrize(("changed", "missed"), [
    ({}, ""), ({"hot": 11.9}, "12 times"), ({"avx2": 4.9}, "5 times"), ({"cold": 5.9}, "6 times"),
    ({"most": 1.1e7}, "within 10 MB"), ({"most": 0}, "within 10 MB"), ({"share": 0.7}, "bandwidth"),
    ({"stoi": 0.11}, "of the reference"),
    ({"stoi": -0.11}, "of the reference"),
])
def test_a_target_is_met_or_not(tmp_path: Path, changed: dict[str, float], missed: str) -> None:
    lines = stored(tmp_path, **changed).verdicts().splitlines()
    assert len(lines) == 6
    assert all(("**not met**" in line) == (bool(missed) and missed in line) for line in lines)


def test_every_cpu_has_a_section_and_fuzzing_is_told_once(tmp_path: Path) -> None:
    fuzzed = tmp_path / "fuzz.json"
    fuzzed.write_text(json.dumps({"all": {"file": {"seconds": 1800, "executions": 12345, "crashes": 0}}}))
    shown = page([stored(tmp_path)] * 2, fuzzed)
    heading = "One, L2 1M, 20 rounds, commit 0123456"
    assert shown.count(f"### {heading}\n") == 2 and shown.count("| file | 1,800 | 12,345 | 0 |") == 1
    assert by_cpu([stored(tmp_path)], Compiled.short).startswith(f"{heading}:\n\n|  | bytes on disk |")


def test_what_was_not_measured_is_said(tmp_path: Path) -> None:
    assert page([], tmp_path / "fuzz.json").startswith(f"## The engine\n\n{MISSING.capitalize()}.")
    assert by_cpu([], Compiled.times) == f"{MISSING.capitalize()}."
