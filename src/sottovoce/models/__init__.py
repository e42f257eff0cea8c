"""The models that can be compressed, by name. A model knows nothing of data, losses or compression."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from sottovoce.models.conformer import Conformer, ConformerConfig
from sottovoce.models.fdnn import FdnnConfig, FdnnEnhancer
from sottovoce.models.gcrn import GcrnConfig, GcrnEnhancer
from sottovoce.models.gru import GruConfig, GruEnhancer
from sottovoce.models.highway import AcousticConfig, Dnn, Hdnn
from sottovoce.models.lstm import LstmConfig, LstmEnhancer
from sottovoce.models.tcnn import TcnnConfig, TcnnEnhancer
from sottovoce.models.wase import Wase, WaseConfig


@dataclass(frozen=True)
class ModelKind:
    """A model's settings and the module built from them."""

    config: type
    module: type[nn.Module]

    def build(self, config: Any) -> nn.Module:
        """A fresh model of these settings, which it keeps as `.config`."""
        return self.module(config)


MODELS: dict[str, ModelKind] = {
    "lstm": ModelKind(LstmConfig, LstmEnhancer),
    "gru": ModelKind(GruConfig, GruEnhancer),
    "fdnn": ModelKind(FdnnConfig, FdnnEnhancer),
    "tcnn": ModelKind(TcnnConfig, TcnnEnhancer),
    "gcrn": ModelKind(GcrnConfig, GcrnEnhancer),
    "wase": ModelKind(WaseConfig, Wase),
    "conformer": ModelKind(ConformerConfig, Conformer),
    "dnn": ModelKind(AcousticConfig, Dnn),
    "hdnn": ModelKind(AcousticConfig, Hdnn),
}


def build(name: str, **config: Any) -> nn.Module:
    """A fresh model of that name with these settings; its settings are kept as `.config`."""
    kind = MODELS[name]
    return kind.build(kind.config(**config))
