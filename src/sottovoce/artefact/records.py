"""The graph as JSON values and back, and what a header has to hold for others to rely on it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sottovoce.artefact.graph import GATES, OPS, Graph, Node
from sottovoce.errors import FormatError

RANGES: dict[str, tuple[float, float]] = {        # of attributes; those with whole limits are whole
    "n_fft": (1, 1 << 16), "hop": (1, 1 << 16), "hidden": (1, 1 << 16),
    "size": (1, 1 << 16), "dilation": (1, 1 << 16), "groups": (1, 1 << 16), "stride": (1, 1 << 16),
    "start": (0, 1 << 16), "stop": (0, 1 << 16), "channels": (-1, 1 << 16), "pad": (0, 1 << 16), "extra": (0, 1 << 16),
    "before": (0, 1 << 16), "after": (0, 1 << 16), "heads": (1, 1 << 16), "chunk": (1, 1 << 16),
    "bins": (1, 1024), "rate": (1, 1 << 20),
    "bits": (1, 16), "low": (-1e30, 1e30), "high": (-1e30, 1e30),
    "decay": (1e-30, 1.0), "floor": (1e-30, 1e30), "window_energy": (1e-30, 1e30), "eps": (1e-30, 1e30),
    "scale": (-1e30, 1e30), "shift": (-1e30, 1e30), "power": (0.01, 100.0),
}
LISTS = {"channels"}                     # attributes that are a list of such numbers, one or more
META: dict[str, type] = {                # what others rely on when they read it; each may be absent
    "name": str, "model": str, "config": dict, "task": str, "sample_rate": int, "parameters": int,
    "not_compressed": dict, "rows": list, "recipe": str, "removed": dict, "folded": list,
}

Attributes = Mapping[str, Any]
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


def graph_record(graph: Graph) -> dict[str, Any]:
    """The graph as JSON values."""
    nodes = [[node.op, node.name, list(node.inputs), node.tensors, node.attributes] for node in graph.nodes]
    return {"inputs": list(graph.inputs), "outputs": list(graph.outputs), "nodes": nodes}


def graph_of(record: Any, shapes: Shapes) -> Graph:
    """The graph that a record describes, over tensors of these names and shapes.

    Raises FormatError for an unknown operation, a missing part, a value used before it is there, or tensors
    that do not fit their operation.
    """
    check_keys("graph", record, {"inputs", "outputs", "nodes"})
    inputs, outputs, nodes = record["inputs"], record["outputs"], record["nodes"]
    lists = _texts(inputs) and _texts(outputs) and isinstance(nodes, list)
    expect(lists, "graph: expected lists of names and of nodes")
    graph = Graph(tuple(inputs), tuple(outputs), tuple(_node(fields) for fields in nodes))
    _check_references(graph, shapes)
    return graph


def check_meta(meta: Any) -> None:
    """Raise FormatError unless the known fields of meta are of their type."""
    expect(isinstance(meta, dict), "header: meta should be an object")
    for key in META.keys() & meta.keys():
        expect(type(meta[key]) is META[key], f"meta: {key} should be of type {META[key].__name__}")
    reasons, rows = meta.get("not_compressed", {}).values(), meta.get("rows", [])
    expect(all(isinstance(reason, str) for reason in reasons), "meta: not_compressed should hold texts")
    expect(all(isinstance(row, dict) for row in rows), "meta: rows should hold objects")
    changes = meta.get("removed", {}).values()
    expect(all(map(_is_change, changes)), "meta: removed should hold pairs of shapes")
    expect(_texts(meta.get("folded", [])), "meta: folded should hold texts")


def check_keys(where: str, record: Any, wanted: set[str]) -> None:
    """Raise FormatError unless the record is an object of exactly these keys."""
    came = sorted(record) if isinstance(record, dict) else type(record).__name__
    expect(came == sorted(wanted), f"{where}: expected {sorted(wanted)}, got {came}")


def expect(holds: bool, message: str) -> None:
    """Raise FormatError unless it holds."""
    if not holds:
        raise FormatError(message)


def _node(fields: Any) -> Node:
    kinds = [type(field) for field in fields] if isinstance(fields, list) else []
    expect(kinds == [str, str, list, dict, dict], "graph: a node is [op, name, inputs, tensors, attributes]")
    op, name, inputs, tensors, attributes = fields
    expect(_texts(inputs) and _texts(list(tensors.values())), f"graph: {name}: names should be texts")
    expect(op in OPS, f"graph: {name}: unknown operation {op!r}: of a later sottovoce?")
    kind = OPS[op]
    wanted = kind.inputs or max(1, len(inputs))
    expect(len(inputs) == wanted, f"graph: {name}: {op} takes {wanted} inputs, got {len(inputs)}")
    for what, named, known in (("tensors", tensors, kind.tensors), ("attributes", attributes, kind.attributes)):
        check_keys(f"graph: {name}: {what} of {op}", named, {*known} - ({*kind.optional} - named.keys()))
    for key, value in attributes.items():
        expect(_fits_range(key, value), f"graph: {name}: {key} cannot be {str(value)[:40]!r}")
    return Node(op, name, tuple(inputs), tensors, attributes)


def _fits_range(key: str, value: Any) -> bool:
    if key not in RANGES:
        return isinstance(value, str)
    low, high = RANGES[key]
    values = value if key in LISTS else [value]
    return isinstance(values, list) and bool(values) and all(
        type(each) in {int, type(low)} and low <= each <= high for each in values
    )


def _check_references(graph: Graph, shapes: Shapes) -> None:
    known = set(graph.inputs)
    expect(len(known) == len(graph.inputs), "graph: two inputs of one name")
    for node in graph.nodes:
        for name in node.inputs:
            expect(name in known, f"graph: {node.name}: its input {name!r} does not come before it")
        for name in node.tensors.values():
            expect(name in shapes, f"graph: {node.name}: its tensor {name!r} is not in the file")
        its = {role: shapes[node.tensors[role]] for role in OPS[node.op].tensors if role in node.tensors}
        expect(_fit(node, its), f"graph: {node.name}: {node.attributes} and shapes {its} do not make one {node.op}")
        expect(node.name not in known, f"graph: {node.name}: a value of that name is already there")
        known.add(node.name)
    for name in graph.outputs:
        expect(name in known, f"graph: the output {name!r} is no value of it")


def _fit(node: Node, shapes: Shapes) -> bool:
    """Whether a node's attributes and the shapes of its tensors are those of the table in graph.py."""
    rule = _RULES.get(node.op)
    return rule is None or rule(node.attributes, *shapes.values())


