"""Adds what a log of libFuzzer says of a run to what all runs of its target come to.

    python engine/fuzz/record.py LOG JSON TARGET FAILED
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

SUMS = ("seconds", "executions", "crashes")
COMMAND = "sh engine/fuzz/run.sh SECONDS benchmarks/results/fuzz.json"


def run(log: str, target: str, failed: bool) -> dict[str, Any]:
    """How far a run came; FAILED is 1 where it ended at an input that makes the target fail."""
    last = re.findall(r"^#(\d+)\t.* cov: (\d+) ft: (\d+) corp: (\d+)", log, re.M)[-1]
    executions, edges, features, inputs = map(int, last)
    seconds = re.search(r"^Done (\d+) runs in (\d+) second", log, re.M)
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    return {"target": target, "commit": asked.stdout.strip(), "seconds": int(seconds[2]) if seconds else None,
            "executions": executions, "edges": edges, "features": features, "inputs": inputs, "crashes": int(failed)}


def main(log: str, report: str, target: str, failed: str) -> None:
    path = Path(report)
    runs = json.loads(path.read_text())["runs"] if path.is_file() else []
    runs.append(run(Path(log).read_text(errors="replace"), target, failed != "0"))
    totals: dict[str, dict[str, int]] = {}
    for one in runs:
        total = totals.setdefault(one["target"], dict.fromkeys(SUMS, 0))
        for key in SUMS:
            total[key] += one[key] or 0
    path.write_text(json.dumps({"command": COMMAND, "all": totals, "runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
