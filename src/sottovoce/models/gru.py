"""An enhancer of GRUs: the LSTM's with three gates in place of four, and so with three quarters of its weights."""

from dataclasses import dataclass

from torch import Tensor, nn

from sottovoce.models.frontend import BINS
from sottovoce.models.magnitude import MagnitudeConfig, MagnitudeEnhancer
from sottovoce.models.recurrent import Gru, layer_units
from sottovoce.units import Group


@dataclass(frozen=True)
class GruConfig(MagnitudeConfig):
    """Sizes and front end; the defaults are a small model that nobody has published."""

    hidden: int = 256                                    # units of each GRU layer
    layers: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.hidden <= 16384 or not 1 <= self.layers <= 64:
            raise ValueError(f"hidden must be 1..16384 and layers 1..64, got {self.hidden} and {self.layers}")


class GruEnhancer(MagnitudeEnhancer):
    """Magnitudes through GRU layers and one linear layer."""

    def __init__(self, config: GruConfig) -> None:
        super().__init__(config)
        self.gru = Gru(BINS, config.hidden, config.layers)
        self.output = nn.Linear(config.hidden, BINS)

    def estimate(self, features: Tensor) -> Tensor:
        estimate: Tensor = self.output(self.gru(features))
        return estimate

    def units(self) -> list[Group]:
        """The units of each layer: what it and the next one take from one can be scaled."""
        return layer_units("gru", self.gru, "output.weight")
