"""Training towards the outputs of a teacher: the dense model, or the model before this pruning step."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sottovoce.techniques.context import Run, Teacher
from sottovoce.techniques.train import Train
from sottovoce.training import forward


@dataclass(frozen=True)
class Distill(Train):
    """Train on the task and towards a teacher: (1 - weight) * task loss + weight * distance to the teacher.

    Source: Wei, Li and Zhang 2022, where the teacher is the model before this pruning step.
    """

    teacher: Teacher = "dense"
    weight: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.weight <= 1:
            raise ValueError(f"weight must be above 0 and at most 1, got {self.weight}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        teacher = run.teacher(self.teacher)

        def loss(outputs: Any, batch: Any) -> Tensor:
            with torch.no_grad():
                wanted = forward(teacher.to(batch.inputs[0].device), batch.inputs, self.precision)
            imitation = run.task.imitation(outputs, wanted, batch)
            if self.weight == 1:
                return imitation
            return (1 - self.weight) * run.task.loss(outputs, batch) + self.weight * imitation

        self._fit(model, loss, run)
        return model
