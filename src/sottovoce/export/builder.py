"""ONNX graphs written node by node, whose tensors stay packed until a runtime loads the file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from sottovoce.artefact.stored import Codebook, Dense, Levels, Sparse, Stored


class GraphBuilder:
    """The nodes and initialisers of one ONNX graph; every method returns the name of the value it adds."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: dict[str, TensorProto] = {}
        self.unnamed: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, op: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """The single output of a new node; `name` is made up where it does not matter."""
        name = name or f"{op}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def split(self, value: str, sizes: Sequence[int], names: Sequence[str], axis: int = -1) -> Sequence[str]:
        """Cut an axis of `value` into pieces of the given sizes, known by `names`, which come back."""
        inputs = [value, self.int64(*sizes)]
        self.nodes.append(helper.make_node("Split", inputs, list(names), axis=axis))
        return names

    def constant(self, array: NDArray[Any], name: str = "") -> str:
        """An initialiser; of equal unnamed ones there is one."""
        if not name:
            key = (array.dtype.str, array.shape, array.tobytes())
            name = self.unnamed.setdefault(key, f"constant_{len(self.unnamed)}")
        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def int64(self, *numbers: int) -> str:
        """A constant [count of the numbers], as axes and sizes are given."""
        return self.constant(np.array(numbers, np.int64))

    def graph(
        self, inputs: list[ValueInfoProto], outputs: list[ValueInfoProto], name: str = "one_frame"
    ) -> GraphProto:
        return helper.make_graph(self.nodes, name, inputs, outputs, initializer=list(self.initializers.values()))

    # ---- tensors ----

    def tensor(self, name: str, stored: Stored) -> str:
        """The float32 values of a stored tensor, in the smallest form that plain operators can unpack.

        Nothing here depends on an input, so a runtime that folds constants computes it once, at load.
        """
        match stored:
            case Dense(values) if values.dtype == np.float16:
                return self.add("Cast", self.constant(values, name), to=TensorProto.FLOAT)
            case Dense(values):
                return self.constant(values, name)
            case Codebook(codes, table):
                return self.codebook(name, codes, table)
            case Levels(_, scale):
                book = stored.as_codebook()
                levels = self.codebook(name, book.codes, book.table)
                return self.add("Mul", levels, self.constant(scale, f"{name}.scale"))
            case Sparse(keep, values):
                return self.spread(name, keep, self.constant(values, f"{name}.values"))
        raise TypeError(f"{name}: no ONNX form for {type(stored).__name__}")

    def codebook(self, name: str, codes: NDArray[Any], table: NDArray[np.float32]) -> str:
        """The table's value for every code; zeros are left out where a bit for every place is cheaper."""
        kept = codes != 0
        bits, bits_of_kept = code_bits(len(table)), code_bits(len(table) - 1)
        if kept.any() and codes.size + kept.sum() * bits_of_kept < codes.size * bits:
            packed = self.integers(f"{name}.codes", codes[kept].astype(np.int64) - 1, bits_of_kept)
            values = self.add("Gather", self.constant(table[1:], f"{name}.table"), packed)
            return self.spread(name, kept, values)
        packed = self.integers(f"{name}.codes", codes, bits)
        return self.reshape(self.add("Gather", self.constant(table, f"{name}.table"), packed), codes.shape)

    def spread(self, name: str, keep: NDArray[np.bool_], values: str) -> str:
        """`values` at the places where `keep` is True and zero elsewhere; the places cost one bit each."""
        places = self.integers(f"{name}.places", keep, 1)
        # The running count of kept places numbers the values from 1; number 0 is the zero put before them.
        count = self.add("CumSum", places, self.constant(np.array(0, np.int32)))
        with_zero = self.add("Concat", self.constant(np.zeros(1, np.float32)), values, axis=0)
        return self.reshape(self.add("Gather", with_zero, self.add("Mul", count, places)), keep.shape)

    def integers(self, name: str, codes: NDArray[Any], bits: int) -> str:
        """Unsigned integers of `bits` bits each, flat and as int32.

        They lie as planes of 8, 4, 2 and 1 bits (5 = 4 + 1), low bits first, so that a byte of a plane holds
        whole fields, low field first. A table with a row for every byte value turns bytes into fields, which
        needs no bit operators.
        """
        flat = codes.reshape(-1).astype(np.int64)
        padded = np.pad(flat, (0, -flat.size % 8))
        total, shift = "", 0
        for width in [8] * (bits // 8) + [width for width in (4, 2, 1) if bits & width]:
            fields = (padded >> shift & (1 << width) - 1).reshape(-1, 8 // width)
            plane = (fields << np.arange(0, 8, width)).sum(1).astype(np.uint8)
            rows = self.add("Cast", self.constant(fields_of_bytes(width)), to=TensorProto.INT32)
            if shift:
                rows = self.add("Mul", rows, self.constant(np.array(1 << shift, np.int32)))
            index = self.add("Cast", self.constant(plane, f"{name}.{shift}"), to=TensorProto.INT32)
            part = self.reshape(self.add("Gather", rows, index), (-1,))
            total = self.add("Add", total, part) if total else part
            shift += width
        if flat.size == padded.size:
            return total
        bounds = (self.int64(edge) for edge in (0, flat.size))
        return self.add("Slice", total, *bounds)

    def reshape(self, value: str, shape: tuple[int, ...], name: str = "") -> str:
        return self.add("Reshape", value, self.int64(*shape), name=name)


def code_bits(values: int) -> int:
    """Bits of a code that tells this many values apart, at least 1."""
    return max(1, (values - 1).bit_length())


def fields_of_bytes(width: int) -> NDArray[np.uint8]:
    """[256, 8 / width]: the fields of `width` bits that make up each byte, low field first."""
    return (np.arange(256)[:, None] >> np.arange(0, 8, width) & (1 << width) - 1).astype(np.uint8)
