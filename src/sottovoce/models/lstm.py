"""The LSTM enhancer of Tan and Wang 2021: magnitudes of single frames through stacked LSTMs."""

from dataclasses import dataclass

from torch import Tensor, nn

from sottovoce.models.frontend import BINS
from sottovoce.models.magnitude import MagnitudeConfig, MagnitudeEnhancer
from sottovoce.models.recurrent import Lstm, layer_units
from sottovoce.units import Group


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
        return layer_units("lstm", self.lstm, "output.weight")