# ---- what must hold of attributes and shapes: (attributes, a shape for each of the operation's tensors) ----


def _fit_slice(of: Attributes) -> bool:
    return bool(of["start"] < of["stop"])


def _fit_quantize(of: Attributes) -> bool:
    return bool(of["low"] <= of["high"])


def _fit_fbank(of: Attributes) -> bool:
    return bool(0 <= of["low"] < of["high"] <= of["rate"] / 2)


def _fit_attention(of: Attributes, position: Shape, *biases: Shape) -> bool:
    limits = "chunk" not in of or ("before" in of and "after" not in of)
    return (limits and len(position) == 2 and position[1] % 2 == 0 and {*biases} == {position[:1]}
            and position[0] % of["heads"] == 0)


def _fit_vectors(of: Attributes, *shapes: Shape) -> bool:
    return len(shapes[0]) == 1 and len({*shapes}) == 1


def _fit_linear(of: Attributes, weight: Shape, bias: Shape | None = None) -> bool:
    return len(weight) == 2 and bias in (None, weight[:1])


def _fit_conv1d(of: Attributes, weight: Shape, bias: Shape) -> bool:
    return (len(weight) == 3 and all(weight) and bias == weight[:1] and weight[0] % of["groups"] == 0
            and of.get("after", 0) <= (weight[2] - 1) * of["dilation"])


def _fit_conv2d(of: Attributes, weight: Shape, bias: Shape) -> bool:
    # More padding than the kernel reaches would add nothing but its bias.
    return len(weight) == 4 and all(weight) and bias == weight[:1] and of["pad"] < weight[3]


def _fit_conv_transpose2d(of: Attributes, weight: Shape, bias: Shape) -> bool:
    return (len(weight) == 4 and all(weight) and bias == weight[1:2]
            and of["pad"] < weight[3] and of["extra"] < of["stride"])


def _fit_recurrent(gates: int, of: Attributes, weight_ih: Shape, weight_hh: Shape, bias_ih: Shape, bias_hh: Shape,
                   ) -> bool:
    rows, hidden = gates * of["hidden"], of["hidden"]
    return (len(weight_ih) == 2 and weight_ih[0] == rows and weight_hh == (rows, hidden)
            and bias_ih == bias_hh == (rows,))


_RULES: dict[str, Callable[..., bool]] = {
    "fbank": _fit_fbank,
    "attention": _fit_attention,
    "slice": _fit_slice,
    "quantize": _fit_quantize,
    "scale_shift": _fit_vectors,
    "layer_norm": _fit_vectors,
    "global_norm": _fit_vectors,
    "prelu": _fit_vectors,
    "linear": _fit_linear,
    "conv1d": _fit_conv1d,
    "conv2d": _fit_conv2d,
    "conv_transpose2d": _fit_conv_transpose2d,
    **{op: partial(_fit_recurrent, gates) for op, gates in GATES.items()},
}


def _is_change(pair: Any) -> bool:
    """Whether it is [old shape, new shape], the new one null for a tensor that is gone."""
    if not isinstance(pair, list) or len(pair) != 2:
        return False
    old, new = pair
    shapes = [old] if new is None else [old, new]
    return all(isinstance(shape, list) and all(type(size) is int for size in shape) for shape in shapes)


def _texts(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) for name in names)
