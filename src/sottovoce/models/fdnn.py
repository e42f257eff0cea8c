"""The feedforward enhancer of Tan and Wang 2021: a ratio mask from the magnitudes of one frame."""

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sottovoce.models.frontend import BINS
from sottovoce.models.magnitude import MagnitudeConfig, MagnitudeEnhancer
from sottovoce.units import Group, Place


@dataclass(frozen=True)
class FdnnConfig(MagnitudeConfig):
    """Sizes and front end; the defaults are the published model of 9,054,369 parameters."""

    output: Literal["magnitude", "mask"] = "mask"
    units: int = 2048                                    # of each hidden layer; 200 in the small model
    layers: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.units <= 16384 or not 1 <= self.layers <= 64:
            raise ValueError(f"units must be 1..16384 and layers 1..64, got {self.units} and {self.layers}")


class FdnnEnhancer(MagnitudeEnhancer):
    """Magnitudes of each frame by itself through hidden layers with ReLU."""

    def __init__(self, config: FdnnConfig) -> None:
        super().__init__(config)
        sizes = [BINS, *[config.units] * config.layers]
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.output = nn.Linear(config.units, BINS)

    def estimate(self, features: Tensor) -> Tensor:
        for layer in self.hidden:
            features = torch.relu(layer(features))
        estimate: Tensor = self.output(features)
        return estimate

    def units(self) -> list[Group]:
        """The units of each hidden layer: what the next layer takes from one can be scaled."""
        names = [*(f"hidden.{number}" for number in range(len(self.hidden))), "output"]
        return [
            Group(name, "hidden", self.output.in_features, (
                Place(f"{name}.weight", 0), Place(f"{name}.bias", 0), Place(f"{after}.weight", 1, scaled=True),
            ))
            for name, after in itertools.pairwise(names)
        ]
