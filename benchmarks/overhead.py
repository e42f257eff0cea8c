"""What a step of training costs with masks, penalties, codebooks and a teacher: python benchmarks/overhead.py

Writes benchmarks/results/overhead.json. Every round trains each variant for a few steps, one after the other, so that
whatever else the machine does meets all of them; a ratio is that to the plain steps of the same round. Times are those
of one thread's work, in seconds of CPU time a step. About ten minutes; what is in the file is not measured again.
"""

import json
import platform
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from full.origin import commit
from torch import Tensor, nn

from sottovoce.data.batches import Batch
from sottovoce.files import write_text
from sottovoce.models import build
from sottovoce.proof import environment
from sottovoce.tasks.enhance import squared_error
from sottovoce.techniques.cluster import Cluster
from sottovoce.techniques.prune import Prune
from sottovoce.techniques.regularize import penalty
from sottovoce.techniques.weights import plain
from sottovoce.training import Penalty, Precision, Schedule, fit, forward

RESULT = Path(__file__).parent / "results" / "overhead.json"
MODELS: dict[str, tuple[dict[str, Any], int]] = {                # settings, and how many steps are timed a round
    "LSTM 2 x 256": ({"hidden": 256, "layers": 2}, 8),
    "LSTM 4 x 1024, as published": ({}, 1),
}
PRECISIONS: tuple[Precision, ...] = ("bf16", "fp32")
UTTERANCES, SAMPLES = 8, 64_000          # of a batch, 4 s each: what is done per step weighs more than in one of 16
ROUNDS = 3


class Notebook:
    """What stages that need no data ask of a run."""

    def note(self, **details: Any) -> None:
        """Nobody reads it."""


@dataclass
class Variant:
    """A way to train: the model with its forms, and what comes on top of the loss."""

    model: nn.Module
    penalties: Sequence[Penalty] = ()
    teacher: nn.Module | None = None
    seconds: list[float] = field(default_factory=list)           # of a step, one entry a round
    teacher_seconds: list[float] = field(default_factory=list)

    def measure(self, batch: Batch, steps: int, precision: Precision) -> None:
        """Train a little and note the time of a step, and of the teacher's part in it."""
        # Not timed: the first step of a fit, which makes the optimizer's tensors, and the last, which copies them.
        ends: list[float] = []
        teaching: list[float] = []

        def loss(outputs: Tensor, batch: Batch) -> Tensor:
            task = squared_error(outputs, batch.targets[0], batch.inputs[0])
            if self.teacher is None:
                return task
            began = time.process_time()
            with torch.no_grad():
                wanted = forward(self.teacher, batch.inputs, precision)
            teaching.append(time.process_time() - began)
            return 0.5 * task + 0.5 * squared_error(outputs, wanted, batch.inputs[0])

        def batches(start: int, stride: int) -> Iterator[Batch]:
            while True:
                yield batch

        fit(self.model, batches, loss, Schedule(steps + 2, 1e-4, precision=precision), penalties=self.penalties,
            on_step=lambda step, value: ends.append(time.process_time()))
        self.model.zero_grad()           # five published models are in memory at a time
        self.seconds.append((ends[-2] - ends[0]) / steps)
        if teaching:
            self.teacher_seconds.append(statistics.median(teaching))


def variants(settings: dict[str, Any]) -> dict[str, Variant]:
    """What is compared, plain training first."""
    run: Any = Notebook()

    def made(*stages: Any) -> nn.Module:
        torch.manual_seed(0)
        model = build("lstm", **settings)
        for stage in stages:
            model = stage.apply(model, run)
        return model

    masks, regularized = Prune(ratio=0.8), made(Prune(ratio=0.8))
    return {
        "plain": Variant(made()),
        "masks": Variant(made(masks)),
        "masks, l1 and group lasso": Variant(regularized, [penalty(regularized, 0.01, 0.01)]),
        "codebooks of 16 values": Variant(made(Cluster(values=16))),
        "masks and a teacher": Variant(made(masks), teacher=plain(made())),
    }


def measured(settings: dict[str, Any], steps: int, precision: Precision) -> dict[str, dict[str, Any]]:
    """A row for every variant."""
    torch.manual_seed(0)
    noisy = torch.randn(UTTERANCES, SAMPLES)
    batch = Batch((noisy,), (0.5 * noisy,))
    compared = variants(settings)
    for _ in range(ROUNDS):
        for variant in compared.values():
            variant.measure(batch, steps, precision)
    return {name: row(variant, compared["plain"]) for name, variant in compared.items()}


def row(variant: Variant, plain: Variant) -> dict[str, Any]:
    """Seconds a step, what the teacher's forward pass takes of them, and the rest against a plain step."""
    teacher = variant.teacher_seconds or [0.0] * ROUNDS
    rest = [whole - taught for whole, taught in zip(variant.seconds, teacher, strict=True)]
    return {
        "seconds": statistics.median(variant.seconds),
        "teacher_seconds": statistics.median(teacher),
        "ratio_without_teacher": statistics.median(a / b for a, b in zip(rest, plain.seconds, strict=True)),
        "rounds": variant.seconds,
    }


def processor() -> str:
    """The name of the CPU."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def main() -> None:
    torch.set_num_threads(1)
    result = json.loads(RESULT.read_text()) if RESULT.is_file() else {
        "command": "python benchmarks/overhead.py",
        "commit": commit(),
        "environment": environment() | {"processor": processor()},
        "batch": {"utterances": UTTERANCES, "samples": SAMPLES},
        "rounds": ROUNDS,
        "models": {name: {} for name in MODELS},
    }
    for name, (settings, steps) in MODELS.items():
        for precision in PRECISIONS:
            if precision not in result["models"][name]:
                result["models"][name][precision] = measured(settings, steps, precision)
                write_text(RESULT, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
