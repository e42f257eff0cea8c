"""The sizes of TinyWASE as its paper counts them: python benchmarks/tinywase_sizes.py

Writes benchmarks/results/tinywase_sizes.json, of a WASE of the published sizes with weights from a seed: sizes do not
depend on what was learned. Counted are the separator, the encoder and the decoder, not the path of the enrolment; the
separator's matrices and filters at so many bits, everything else as 32-bit floats.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sottovoce.files import write_text
from sottovoce.models import build
from sottovoce.techniques.weights import learned, tie

RESULT = Path(__file__).parent / "results" / "tinywase_sizes.json"
BITS = (32, 8, 4, 3, 2, 1)
UNCOUNTED, UNQUANTIZED = "voice", ("encoder", "decoder")


def mebibytes(model: nn.Module, bits: int) -> float:
    """What the paper counts of a model with so many bits."""
    size = 0
    for weight in learned(model):
        count = weight.value.numel()
        if not weight.name.startswith(UNCOUNTED):
            low = weight.value.dim() > 1 and not weight.name.startswith(UNQUANTIZED)
            size += count * (bits if low else 32)
    return size / 8 / 2**20


def main() -> None:
    torch.manual_seed(0)
    one, shared = build("wase"), build("wase")
    tie(shared, {f"stacks.{number}": "stacks.0" for number in (1, 2)})
    whole = mebibytes(one, 32)
    result: dict[str, Any] = {"command": "python benchmarks/tinywase_sizes.py", "rows": [
        {"bits": bits, **{
            name: {"mebibytes": (size := mebibytes(model, bits)), "times": whole / size}
            for name, model in (("unshared", one), ("shared", shared))
        }} for bits in BITS
    ]}
    write_text(RESULT, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
