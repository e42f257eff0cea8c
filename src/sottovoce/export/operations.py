"""What each operation of the graph is in ONNX, for one frame: (frame, node) -> ONNX name of the node's value."""

from collections.abc import Callable

from onnx import helper

from sottovoce.artefact.graph import Node
from sottovoce.export.convolution import conv1d, conv2d, conv_transpose2d
from sottovoce.export.frame import Frame, as_is, iofc, transposed

Operation = Callable[[Frame, Node], str]


def elementwise(op: str) -> Operation:
    return lambda frame, node: frame.add(op, node)


def magnitude(frame: Frame, node: Node) -> str:
    return frame.builder.add("Sqrt", power_of_bins(frame, node, least=1e-12), name=f"/{node.name}")


def power_law(frame: Frame, node: Node) -> str:
    power = frame.builder.add("Unsqueeze", power_of_bins(frame, node, least=1e-12), frame.axes(3))
    gain = frame.builder.add("Pow", power, frame.scalar((node.attributes["power"] - 1) / 2))
    return frame.add("Mul", node, gain)


def running_rms(frame: Frame, node: Node) -> str:
    add, scalar, of = frame.builder.add, frame.scalar, node.attributes
    mean = add("ReduceMean", power_of_bins(frame, node), axes=[2])
    now = add("Div", mean, scalar(of["window_energy"]))
    power = add("Add", add("Mul", frame.before(node, "power"), scalar(of["decay"])), now)
    weight = add("Add", add("Mul", frame.before(node, "weight"), scalar(of["decay"])), scalar(1.0))
    frame.keep(node, "power", power)
    frame.keep(node, "weight", weight)
    return add("Max", add("Sqrt", add("Div", power, weight)), scalar(of["floor"]), name=f"/{node.name}")


def power_of_bins(frame: Frame, node: Node, least: float = 0.0) -> str:
    """Squared magnitude [1, 1, bins] of a spectrum [1, 1, bins, 2], plus `least`."""
    (spectrum,) = frame.inputs(node)
    squares = frame.builder.add("Mul", spectrum, spectrum)
    power = frame.builder.add("ReduceSum", squares, frame.axes(3), keepdims=0)
    return frame.builder.add("Add", power, frame.scalar(least)) if least else power


def complex_mul(frame: Frame, node: Node) -> str:
    add = frame.builder.add
    (a, b), (c, d) = (
        frame.builder.split(value, (1, 1), [f"/{node.name}/{side}{part}" for part in ("re", "im")])
        for side, value in zip("ab", frame.inputs(node), strict=True)
    )
    real = add("Sub", add("Mul", a, c), add("Mul", b, d))
    imaginary = add("Add", add("Mul", a, d), add("Mul", b, c))
    return add("Concat", real, imaginary, name=f"/{node.name}", axis=-1)


def affine(frame: Frame, node: Node) -> str:
    scaled = frame.builder.add("Mul", *frame.inputs(node), frame.scalar(node.attributes["scale"]))
    return frame.builder.add("Add", scaled, frame.scalar(node.attributes["shift"]), name=f"/{node.name}")


def scale_shift(frame: Frame, node: Node) -> str:
    scaled = frame.builder.add("Mul", *frame.inputs(node), frame.tensor(node, "scale", as_is))
    return frame.builder.add("Add", scaled, frame.tensor(node, "shift", as_is), name=f"/{node.name}")


def layer_norm(frame: Frame, node: Node) -> str:
    # Opset 13 has no operator for it.
    add, (x,) = frame.builder.add, frame.inputs(node)
    centred = add("Sub", x, add("ReduceMean", x, axes=[-1]))
    variance = add("ReduceMean", add("Mul", centred, centred), axes=[-1])
    deviation = add("Sqrt", add("Add", variance, frame.scalar(node.attributes["eps"])))
    scaled = add("Mul", add("Div", centred, deviation), frame.tensor(node, "weight", as_is))
    return add("Add", scaled, frame.tensor(node, "bias", as_is), name=f"/{node.name}")


def log_softmax(frame: Frame, node: Node) -> str:
    return frame.builder.add("LogSoftmax", *frame.inputs(node), name=f"/{node.name}", axis=-1)


def quantize(frame: Frame, node: Node) -> str:
    add, scalar = frame.builder.add, frame.scalar
    low, high = (scalar(node.attributes[name]) for name in ("low", "high"))
    steps = add("Div", add("Sub", high, low), scalar(2 ** node.attributes["bits"] - 1))
    step = add("Max", steps, scalar(2.0**-126))
    places = add("Round", add("Div", add("Sub", add("Clip", *frame.inputs(node), low, high), low), step))
    return add("Add", add("Mul", places, step), low, name=f"/{node.name}")


