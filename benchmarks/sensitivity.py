"""The sensitivity search against the published one: python benchmarks/sensitivity.py

Both look for the share of its weights that each tensor of the sample's teacher can lose, over the same utterances. The
published search runs the whole model at 5 %, 10 %, ... until the loss has risen too far; ours halves, and so may end at
a larger ratio where the loss rises too far and then falls again. Writes benchmarks/results/sensitivity.json. Times are
seconds of CPU time of one thread.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from full.origin import commit
from torch import nn

from sottovoce.files import write_text
from sottovoce.proof import environment
from sottovoce.recipe import read_recipe
from sottovoce.run import Run
from sottovoce.techniques.groups import Groups, kept
from sottovoce.techniques.sensitivity import STEPS, tolerated
from sottovoce.techniques.weights import plain, weights

HERE = Path(__file__).parent
RECIPE = HERE.parent / "recipes" / "quickstart.toml"
UTTERANCES = 18
CASES: tuple[tuple[Groups, float], ...] = (
    ("weights", 0.0003), ("weights", 0.001), ("weights", 0.003), ("weights", 0.01),
    ("kernels", 0.001), ("kernels", 0.003), ("kernels", 0.01),
)


@torch.no_grad()
def published(model: nn.Module, run: Run, batches: Sequence[Any], groups: Groups,
              tolerance: float) -> tuple[dict[str, float], int]:
    """Algorithms 1 and 2 of Tan and Wang 2021 as printed; the ratios, and how often the loss was computed."""
    evaluations, ratios = 0, {}
    copy = plain(model)

    def loss() -> float:
        nonlocal evaluations
        evaluations += 1
        losses = [len(batch.inputs[0]) * float(run.task.loss(copy(*batch.inputs), batch)) for batch in batches]
        return sum(losses) / sum(len(batch.inputs[0]) for batch in batches)

    base = loss()
    for weight in weights(copy):
        value = weight.original.clone()
        ratios[weight.name] = 1.0
        for step in range(1, STEPS + 1):
            weight.original.copy_(value * kept(value, step / STEPS, groups))
            if loss() - base > tolerance:
                ratios[weight.name] = (step - 1) / STEPS
                break
        weight.original.copy_(value)
    return ratios, evaluations - 1


def measured(run: Run, model: nn.Module, groups: Groups, tolerance: float) -> dict[str, Any]:
    """Both searches on one case."""
    batches = run.validation_batches(UTTERANCES)
    begin = time.process_time()
    wanted, evaluations = published(model, run, batches, groups, tolerance)
    middle = time.process_time()
    table = tolerated(model, weights(model), tolerance, groups, run, UTTERANCES)
    end = time.process_time()
    rises = {(name, ratio): rise for name, ratio, rise in table.evaluated}
    return {
        "groups": groups, "tolerance": tolerance, "loss": table.loss, "equal": table.ratios == wanted,
        "ratios": table.ratios,
        "published": {"ratios": wanted, "evaluations": evaluations, "seconds": middle - begin},
        "larger_and_tolerated": {
            name: {"published": wanted[name], "ours": ratio, "rise": rises[name, ratio]}
            for name, ratio in table.ratios.items() if ratio > wanted[name]
        },
        "ours": {"evaluations": len(table.evaluated), "seconds": end - middle},
    }


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        run = Run(read_recipe(RECIPE), Path(directory))
        model = run.start()
        run.validation_batches(1)            # the utterances are mixed before the clock runs
        cases = [measured(run, model, *case) for case in CASES]
    result = {
        "name": "sensitivity",
        "command": "python benchmarks/sensitivity.py",
        "commit": commit(),
        "environment": {**environment(), "threads": "1"},
        "model": "sample/teacher.safetensors",
        "utterances": UTTERANCES,
        "cases": cases,
    }
    write_text(HERE / "results" / "sensitivity.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
