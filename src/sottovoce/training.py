"""The only optimisation loop. Whatever a technique wants of training comes in through the loss or a penalty."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import convert_to_fp32
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sottovoce.errors import SottovoceError

GOOD_STEPS = 25          # between states that a fit goes back to
SAVE_SECONDS = 60.0      # at least, between checkpoints of a fit
HALVINGS = 5             # of the learning rate, before a fit gives up

Precision = Literal["fp32", "bf16"]


class Batch(Protocol):
    """What a model is given and what it should give back."""

    inputs: Any          # tuple of tensors
    targets: Any         # tuple of tensors


Loss = Callable[[Any, Any], Tensor]                          # (outputs of the model, batch) -> scalar
Penalty = Callable[[], None]                                 # adds its gradient to the .grad of what learns
Batches = Callable[[int, int], Iterator[Any]]                # (first step, stride) -> batches without end


class Checkpoint(Protocol):
    """Where a half-done fit is kept."""

    def load(self) -> Mapping[str, Tensor] | None: ...

    def save(self, tensors: Mapping[str, Tensor]) -> None: ...


@runtime_checkable
class Annealed(Protocol):
    """A part of a model that changes with training."""

    def anneal(self, share: float) -> None:
        """Be ready for the next step, when this share of the steps of the fit is done."""
        ...


@runtime_checkable
class Paced(Protocol):
    """A part whose own parameters learn at another rate than the schedule says."""

    pace: float              # times the schedule's; below 0 they go up the loss


class TrainingError(SottovoceError):
    """Training cannot go on; the last checkpoint is kept."""


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how exactly to learn."""

    steps: int
    lr: float = 1e-3
    warmup: int = 0              # steps of linear rise
    decay_to: float = 0.05       # share of lr at the last step, along a half cosine; 1 keeps it constant
    clip: float = 5.0            # largest gradient norm
    precision: Precision = "fp32"    # of the forward pass: "bf16" is torch's mixed precision

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
class Setback:
    """A step that gave a loss, gradients or a model that are not finite: the fit went back and goes slower."""

    step: int                # after this step ...
    back_to: int             # ... the model was again as it had been before this one,
    lr: float                # and the schedule has fallen to this learning rate

    def __str__(self) -> str:
        return f"step {self.step} was not finite: back to step {self.back_to}, lr {self.lr:g} from there on"


@dataclass(frozen=True)
class Fitted:
    """How a fit went."""

    loss: float              # mean of the last tenth of the steps
    seconds: float
    data_wait: float         # share of the time spent waiting for batches
    setbacks: tuple[Setback, ...] = ()


@dataclass
class _Tally:
    """What a fit has been through so far; carried through checkpoints."""

    seconds: float = 0.0
    waited: float = 0.0
    late_loss: float = 0.0
    late_steps: int = 0
    setbacks: list[Setback] = field(default_factory=list)


class Beside(nn.Module):
    """A model, and what learns with it in a fit and is left behind after."""

    def __init__(self, model: nn.Module, *others: nn.Module) -> None:
        super().__init__()
        self.model, self.others = model, nn.ModuleList(others)

    def forward(self, *inputs: Tensor) -> Any:
        return self.model(*inputs)


def forward(model: nn.Module, inputs: Sequence[Tensor], precision: Precision = "fp32") -> Any:
    """The outputs of a model, float32 whatever it computes in."""
    # A form would be worked out at each mention of its weight, by nn.LSTM twice or three times a pass.
    with parametrize.cached(), torch.autocast(inputs[0].device.type, torch.bfloat16, enabled=precision == "bf16"):
        return convert_to_fp32(model(*inputs))