def log1p(frame: Frame, node: Node) -> str:
    # ONNX has no log1p; next to 0 this is off by at most a rounding error of 1, 6e-8.
    more = frame.builder.add("Add", *frame.inputs(node), frame.scalar(1.0))
    return frame.builder.add("Log", more, name=f"/{node.name}")


def prelu(frame: Frame, node: Node) -> str:
    return frame.add("PRelu", node, frame.tensor(node, "weight", as_is))


def concat(frame: Frame, node: Node) -> str:
    return frame.add("Concat", node, axis=-1)


def stack(frame: Frame, node: Node) -> str:
    parts = [frame.builder.add("Unsqueeze", value, frame.axes(-1)) for value in frame.inputs(node)]
    return frame.builder.add("Concat", *parts, name=f"/{node.name}", axis=-1)


def slice_(frame: Frame, node: Node) -> str:
    return frame.add("Slice", node, *(frame.axes(node.attributes[edge]) for edge in ("start", "stop")), frame.axes(-1))


def take(frame: Frame, node: Node) -> str:
    (x,), channels = frame.inputs(node), node.attributes["channels"]
    if min(channels) < 0:                # -1 is the last place for ONNX: a zero
        axes = len(frame.shapes[node.name])
        x = frame.builder.add("Pad", x, frame.axes(*[0] * (2 * axes - 1), 1))
    return frame.builder.add("Gather", x, frame.axes(*channels), name=f"/{node.name}", axis=-1)


def transpose(frame: Frame, node: Node) -> str:
    axes = len(frame.shapes[node.name])
    return frame.add("Transpose", node, perm=[*range(axes - 2), axes - 1, axes - 2])


def reshape(frame: Frame, node: Node) -> str:
    return frame.add("Reshape", node, frame.axes(*frame.shapes[node.name]))


def unsqueeze(frame: Frame, node: Node) -> str:
    return frame.add("Unsqueeze", node, frame.axes(-1))


def linear(frame: Frame, node: Node) -> str:
    weight = frame.tensor(node, "weight", transposed)
    if "bias" not in node.tensors:
        return frame.add("MatMul", node, weight)
    product = frame.builder.add("MatMul", *frame.inputs(node), weight)
    return frame.builder.add("Add", product, frame.tensor(node, "bias", as_is), name=f"/{node.name}")


def lstm(frame: Frame, node: Node) -> str:
    # Measured: ONNX's own operator is never slower than the layer written out in MatMul, Sigmoid and Tanh.
    weights = [frame.tensor(node, role, iofc) for role in ("weight_ih", "weight_hh")]
    biases = [frame.tensor(node, role, iofc) for role in ("bias_ih", "bias_hh")]
    both = frame.builder.add("Concat", *biases, axis=1)
    states = [frame.before(node, "hidden"), frame.before(node, "cell")]
    # Of one frame the last hidden value [1, 1, H] is the only one, so output 0, all of them, is left out.
    value, cell = f"/{node.name}", f"/{node.name}/cell_after"
    frame.builder.nodes.append(
        helper.make_node(
            "LSTM",
            [*frame.inputs(node), *weights, both, "", *states],
            ["", value, cell],
            hidden_size=node.attributes["hidden"],
        )
    )
    frame.keep(node, "hidden", value)
    frame.keep(node, "cell", cell)
    return value


OPERATIONS: dict[str, Operation] = {
    "magnitude": magnitude,
    "power_law": power_law,
    "running_rms": running_rms,
    "complex_mul": complex_mul,
    "add": elementwise("Add"),
    "sub": elementwise("Sub"),
    "mul": elementwise("Mul"),
    "div": elementwise("Div"),
    "affine": affine,
    "scale_shift": scale_shift,
    "layer_norm": layer_norm,
    "quantize": quantize,
    "log_softmax": log_softmax,
    "log1p": log1p,
    "relu": elementwise("Relu"),
    "elu": elementwise("Elu"),
    "sigmoid": elementwise("Sigmoid"),
    "tanh": elementwise("Tanh"),
    "prelu": prelu,
    "concat": concat,
    "stack": stack,
    "slice": slice_,
    "take": take,
    "transpose": transpose,
    "flatten": reshape,
    "unflatten": reshape,
    "unsqueeze": unsqueeze,
    "linear": linear,
    "conv1d": conv1d,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "lstm": lstm,
}
