"""Acoustic models of Lu, Guo and Renals 2017: plain and highway networks from speech to tied states of an HMM.

Their input is normalised over all that is heard at once. In training that is all of a speaker, as with the authors,
who also adapt the features to the speaker beforehand (fMLLR), which is not done here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sottovoce.models.fbank import Fbank
from sottovoce.models.layers import AroundConv, TimeNorm


@dataclass(frozen=True)
class AcousticConfig:
    """Sizes; the defaults are those of the published student, HDNN-H128L10."""

    states: int = 3927               # of the output; in a recipe those of its task, if it names no number
    hidden: int = 128                # units of a hidden layer (H)
    layers: int = 10                 # hidden ones (L)
    context: int = 15                # frames that the first layer sees, as many before its own as after
    bins: int = 40                   # of the filter banks
    spread: float | None = None      # weights begin evenly within +- this, 0.5 as published; None: by the layer's size

    def __post_init__(self) -> None:
        for name, least, most in (("states", 2, 65536), ("hidden", 1, 65536), ("layers", 1, 64), ("context", 1, 255),
                                  ("bins", 1, 1024)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be {least}..{most}, got {getattr(self, name)}")
        if self.context % 2 == 0:
            raise ValueError(f"context must be odd, got {self.context}")
        if self.spread is not None and not 0 < self.spread < float("inf"):
            raise ValueError(f"spread must be a positive number, got {self.spread}")


class Dnn(nn.Module):
    """Log probabilities [batch, frames, states] of a waveform [batch, samples] at 16 kHz, 100 frames a second.

    It takes 80 samples or more, for less than half a hop is no frame. The frames beyond both ends are as the mean.
    With the numbers of some frames [batch, count] it gives theirs alone, as it would among the others.
    """

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__()
        self.config = config
        self.fbank = Fbank(config.bins)
        self.norm = TimeNorm()
        self.enter = AroundConv(config.bins, config.hidden, config.context)
        self.hidden = nn.ModuleList(nn.Linear(config.hidden, config.hidden) for _ in range(config.layers - 1))
        self.output = nn.Linear(config.hidden, config.states)
        _spread(self, config.spread)

    def forward(self, waveform: Tensor, frames: Tensor | None = None) -> Tensor:
        heard = self.norm(self.fbank(waveform))
        h = torch.sigmoid(self.enter(heard) if frames is None else self.enter(heard, frames))
        for layer in self.hidden:
            h = self.onwards(layer, h)
        return torch.log_softmax(self.output(h).float(), -1)

    def onwards(self, layer: nn.Module, h: Tensor) -> Tensor:
        """What a hidden layer makes of the values [batch, frames, hidden] of the one before it."""
        return torch.sigmoid(layer(h))


class Hdnn(Dnn):
    """As `Dnn`, but each hidden layer is let through by one gate, and the one before it carried on by another.

    The two gates are those of all layers, without a bias. Source: Lu, Guo and Renals 2017, section 2.
    """

    def __init__(self, config: AcousticConfig) -> None:
        super().__init__(config)
        self.transform_gate, self.carry_gate = (nn.Linear(config.hidden, config.hidden, bias=False) for _ in range(2))
        for gate in (self.transform_gate, self.carry_gate):
            _spread(gate, config.spread)

    def onwards(self, layer: nn.Module, h: Tensor) -> Tensor:
        return super().onwards(layer, h) * torch.sigmoid(self.transform_gate(h)) + h * torch.sigmoid(self.carry_gate(h))


def _spread(model: nn.Module, spread: float | None) -> None:
    """Begin with weights evenly within +- `spread` and biases of 0.

    By the size of a layer it is 4 sqrt(6 / (inputs + outputs)), for sigmoids: Glorot and Bengio 2010.
    """
    for parameter in model.parameters():
        if parameter.dim() < 2:
            nn.init.zeros_(parameter)
        elif spread is None:
            nn.init.xavier_uniform_(parameter, gain=4.0)
        else:
            nn.init.uniform_(parameter, -spread, spread)
