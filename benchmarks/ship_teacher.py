"""Ship the result of a training run as 16-bit floats: python benchmarks/ship_teacher.py RUN OUT.safetensors

Writes the weights, and beside them OUT.json with the ledger row of the training and the recipe.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from sottovoce.checkpoints import load_tensors, save_tensors
from sottovoce.files import write_text
from sottovoce.ledger import read_ledger


def ship(run: Path, out: Path) -> None:
    """Write the last stage of the run to `out`, every tensor rounded to 16-bit floats."""
    row = read_ledger(run / "ledger.jsonl")[-1]
    tensors, notes = load_tensors(run / "stages" / f"{row.stage}.safetensors")
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    save_tensors(out, halves, model=notes["model"], config=notes["config"])
    record = {"row": asdict(row), "recipe": (run / "recipe.toml").read_text()}
    write_text(out.with_suffix(".json"), json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    ship(Path(sys.argv[1]), Path(sys.argv[2]))
