"""The LSTM enhancer of Tan and Wang 2021: magnitudes of single frames through stacked LSTMs."""

from dataclasses import dataclass

from torch import Tensor, nn

from sottovoce.models.frontend import BINS
from sottovoce.models.magnitude import MagnitudeConfig, MagnitudeEnhancer
from sottovoce.models.recurrent import Lstm
from sottovoce.units import Group, Place


@dataclass(frozen=True)
class LstmConfig(MagnitudeConfig):
    """Sizes and front end; the defaults are the published model of 30,217,377 parameters."""

    hidden: int = 1024                                   # units of each LSTM layer; 320 in the small model
    layers: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.hidden <= 16384 or not 1 <= self.layers <= 64:
            raise ValueError(f"hidden must be 1..16384 and layers 1..64, got {self.hidden} and {self.layers}")


class LstmEnhancer(MagnitudeEnhancer):
    """Magnitudes through LSTM layers and one linear layer."""

    def __init__(self, config: LstmConfig) -> None:
        super().__init__(config)
        self.lstm = Lstm(BINS, config.hidden, config.layers)
        self.output = nn.Linear(config.hidden, BINS)

    def estimate(self, features: Tensor) -> Tensor:
        estimate: Tensor = self.output(self.lstm(features))
        return estimate

    def units(self) -> list[Group]:
        """The units of each layer: what it and the next one take from one can be scaled."""
        size, layers = self.lstm.hidden_size, self.lstm.num_layers
        groups = []
        for layer in range(layers):
            rows = [Place(f"lstm.{role}_l{layer}", 0, units=(*range(size),) * 4)             # of the four gates
                    for role in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            after = f"lstm.weight_ih_l{layer + 1}" if layer + 1 < layers else "output.weight"
            reads = [Place(name, 1, scaled=True) for name in (f"lstm.weight_hh_l{layer}", after)]
            groups.append(Group(f"lstm.{layer}", "hidden", size, (*rows, *reads)))
        return groups
