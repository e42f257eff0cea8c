"""Tensors on disk: ours as safetensors, whole or not there; a user's also as torch saves them. Never code."""

import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from sottovoce.errors import FormatError
from sottovoce.files import write_bytes


def save_tensors(path: Path, tensors: Mapping[str, Tensor], **notes: Any) -> None:
    """Write tensors, with JSON notes beside them, in one move."""
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {key: json.dumps(value, sort_keys=True) for key, value in notes.items()}
    write_bytes(path, safetensors.torch.save(ready, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the notes of a file. Raises FormatError when it is missing or holds none.

    Notes of other programs need not be JSON and are then texts. A file of torch.save has none; its state dict may be
    one of the values of a dictionary.
    """
    if not path.is_file():
        raise FormatError(f"{path}: no such checkpoint")
    if zipfile.is_zipfile(path):
        return _saved_by_torch(path), {}
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
        return tensors, {key: _note(value) for key, value in metadata.items()}
    except (safetensors.SafetensorError, OSError) as error:
        wanted = "expected a checkpoint, safetensors or of torch.save"
        raise FormatError(f"{path}: {wanted}, got a damaged or other file ({error})") from None


def _saved_by_torch(path: Path) -> dict[str, Tensor]:
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        said = str(error).partition("\n")[0]
        raise FormatError(f"{path}: expected what torch.save makes of model.state_dict(), got other objects or "
                          f"a damaged file ({said})") from None
    inner = found.values() if isinstance(found, Mapping) else ()
    states = [value for value in (found, *inner) if _is_state(value)]
    if len(states) != 1:
        keys = ", ".join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
        raise FormatError(f"{path}: expected a state dict, alone or with other things, got {len(states)} in: {keys}")
    return dict(states[0])


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(isinstance(part, Tensor) for part in value.values())


def _note(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


class Progress:
    """A half-done fit on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> dict[str, Tensor] | None:
        return load_tensors(self.path)[0] if self.path.is_file() else None

    def save(self, tensors: Mapping[str, Tensor]) -> None:
        save_tensors(self.path, tensors)
