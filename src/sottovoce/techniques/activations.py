"""What comes into a layer as a few bits: its weights are then multiplied with whole numbers on a grid."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sottovoce.errors import SottovoceError
from sottovoce.techniques.context import Run
from sottovoce.techniques.inputs import InputForm, lay
from sottovoce.techniques.weights import weights
from sottovoce.training import forward

TAKEN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.LSTM, nn.GRU)
MOST_BITS = 16


class Dynamic(InputForm):
    """2^bits values spread evenly from the least to the greatest of an utterance's own, which gradients reach too."""

    bits: Tensor

    def __init__(self, bits: Tensor) -> None:
        super().__init__()
        self.register_buffer("bits", bits)

    def forward(self, x: Tensor) -> Tensor:
        x, axes = x.float(), tuple(range(1, x.dim()))
        return rounded(x, x.amin(axes, keepdim=True), x.amax(axes, keepdim=True), self.bits)


class Static(InputForm):
    """2^bits values spread evenly from `low` to `high`; what lies beyond becomes the nearer of the two."""

    bits: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, bits: Tensor, low: Tensor, high: Tensor) -> None:
        super().__init__()
        self.register_buffer("bits", bits)
        self.register_buffer("low", low)
        self.register_buffer("high", high)

    def forward(self, x: Tensor) -> Tensor:
        return rounded(x.float().clamp(self.low, self.high), self.low, self.high, self.bits)


def rounded(x: Tensor, low: Tensor, high: Tensor, bits: Tensor) -> Tensor:
    """The nearest of 2^bits values from low to high; gradients pass straight through the rounding."""
    # Of one value alone the range is nothing, and any step gives that value.
    step = ((high - low) / (2**bits - 1)).clamp_min(torch.finfo(torch.float32).tiny)
    places = (x - low) / step
    return (places + (places.round() - places).detach()) * step + low


@dataclass(frozen=True)
class Activations:
    """Round what comes into layers that multiply by weights to a few bits.

    Dynamic ranges are those of Huang et al. 2022, worked out anew for every utterance: such a model needs all of it
    and cannot stream. Static ranges are measured once, on the development list. Of an LSTM or a GRU only
    what comes into the first layer is rounded. The weights of these layers are as they were.
    """

    bits: int = 8
    ranges: Literal["dynamic", "static"] = "dynamic"
    utterances: int = 32             # of the development list, to measure static ranges on
    cover: float = 1.0               # share of the values of each utterance that a static range takes in
    only: str = "*"                  # names of the weights of these layers, shell-style

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST_BITS:
            raise ValueError(f"bits must be 1..{MOST_BITS}, got {self.bits}")
        if self.utterances < 1:
            raise ValueError(f"utterances must be at least 1, got {self.utterances}")
        if not 0 < self.cover <= 1:
            raise ValueError(f"cover must be above 0 and at most 1, got {self.cover}")

    def apply(self, model: nn.Module, run: Run) -> nn.Module:
        modules = {weight.name.rpartition(".")[0]: weight.module for weight in weights(model, self.only)}
        taken = {name: module for name, module in modules.items() if isinstance(module, TAKEN)}
        remarks, forms = "; ".join(_remarks(modules)), self._forms(model, taken, run)
        for name, form in forms.items():
            lay(taken[name], form)
        ranges = {name: (float(form.low), float(form.high)) for name, form in forms.items() if isinstance(form, Static)}
        run.note(rounded=ranges or list(forms), **({"remarks": remarks} if remarks else {}))
        return model

    def _forms(self, model: nn.Module, taken: Mapping[str, nn.Module], run: Run) -> dict[str, InputForm]:
        bits = torch.tensor(self.bits)
        if self.ranges == "dynamic":
            return {name: Dynamic(bits.clone()) for name in taken}
        ranges = measured(model, taken, run.validation_batches(self.utterances), self.cover)
        return {name: Static(bits.clone(), *ranges[name]) for name in taken}


@torch.no_grad()
def measured(model: nn.Module, modules: Mapping[str, nn.Module], batches: Sequence[Any], cover: float,
             ) -> dict[str, tuple[Tensor, Tensor]]:
    """For each module a range that takes in this share of what comes into it in every utterance of the batches.

    Raises SottovoceError naming a module that nothing came into, or what is not finite.
    """
    lows: dict[str, list[Tensor]] = {name: [] for name in modules}
    highs: dict[str, list[Tensor]] = {name: [] for name in modules}

    def watch(name: str) -> Any:
        def see(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            for values in inputs[0].float().flatten(1):
                beyond = int((1 - cover) / 2 * (len(values) - 1))
                lows[name].append(values.kthvalue(1 + beyond).values)
                highs[name].append(values.kthvalue(len(values) - beyond).values)

        return see

    model.eval()
    with ExitStack() as stack:
        for name, module in modules.items():
            # Before a form that an earlier stage laid there.
            stack.enter_context(module.register_forward_pre_hook(watch(name), prepend=True))
        for batch in batches:
            forward(model, batch.inputs)
    for name, seen in lows.items():
        if not seen:
            raise SottovoceError(f"{name}: expected to see what comes into it, but the model does not run it")
        if not all(math.isfinite(value) for value in (*seen, *highs[name])):
            raise SottovoceError(f"{name}: expected finite values to come into it, got NaN or infinity")
    return {name: (torch.stack(lows[name]).min(), torch.stack(highs[name]).max()) for name in modules}


def _remarks(modules: Mapping[str, nn.Module]) -> Iterator[str]:
    """What the ledger should say of the layers of the chosen weights."""
    for name, module in modules.items():
        kind = type(module).__name__.removeprefix("Parametrized")
        if not isinstance(module, TAKEN):
            yield f"{name or 'the model'}: left as it is, {kind} is no layer that multiplies what comes in by weights"
        elif isinstance(module, nn.LSTM | nn.GRU) and module.num_layers > 1:
            yield f"{name}: what comes into the first of {module.num_layers} layers"
