"""The table of a finished enhancement run: python benchmarks/enhance.py RUN

Writes benchmarks/results/NAME.json from the run's ledger and scores, then benchmarks/RESULTS.md and the tables of the
documents from all results.
"""

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

from full import pages
from full.origin import commit

from sottovoce.artefact.describe import paper_bytes
from sottovoce.artefact.file import load
from sottovoce.files import write_text
from sottovoce.ledger import read_ledger
from sottovoce.proof import environment

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def record(run: Path) -> Path:
    """Everything a reader needs to trust the row and to make it again."""
    recipe, model = (run / "recipe.toml").read_text(), run / "model.sotto"
    rows, artefact = read_ledger(run / "ledger.jsonl"), load(model)
    result = {
        "name": artefact.meta["name"],
        "command": "sottovoce compress recipes/RECIPE.toml, then python benchmarks/enhance.py runs/NAME",
        "recipe": recipe,
        "recipe_sha256": hashlib.sha256(recipe.encode()).hexdigest(),
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "commit": commit(),
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


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1], "scores.json").is_file():
        sys.exit(f"enhance.py: expected the folder of a finished run, got {' '.join(sys.argv[1:]) or 'nothing'}")
    record(Path(sys.argv[1]))
    pages.write()
