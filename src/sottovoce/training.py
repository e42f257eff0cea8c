"""The only optimisation loop. Whatever a technique wants of training comes in through the loss or a penalty."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from sottovoce.errors import SottovoceError

SAVE_SECONDS = 60.0      # between checkpoints of a fit


class Batch(Protocol):
    """What a model is given and what it should give back."""

    inputs: Any          # tuple of tensors
    targets: Any         # tuple of tensors


Loss = Callable[[Any, Any], Tensor]                          # (outputs of the model, batch) -> scalar
Batches = Callable[[int, int], Iterator[Any]]                # (first step, stride) -> batches without end


class Checkpoint(Protocol):
    """Where a half-done fit is kept."""

    def load(self) -> Mapping[str, Tensor] | None: ...

    def save(self, tensors: Mapping[str, Tensor]) -> None: ...


class TrainingError(SottovoceError):
    """Training cannot go on; the last checkpoint is kept."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn."""

    steps: int
    lr: float = 1e-3
    warmup: int = 0              # steps of linear rise
    decay_to: float = 0.05       # share of lr at the last step, along a half cosine; 1 keeps it constant
    clip: float = 5.0            # largest gradient norm

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not 0 < self.lr < 1:
            raise ValueError(f"lr must be between 0 and 1, got {self.lr}")
        if self.warmup < 0 or self.clip <= 0 or not 0 <= self.decay_to <= 1:
            raise ValueError(f"warmup >= 0, clip > 0 and decay_to 0..1 expected, got {self}")

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, ..."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        fall = 0.5 + 0.5 * math.cos(math.pi * step / self.steps)
        return self.lr * rise * (self.decay_to + (1 - self.decay_to) * fall)


@dataclass(frozen=True)
class Fitted:
    """How a fit went."""

    loss: float              # mean of the last tenth of the steps
    seconds: float
    data_wait: float         # share of the time spent waiting for batches


@dataclass
class _Tally:
    """What a fit has spent so far; carried through checkpoints."""

    seconds: float = 0.0
    waited: float = 0.0
    late_loss: float = 0.0
    late_steps: int = 0


def fit(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    schedule: Schedule,
    *,
    penalties: Sequence[Callable[[], Tensor]] = (),
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Fitted:
    """Minimise the loss of the model in place by Adam (AMSGrad), as many steps as the schedule says.

    Every step depends on its number alone, so a fit that is stopped and started again from its checkpoint ends with
    the same weights, bit for bit, on the same machine. Raises TrainingError when the loss is no longer a number.
    """
    accelerator = Accelerator()
    # By name, not as registered: a model read from a checkpoint has got its forms in another order.
    parameters = [parameter for _, parameter in sorted(model.named_parameters()) if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=schedule.lr, amsgrad=True)
    runner, optimizer = accelerator.prepare(model, optimizer)
    tally = _Tally()
    start = _restore(model, optimizer, tally, checkpoint)
    stream = batches(start + accelerator.process_index, accelerator.num_processes) if start < schedule.steps else None
    runner.train()
    saved = clock = time.monotonic()
    for step in range(start, schedule.steps):
        assert stream is not None
        batch = next(stream)
        now = time.monotonic()
        tally.waited += now - clock
        torch.manual_seed(seed * 1_000_003 + step)           # dropout, for one, repeats after a restart
        value = _step(accelerator, runner, parameters, optimizer, batch, loss, penalties, schedule, step)
        if step >= 0.9 * schedule.steps:
            tally.late_loss, tally.late_steps = tally.late_loss + value, tally.late_steps + 1
        tally.seconds += time.monotonic() - clock
        clock = time.monotonic()
        on_step(step, value)
        if checkpoint is not None and accelerator.is_main_process and clock - saved > SAVE_SECONDS:
            checkpoint.save(_progress(model, optimizer, tally, step + 1))
            saved = time.monotonic()
    model.to("cpu").eval()           # where stages and metrics look at it
    return Fitted(tally.late_loss / max(1, tally.late_steps), tally.seconds, tally.waited / max(tally.seconds, 1e-9))


def _step(accelerator: Accelerator, model: nn.Module, parameters: list[nn.Parameter], optimizer: Any, batch: Any,
          loss: Loss, penalties: Sequence[Callable[[], Tensor]], schedule: Schedule, step: int) -> float:
    for group in optimizer.param_groups:
        group["lr"] = schedule.rate(step)
    batch = type(batch)(*(tuple(tensor.to(accelerator.device) for tensor in part) for part in batch))
    value = loss(model(*batch.inputs), batch)
    if not torch.isfinite(value):
        raise TrainingError(f"step {step}: expected a finite loss, got {value.item()}; a lower lr may help")
    total = value + sum(penalty() for penalty in penalties)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(total)
    accelerator.clip_grad_norm_(parameters, schedule.clip)
    optimizer.step()
    return float(value.detach())


def _progress(model: nn.Module, optimizer: Any, tally: _Tally, step: int) -> dict[str, Tensor]:
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in slots.items()}
    tensors["tally"] = torch.tensor(
        [step, tally.seconds, tally.waited, tally.late_loss, tally.late_steps], dtype=torch.float64
    )
    return tensors


def _restore(model: nn.Module, optimizer: Any, tally: _Tally, checkpoint: Checkpoint | None) -> int:
    """Put back what `_progress` saved; the step to go on with."""
    tensors = checkpoint.load() if checkpoint is not None else None
    if tensors is None:
        return 0
    model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, slot = name.split(".")
            slots.setdefault(int(number), {})[slot] = tensor
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    step, tally.seconds, tally.waited, tally.late_loss, late_steps = tensors["tally"].tolist()
    tally.late_steps = int(late_steps)
    return int(step)
