"""Recurrent layers; the LSTM also trains fast in mixed precision on a CPU, where the library's own does not."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sottovoce.models.layers import dropped
from sottovoce.units import Group, Place

ROLES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Lstm(nn.LSTM):
    """Stacked LSTM layers over [batch, frames, inputs], batch first; hidden values [batch, frames, hidden].

    With `both_ways` each layer also runs from the last frame to the first, and gives twice as many values. `dropout` is
    between layers, in training. The parameters are those of torch.nn.LSTM. While training under bfloat16 autocast on
    a CPU matrix products and hidden values are bfloat16 and the rest float32, which takes about a third less time from
    512 units on.
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
            if layer and self.dropout and self.training:
                x = dropped(x, self.dropout)
            onwards = self._layer(x, f"l{layer}")
            if self.bidirectional:
                back = self._layer(x.flip(0), f"l{layer}_reverse").flip(0)
                onwards = torch.cat([onwards, back], -1)
            x = onwards
        return x.transpose(0, 1)

    def _layer(self, x: Tensor, suffix: str) -> Tensor:
        """Hidden values [frames, batch, hidden] of one layer in one direction, in mixed precision."""
        weights = (getattr(self, f"{role}_{suffix}") for role in ROLES)
        return _LstmLayer.apply(x, *weights)             # type: ignore[no-any-return,no-untyped-call]


class _LstmLayer(torch.autograd.Function):
    """Hidden values [T, B, H], bfloat16, of inputs [T, B, I] and one layer's weights and biases; gates i, f, g, o.

    There it is the library's. The library's way back is slow, and far off from 1024 units on; here the gates are found
    once more, for all frames at once, and so is all else but the product with the recurrent matrix. That stands on the
    left, where the library takes it as it lies; on the right it is packed anew for each frame.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, *weights: Tensor) -> Tensor:
        x, low = x.bfloat16(), [weight.bfloat16() for weight in weights]
        state = x.new_zeros(1, x.shape[1], weights[1].shape[1])
        hidden = torch.lstm(x, (state, state), low, True, 1, 0.0, False, False, False)[0]
        ctx.save_for_backward(x, hidden, *weights)
        return hidden

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        x, hidden, weight_ih, weight_hh, bias_ih, bias_hh = ctx.saved_tensors
        frames, batch, size = hidden.shape
        seen = torch.cat([x, F.pad(hidden[:-1], (0, 0, 0, 0, 1, 0))], -1)
        weights = torch.cat([weight_ih, weight_hh], 1).bfloat16()
        gates = F.linear(seen, weights, (bias_ih + bias_hh).bfloat16()).float()
        gates[..., : 2 * size].sigmoid_()
        gates[..., 2 * size : 3 * size].tanh_()
        gates[..., 3 * size :].sigmoid_()
        i, f, g, o = gates.chunk(4, -1)
        cells = i * g
        for t in range(1, frames):
            cells[t].addcmul_(f[t], cells[t - 1])
        squashed, before = cells.tanh(), F.pad(cells[:-1], (0, 0, 0, 0, 1, 0))

        by_cell = cells.new_empty(frames, batch, 3, size)
        _by_sigmoid(g, i, grad_input=by_cell[:, :, 0])
        _by_sigmoid(before, f, grad_input=by_cell[:, :, 1])
        _by_tanh(i, g, grad_input=by_cell[:, :, 2])
        by_hidden, through = _by_sigmoid(squashed, o), _by_tanh(o, squashed)

        recurrent = weight_hh.t().bfloat16().contiguous()
        change = hidden.new_empty(frames, batch, 4, size)
        d_hidden, d_cell = gradients[0][-1].float(), cells.new_zeros(batch, size)
        for t in range(frames - 1, -1, -1):
            now = change[t]
            d_cell = torch.addcmul(d_cell, d_hidden, through[t])
            now[:, :3] = d_cell[:, None] * by_cell[t]
            now[:, 3] = d_hidden * by_hidden[t]
            d_cell = d_cell * f[t]
            if t:
                d_hidden = gradients[0][t - 1] + (recurrent @ now.flatten(1).t()).t()

        flat = change.view(frames * batch, 4 * size)
        d_weights = (flat.t() @ seen.flatten(0, 1)).float()
        d_bias = (flat.new_ones(1, len(flat)) @ flat)[0].float()
        d_x = (flat @ weight_ih.bfloat16()).view(x.shape)
        return d_x, *d_weights.split([x.shape[2], size], 1), d_bias, d_bias


_by_sigmoid, _by_tanh = torch.ops.aten.sigmoid_backward, torch.ops.aten.tanh_backward


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
