"""Recurrent layers; the LSTM also trains fast in mixed precision on a CPU, where the library's own does not."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sottovoce.units import Group, Place

ROLES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Lstm(nn.LSTM):
    """Stacked LSTM layers over [batch, frames, inputs], batch first; hidden values [batch, frames, hidden].

    With `both_ways` each layer also runs from the last frame to the first, and gives twice as many values. `dropout` is
    between layers, in training. The parameters are those of torch.nn.LSTM. While training under bfloat16 autocast on
    a CPU the matrix products are bfloat16 and everything else float32, which takes about half the time.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1, both_ways: bool = False, dropout: float = 0.0,
                 ) -> None:
        super().__init__(inputs, hidden, layers, batch_first=True, dropout=dropout, bidirectional=both_ways)

    def forward(self, x: Tensor) -> Tensor:              # type: ignore[override]  # outputs only, no states
        if not (torch.is_grad_enabled() and x.device.type == "cpu" and torch.is_autocast_enabled("cpu")):
            outputs: Tensor = super().forward(x)[0]
            return outputs
        x = x.transpose(0, 1)                            # [frames, batch, inputs]
        for layer in range(self.num_layers):
            if layer and self.dropout:
                x = F.dropout(x, self.dropout, self.training)
            onwards = self._layer(x, f"l{layer}")
            if self.bidirectional:
                back = self._layer(x.flip(0), f"l{layer}_reverse").flip(0)
                onwards = torch.cat([onwards, back], -1)
            x = onwards
        return x.transpose(0, 1)

    def _layer(self, x: Tensor, suffix: str) -> Tensor:
        """Hidden values [frames, batch, hidden] of one layer in one direction, in mixed precision."""
        weight_ih, weight_hh, bias_ih, bias_hh = (getattr(self, f"{role}_{suffix}") for role in ROLES)
        given = F.linear(x, weight_ih, bias_ih + bias_hh)
        hidden: Tensor = _Recurrence.apply(given, weight_hh)         # type: ignore[no-untyped-call]
        return hidden


class _Recurrence(torch.autograd.Function):
    """Hidden values [T, B, H] of pre-activations [T, B, 4H] (gates i, f, g, o) and the recurrent matrix [4H, H].

    The matrix stands on the left of its product, where the library takes it as it lies; on the right it is packed anew
    for each frame. Going back, everything but that product is prepared for all frames at once.
    """

    @staticmethod
    def forward(ctx: Any, given: Tensor, weight: Tensor) -> Tensor:
        frames, batch, size = given.shape[0], given.shape[1], weight.shape[1]
        recurrent = weight.bfloat16()
        gates = given.float()                            # a copy: given is bfloat16
        cells = gates.new_empty(frames, batch, size)
        hidden = gates.new_empty(frames, batch, size)
        cell = gates.new_zeros(batch, size)
        for t in range(frames):
            now = gates[t]
            if t:
                now += (recurrent @ hidden[t - 1].bfloat16().t()).t()
            now[:, : 2 * size].sigmoid_()
            now[:, 2 * size : 3 * size].tanh_()
            now[:, 3 * size :].sigmoid_()
            i, f, g, o = now.chunk(4, dim=1)
            cell = torch.addcmul(f * cell, i, g, out=cells[t])
            torch.mul(o, cell.tanh(), out=hidden[t])
        ctx.save_for_backward(gates, cells, hidden, weight)
        return hidden

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        gates, cells, hidden, weight = ctx.saved_tensors
        frames, batch, size = hidden.shape
        recurrent = weight.t().bfloat16().contiguous()
        i, f, g, o = gates.chunk(4, dim=2)
        squashed = cells.tanh()
        before = F.pad(cells[:-1], (0, 0, 0, 0, 1, 0))
        by_cell = torch.stack([g * i * (1 - i), before * f * (1 - f), i * (1 - g * g)], dim=2)     # [T, B, 3, H]
        by_hidden = squashed * o * (1 - o)
        through = o * (1 - squashed * squashed)
        change = torch.empty(frames, batch, 4, size, dtype=torch.bfloat16)
        d_hidden, d_cell = gradients[0][-1].float(), torch.zeros(batch, size)
        for t in range(frames - 1, -1, -1):
            d_cell = torch.addcmul(d_cell, d_hidden, through[t])
            change[t, :, :3] = d_cell[:, None] * by_cell[t]
            change[t, :, 3] = d_hidden * by_hidden[t]
            d_cell = d_cell * f[t]
            if t:
                d_hidden = gradients[0][t - 1] + (recurrent @ change[t].flatten(1).t()).t()
        flat = change.flatten(2)
        d_weight = flat[1:].flatten(0, 1).t() @ hidden[:-1].bfloat16().flatten(0, 1)
        return flat, d_weight.float()


class Gru(nn.GRU):
    """Stacked GRU layers over [batch, frames, inputs], batch first; hidden values [batch, frames, hidden].

    `both_ways`, `dropout` and the parameters are as of `Lstm`, but for three gates in place of four.
    """

    def __init__(self, inputs: int, hidden: int, layers: int = 1, both_ways: bool = False, dropout: float = 0.0,
                 ) -> None:
        super().__init__(inputs, hidden, layers, batch_first=True, dropout=dropout, bidirectional=both_ways)

    def forward(self, x: Tensor) -> Tensor:              # type: ignore[override]  # outputs only, no states
        outputs: Tensor = super().forward(x)[0]
        return outputs


def layer_units(name: str, stack: nn.LSTM | nn.GRU, after: str) -> list[Group]:
    """The units of each layer of the stack of that name, which runs one way; the tensor `after` reads the last ones."""
    size, layers, groups = stack.hidden_size, stack.num_layers, []
    gates = 4 if isinstance(stack, nn.LSTM) else 3
    for layer in range(layers):
        rows = [Place(f"{name}.{role}_l{layer}", 0, units=(*range(size),) * gates) for role in ROLES]
        above = f"{name}.weight_ih_l{layer + 1}" if layer + 1 < layers else after
        reads = [Place(tensor, 1, scaled=True) for tensor in (f"{name}.weight_hh_l{layer}", above)]
        groups.append(Group(f"{name}.{layer}", "hidden", size, (*rows, *reads)))
    return groups