def fit(
    model: nn.Module,
    batches: Batches,
    loss: Loss,
    schedule: Schedule,
    *,
    penalties: Sequence[Penalty] = (),
    seed: int = 0,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> Fitted:
    """Minimise the loss of the model in place by Adam (AMSGrad), as many steps as the schedule says.

    Every step depends on its number alone, so a fit that is stopped and started again from its checkpoint ends with
    the same weights, bit for bit, on the same machine. A step that is not finite is taken back with those since the
    last good state, and the learning rate halved; the sixth such step raises TrainingError.
    """
    accelerator = Accelerator()
    # By name, not as registered: a model read from a checkpoint has got its forms in another order.
    parameters = [parameter for _, parameter in sorted(model.named_parameters()) if parameter.requires_grad]
    optimizer = torch.optim.Adam(_groups(model, parameters), lr=schedule.lr, amsgrad=True, fused=True)
    runner, optimizer = accelerator.prepare(model, optimizer)
    annealed = [part for part in model.modules() if isinstance(part, Annealed)]
    tally = _Tally()
    start = _restore(model, optimizer, tally, checkpoint)
    good, good_step = {name: tensor.clone() for name, tensor in _state(model, optimizer).items()}, start
    stream = batches(start + accelerator.process_index, accelerator.num_processes) if start < schedule.steps else None
    runner.train()
    saved = clock = time.monotonic()
    for step in range(start, schedule.steps):
        assert stream is not None
        batch = next(stream)
        now = time.monotonic()
        tally.waited += now - clock
        torch.manual_seed(seed * 1_000_003 + step)           # dropout, for one, repeats after a restart
        for part in annealed:
            part.anneal(step / schedule.steps)
        rate = schedule.rate(step) / 2 ** len(tally.setbacks)
        value = _step(accelerator, runner, parameters, optimizer, batch, loss, penalties, schedule, rate)
        # At fixed steps, and only there also saved: a fit that was killed goes back to the same states.
        stop = (step + 1) % GOOD_STEPS == 0 or step + 1 == schedule.steps
        if not math.isfinite(value) or (stop and not _finite(model, optimizer)):
            tally.setbacks.append(_setback(step, good_step, schedule, tally.setbacks))
            _put_back(model, optimizer, good)
        elif stop:
            _copy(_state(model, optimizer), good)
            good_step = step + 1
        if step >= 0.9 * schedule.steps and math.isfinite(value):
            tally.late_loss, tally.late_steps = tally.late_loss + value, tally.late_steps + 1
        tally.seconds += time.monotonic() - clock
        clock = time.monotonic()
        on_step(step, value)
        due = good_step == step + 1 and clock - saved > SAVE_SECONDS
        if checkpoint is not None and accelerator.is_main_process and due:
            checkpoint.save(good | _tallied(tally, step + 1))
            saved = time.monotonic()
    model.to("cpu").eval()           # where stages and metrics look at it
    mean, share = tally.late_loss / max(1, tally.late_steps), tally.waited / max(tally.seconds, 1e-9)
    return Fitted(mean, tally.seconds, share, tuple(tally.setbacks))


def _groups(model: nn.Module, parameters: Sequence[nn.Parameter]) -> list[dict[str, Any]]:
    """What learns, by its pace, in the order given."""
    paces = {parameter: part.pace for part in model.modules() if isinstance(part, Paced)
             for parameter in part.parameters(recurse=False)}
    groups: dict[float, dict[str, Any]] = {}
    for parameter in parameters:
        pace = paces.get(parameter, 1.0)
        group = groups.setdefault(pace, {"params": [], "pace": abs(pace), "maximize": pace < 0})
        group["params"].append(parameter)
    return list(groups.values())


def _step(accelerator: Accelerator, model: nn.Module, parameters: list[nn.Parameter], optimizer: Any, batch: Any,
          loss: Loss, penalties: Sequence[Penalty], schedule: Schedule, rate: float) -> float:
    """The loss of the batch, learnt from if it and the gradients are finite; else what is not."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["pace"]
    batch = type(batch)(*(tuple(tensor.to(accelerator.device) for tensor in part) for part in batch))
    value = loss(forward(model, batch.inputs, schedule.precision), batch)
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(value)
    for penalty in penalties:
        penalty()
    norm = float(accelerator.clip_grad_norm_(parameters, schedule.clip))
    mean = float(accelerator.reduce(value.detach(), "mean"))             # of all processes: they must agree
    if not math.isfinite(mean + norm):
        return mean + norm
    optimizer.step()
    return mean


def _setback(step: int, good_step: int, schedule: Schedule, before: Sequence[Setback]) -> Setback:
    if len(before) == HALVINGS:
        raise TrainingError(
            f"step {step}: expected a finite loss and finite gradients; halving lr {HALVINGS} times, from "
            f"{schedule.lr:g} to {before[-1].lr:g}, did not help"
        )
    return Setback(step, good_step, schedule.lr / 2 ** (len(before) + 1))


# ---- what a fit changes, as named tensors ---------------------------------------------------------------------------


def _state(model: nn.Module, optimizer: Any) -> dict[str, Tensor]:
    """The tensors themselves, not copies."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for number, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in slots.items()}
    return tensors


def _finite(model: nn.Module, optimizer: Any) -> bool:
    tensors = _state(model, optimizer).values()
    return all(math.isfinite(tensor.sum()) for tensor in tensors if tensor.is_floating_point())


def _copy(tensors: Mapping[str, Tensor], into: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if name in into:
            into[name].copy_(tensor)
        else:
            into[name] = tensor.clone()


def _put_back(model: nn.Module, optimizer: Any, tensors: Mapping[str, Tensor]) -> None:
    model.load_state_dict({name[6:]: tensor for name, tensor in tensors.items() if name.startswith("model.")})
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, number, slot = name.split(".")
            slots.setdefault(int(number), {})[slot] = tensor.clone()     # the optimizer takes it as it is
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})


def _tallied(tally: _Tally, step: int) -> dict[str, Tensor]:
    spent = [step, tally.seconds, tally.waited, tally.late_loss, tally.late_steps]
    setbacks = [[setback.step, setback.back_to, setback.lr] for setback in tally.setbacks]
    return {
        "tally": torch.tensor(spent, dtype=torch.float64),
        "setbacks": torch.tensor(setbacks, dtype=torch.float64).reshape(-1, 3),
    }


def _restore(model: nn.Module, optimizer: Any, tally: _Tally, checkpoint: Checkpoint | None) -> int:
    """Put back what a checkpoint holds; the step to go on with."""
    tensors = checkpoint.load() if checkpoint is not None else None
    if tensors is None:
        return 0
    _put_back(model, optimizer, tensors)
    step, tally.seconds, tally.waited, tally.late_loss, late_steps = tensors["tally"].tolist()
    tally.late_steps = int(late_steps)
    tally.setbacks = [Setback(int(at), int(back_to), lr) for at, back_to, lr in tensors["setbacks"].tolist()]
    return int(step)
