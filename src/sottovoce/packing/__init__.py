"""A torch model as an artefact: its weights as their forms store them, its computation as a graph. The one bridge."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sottovoce.artefact import Artefact
from sottovoce.artefact.stored import Dense, Stored
from sottovoce.models.layers import BatchNorm
from sottovoce.packing.trace import trace
from sottovoce.techniques.weights import Weight, learned, plain


def pack(model: nn.Module, meta: Mapping[str, Any] | None = None) -> Artefact:
    """The artefact of a model with its forms, for the first of its outputs; `meta` goes along, JSON values only.

    Raises SottovoceError naming the first operation that the format does not know, and the line it is in.
    """
    named = list(learned(model))
    norms = {name: module for name, module in model.named_modules() if isinstance(module, BatchNorm)}
    tensors: dict[str, Stored] = {
        weight.name: weight.stored() for weight in named if weight.name.rpartition(".")[0] not in norms
    }
    for name, norm in norms.items():
        tensors |= {f"{name}.{role}": Dense(values) for role, values in _folded(norm).items()}
    kept = {weight.name: reason for weight in named if weight.name in tensors and (reason := _uncompressed(weight))}
    parameters = sum(weight.value.numel() for weight in named)
    return Artefact(trace(plain(model)), tensors, {**(meta or {}), "parameters": parameters, "not_compressed": kept})


def _uncompressed(weight: Weight) -> str:
    """Why a tensor lies in the file as full floats; empty if it does not."""
    if not isinstance(weight.stored(), Dense):
        return ""
    reason = "bias or norm, left out of pruning and clustering" if weight.value.dim() < 2 else "no stage took it"
    return reason if weight.form is None else f"{reason}; 16-bit floats"


def _folded(norm: BatchNorm) -> dict[str, NDArray[Any]]:
    """Scale and shift of a batch norm, as they are stored."""
    with torch.no_grad():
        scale, shift = (part.cpu().numpy() for part in norm.folded())
    kind = np.float16 if norm.rounded else np.float32
    return {"scale": scale.astype(kind), "shift": shift.astype(kind)}
