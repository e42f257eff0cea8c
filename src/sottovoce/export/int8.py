"""Matrix products in whole numbers: weights of 8 bits, values rounded as they come."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

from sottovoce.artefact.graph import Graph

FACTORS = {"linear": "weight", "attention": "position"}      # tensors that values are multiplied with by MatMul


def factors(graph: Graph) -> set[str]:
    """The names of the tensors that `in_int8` rounds, where they lie in the file as plain floats."""
    return {node.tensors[FACTORS[node.op]] for node in graph.nodes if node.op in FACTORS}


def in_int8(data: bytes, operators: Sequence[str] = ("MatMul",), signed: bool = False) -> bytes:
    """An ONNX file whose products with plain floats are products of whole numbers, a scale for each column.

    The weights are unsigned: signed ones overflow on processors without instructions for them, on others they are
    faster.
    """
    model = onnx.load_from_string(data)
    # onnxruntime asks aloud for files that were prepared; what it means is done anyway.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        kind = QuantType.QInt8 if signed else QuantType.QUInt8
        quantize_dynamic(model, path, [*operators], per_channel=True, weight_type=kind)
        return path.read_bytes()
