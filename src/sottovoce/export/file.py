"""What every ONNX file here has in common: versions that old devices read, where it comes from, what is not packed."""

import json
from collections.abc import Mapping, Set
from typing import Any

from onnx import GraphProto, TensorProto, ValueInfoProto, helper

from sottovoce import __version__
from sottovoce.artefact import Artefact
from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored
from sottovoce.errors import SottovoceError

IR_VERSION, OPSET = 8, 13                    # of 2021: all that packed weights need, and old devices read it


def file_of(
    graph: GraphProto, artefact: Artefact, properties: Mapping[str, Any], rounded: Set[str] = frozenset()
) -> bytes:
    """A file with these metadata, and where the model comes from; `rounded` as in `not_packed`."""
    model = helper.make_model(
        graph,
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="sottovoce",
        producer_version=__version__,
    )
    origin = {f"sottovoce.{key}": artefact.meta[key] for key in ("model", "task", "parameters") if key in artefact.meta}
    everything = {**properties, **origin, "sottovoce.not_packed": json.dumps(not_packed(artefact, rounded))}
    helper.set_model_props(model, {key: str(value) for key, value in everything.items()})
    data: bytes = model.SerializeToString(deterministic=True)
    return data


def sample_rate(artefact: Artefact) -> int:
    """In Hz. Raises SottovoceError where there is none."""
    rate = artefact.meta.get("sample_rate")
    if not isinstance(rate, int):
        raise SottovoceError(f"ONNX export: expected a sample_rate in Hz, got {rate!r}")
    return rate


def port(name: str, shape: tuple[int | str, ...], kind: int = TensorProto.FLOAT) -> ValueInfoProto:
    """An input or output of the whole graph; axes with a name may have any length."""
    return helper.make_tensor_value_info(name, kind, list(shape))


def not_packed(artefact: Artefact, rounded: Set[str] = frozenset()) -> dict[str, str]:
    """What an ONNX file holds at full width: tensor name -> how, and why if the artefact says why.

    Those that are `rounded` to 8 bits are not among them.
    """
    reasons = artefact.meta.get("not_compressed", {})
    forms = {name: full_width(stored) for name, stored in artefact.tensors.items() if name not in rounded}
    return {
        name: f"{form} ({reasons[name]})" if name in reasons else form for name, form in forms.items() if form
    }


def full_width(stored: Stored) -> str:
    """How values lie in ONNX if not as packed codes; empty if they do."""
    match stored:
        case Codebook() | Levels():
            return ""
        case Sparse():
            return "pruned, not clustered: float32 values and a bit for every place"
        case Dense(values):
            return values.dtype.name
    raise TypeError(f"no ONNX form for {type(stored).__name__}")
