"""The table of a finished enhancement run: python benchmarks/enhance.py RUN

Writes benchmarks/results/NAME.json from the run's ledger and scores, then benchmarks/RESULTS.md and the tables of the
documents from all results.
"""

import hashlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sottovoce.artefact.describe import paper_bytes
from sottovoce.artefact.file import load
from sottovoce.files import write_text
from sottovoce.ledger import read_ledger
from sottovoce.proof import environment
from sottovoce.terminal import TITLES

HERE = Path(__file__).parent
RESULTS = HERE / "results"
MARKS = ("<!-- table of the quick start -->", "<!-- end of the table -->")      # in README.md


def record(run: Path) -> Path:
    """Everything a reader needs to trust the row and to make it again."""
    recipe, model = (run / "recipe.toml").read_text(), run / "model.sotto"
    rows, artefact = read_ledger(run / "ledger.jsonl"), load(model)
    asked = subprocess.run(["git", "rev-parse", "HEAD"], cwd=HERE, capture_output=True, text=True, check=False)
    result = {
        "name": artefact.meta["name"],
        "command": "sottovoce compress recipes/RECIPE.toml, then python benchmarks/enhance.py runs/NAME",
        "recipe": recipe,
        "recipe_sha256": hashlib.sha256(recipe.encode()).hexdigest(),
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "commit": asked.stdout.strip(),
        "environment": environment(),
        "parameters": artefact.meta["parameters"],
        "bytes": model.stat().st_size,
        "paper_bytes": round(paper_bytes(artefact)),
        "nonzeros": rows[-1].nonzeros,
        "steps": sum(row.steps for row in rows),
        "seconds": sum(row.seconds for row in rows if "/" not in row.stage),
        "rows": [asdict(row) for row in rows],
        "comparison": json.loads((run / "scores.json").read_text()),
    }
    path = RESULTS / f"{result['name']}.json"
    write_text(path, json.dumps(result, indent=1) + "\n")
    return path


def table(result: dict[str, Any]) -> str:
    """One result as Markdown."""
    dense = 4 * result["parameters"]
    lines = [
        f"## {result['name']}", "",
        f"{result['parameters']:,} parameters, {dense:,} bytes as 32-bit floats -> **{result['bytes']:,} bytes on "
        f"disk, {dense / result['bytes']:.1f} times smaller** (paper-style, positions not counted: "
        f"{result['paper_bytes']:,} bytes); {result['nonzeros']:,} nonzero weights; {result['steps']:,} training "
        f"steps, {result['seconds']:.0f} s.", "",
        "| | noisy | uncompressed | compressed | difference | 95 % interval |", "|---|---|---|---|---|---|",
    ]
    for group, metrics in {"all": result["comparison"]["metrics"], **result["comparison"]["groups"]}.items():
        for name, row in metrics.items():
            lines.append(
                f"| {name}, {group} | {row['noisy']:.2f} | {row['uncompressed']:.2f} | {row['compressed']:.2f} "
                f"| {row['difference']:+.3f} | {row['low']:+.3f} .. {row['high']:+.3f} |"
            )
    return "\n".join(lines)


def results() -> list[dict[str, Any]]:
    """All stored results of such runs; other benchmarks keep theirs in the same folder."""
    stored = [json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))]
    return [result for result in stored if "comparison" in result]


def short_table(result: dict[str, Any]) -> str:
    """The quick start as the README shows it."""
    dense = 4 * result["parameters"]
    lines = ["| | noisy | uncompressed | compressed | compressed - uncompressed, 95 % |", "|---|---|---|---|---|"]
    for name, row in result["comparison"]["metrics"].items():
        sides = " | ".join(f"{row[side]:.2f}" for side in ("noisy", "uncompressed", "compressed"))
        change = f"{row['difference']:+.3f} ({row['low']:+.3f} .. {row['high']:+.3f})"
        lines.append(f"| {TITLES[name]} | {sides} | {change} |")
    lines.append(f"| bytes | | {dense:,} | **{result['bytes']:,}** | **{dense / result['bytes']:.1f} times smaller** |")
    return "\n".join(lines)


if __name__ == "__main__":
    from full import pages

    record(Path(sys.argv[1]))
    pages.write()
