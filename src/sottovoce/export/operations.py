"""What each operation of the graph is in ONNX: (scope, node) -> ONNX name of the node's value."""

from collections.abc import Callable

from onnx import helper

from sottovoce.artefact.graph import Node
from sottovoce.export.attention import attention, attention_of_chunk
from sottovoce.export.convolution import END, conv1d, conv1d_of_all, conv2d, conv2d_of_all, conv_transpose2d
from sottovoce.export.frame import Chunk, Frame
from sottovoce.export.scope import Scope, as_is, iofc, transposed, zrh
from sottovoce.export.utterances import Utterances


def elementwise(op: str) -> Callable[[Scope, Node], str]:
    return lambda scope, node: scope.add(op, node)


def magnitude(scope: Scope, node: Node) -> str:
    return scope.builder.add("Sqrt", power_of_bins(scope, node, least=1e-12), name=f"/{node.name}")


def power_law(scope: Scope, node: Node) -> str:
    power = scope.builder.add("Unsqueeze", power_of_bins(scope, node, least=1e-12), scope.axes(3))
    gain = scope.builder.add("Pow", power, scope.scalar((node.attributes["power"] - 1) / 2))
    return scope.add("Mul", node, gain)


def running_rms(frame: Frame, node: Node) -> str:
    add, scalar, of = frame.builder.add, frame.scalar, node.attributes
    mean = add("ReduceMean", power_of_bins(frame, node), axes=[2])
    now = add("Div", mean, scalar(of["window_energy"]))
    power = add("Add", add("Mul", frame.before(node, "power"), scalar(of["decay"])), now)
    weight = add("Add", add("Mul", frame.before(node, "weight"), scalar(of["decay"])), scalar(1.0))
    frame.keep(node, "power", power)
    frame.keep(node, "weight", weight)
    return add("Max", add("Sqrt", add("Div", power, weight)), scalar(of["floor"]), name=f"/{node.name}")


def power_of_bins(scope: Scope, node: Node, least: float = 0.0) -> str:
    """Squared magnitude [1, 1, bins] of a spectrum [1, 1, bins, 2], plus `least`."""
    (spectrum,) = scope.inputs(node)
    squares = scope.builder.add("Mul", spectrum, spectrum)
    power = scope.builder.add("ReduceSum", squares, scope.axes(3), keepdims=0)
    return scope.builder.add("Add", power, scope.scalar(least)) if least else power


def complex_mul(scope: Scope, node: Node) -> str:
    add = scope.builder.add
    (a, b), (c, d) = (
        scope.builder.split(value, (1, 1), [f"/{node.name}/{side}{part}" for part in ("re", "im")])
        for side, value in zip("ab", scope.inputs(node), strict=True)
    )
    real = add("Sub", add("Mul", a, c), add("Mul", b, d))
    imaginary = add("Add", add("Mul", a, d), add("Mul", b, c))
    return add("Concat", real, imaginary, name=f"/{node.name}", axis=-1)


def affine(scope: Scope, node: Node) -> str:
    scaled = scope.builder.add("Mul", *scope.inputs(node), scope.scalar(node.attributes["scale"]))
    return scope.builder.add("Add", scaled, scope.scalar(node.attributes["shift"]), name=f"/{node.name}")


def scale_shift(scope: Scope, node: Node) -> str:
    scaled = scope.builder.add("Mul", *scope.inputs(node), scope.tensor(node, "scale", as_is))
    return scope.builder.add("Add", scaled, scope.tensor(node, "shift", as_is), name=f"/{node.name}")


def layer_norm(scope: Scope, node: Node) -> str:
    # Opset 13 has no operator for it; onnxruntime knows it in this form, with a power, and makes one of it.
    add, (x,) = scope.builder.add, scope.inputs(node)
    centred = add("Sub", x, add("ReduceMean", x, axes=[-1]))
    variance = add("ReduceMean", add("Pow", centred, scope.scalar(2.0)), axes=[-1])
    deviation = add("Sqrt", add("Add", variance, scope.scalar(node.attributes["eps"])))
    scaled = add("Mul", add("Div", centred, deviation), scope.tensor(node, "weight", as_is))
    return add("Add", scaled, scope.tensor(node, "bias", as_is), name=f"/{node.name}")


def log_softmax(scope: Scope, node: Node) -> str:
    return scope.builder.add("LogSoftmax", *scope.inputs(node), name=f"/{node.name}", axis=-1)


def quantize(scope: Scope, node: Node) -> str:
    add, scalar = scope.builder.add, scope.scalar
    low, high = (scalar(node.attributes[name]) for name in ("low", "high"))
    steps = add("Div", add("Sub", high, low), scalar(2 ** node.attributes["bits"] - 1))
    step = add("Max", steps, scalar(2.0**-126))
    places = add("Round", add("Div", add("Sub", add("Clip", *scope.inputs(node), low, high), low), step))
    return add("Add", add("Mul", places, step), low, name=f"/{node.name}")


def log1p(scope: Scope, node: Node) -> str:
    # ONNX has no log1p; next to 0 this is off by at most a rounding error of 1, 6e-8.
    more = scope.builder.add("Add", *scope.inputs(node), scope.scalar(1.0))
    return scope.builder.add("Log", more, name=f"/{node.name}")


def prelu(scope: Scope, node: Node) -> str:
    return scope.add("PRelu", node, scope.tensor(node, "weight", as_is))


def concat(scope: Scope, node: Node) -> str:
    return scope.add("Concat", node, axis=-1)


def stack(scope: Scope, node: Node) -> str:
    parts = [scope.builder.add("Unsqueeze", value, scope.axes(-1)) for value in scope.inputs(node)]
    return scope.builder.add("Concat", *parts, name=f"/{node.name}", axis=-1)


def slice_(scope: Scope, node: Node) -> str:
    return scope.add("Slice", node, *(scope.axes(node.attributes[edge]) for edge in ("start", "stop")), scope.axes(-1))


def take(scope: Scope, node: Node) -> str:
    (x,), channels = scope.inputs(node), node.attributes["channels"]
    if min(channels) < 0:                # -1 is the last place for ONNX: a zero
        axes = 2 + len(scope.features[node.name])
        x = scope.builder.add("Pad", x, scope.axes(*[0] * (2 * axes - 1), 1))
    return scope.builder.add("Gather", x, scope.axes(*channels), name=f"/{node.name}", axis=-1)


def transpose(scope: Scope, node: Node) -> str:
    axes = 2 + len(scope.features[node.name])
    return scope.add("Transpose", node, perm=[*range(axes - 2), axes - 1, axes - 2])


def reshape(scope: Scope, node: Node) -> str:
    return scope.add("Reshape", node, scope.axes(0, 0, *scope.features[node.name]))      # 0: as it was


def unsqueeze(scope: Scope, node: Node) -> str:
    return scope.add("Unsqueeze", node, scope.axes(-1))


def linear(scope: Scope, node: Node) -> str:
    weight = scope.tensor(node, "weight", transposed)
    if "bias" not in node.tensors:
        return scope.add("MatMul", node, weight)
    product = scope.builder.add("MatMul", *scope.inputs(node), weight)
    return scope.builder.add("Add", product, scope.tensor(node, "bias", as_is), name=f"/{node.name}")


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


def gru(frame: Frame, node: Node) -> str:
    weights = [frame.tensor(node, role, zrh) for role in ("weight_ih", "weight_hh")]
    biases = [frame.tensor(node, role, zrh) for role in ("bias_ih", "bias_hh")]
    both = frame.builder.add("Concat", *biases, axis=1)
    value = f"/{node.name}"
    frame.builder.nodes.append(
        helper.make_node(
            "GRU",
            [*frame.inputs(node), *weights, both, "", frame.before(node, "hidden")],
            ["", value],
            hidden_size=node.attributes["hidden"],
            linear_before_reset=1,       # the reset acts after the recurrent product, as in torch
        )
    )
    frame.keep(node, "hidden", value)
    return value


def fold(utterances: Utterances, node: Node) -> str:
    count = utterances.frames[node.name].count
    return folded(utterances, node, utterances.builder.add("Mul", count, utterances.axes(node.attributes["size"])))


def fold_of_chunk(chunk: Chunk, node: Node) -> str:
    return folded(chunk, node, chunk.axes(END))


def folded(scope: Scope, node: Node, end: str) -> str:
    """Frames before `end`, so many side by side as one."""
    size, axes = node.attributes["size"], scope.axes
    parts = [scope.builder.add("Slice", *scope.inputs(node), axes(first), end, axes(1), axes(size))
             for first in range(size)]
    return scope.builder.add("Concat", *parts, name=f"/{node.name}", axis=-1)


IN_ANY_TIME: dict[str, Callable[[Scope, Node], str]] = {         # what sees every frame alone
    "magnitude": magnitude,
    "power_law": power_law,
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
}
OF_FRAMES: dict[str, Callable[[Frame, Node], str]] = {           # for one frame, with the state
    **IN_ANY_TIME,
    "running_rms": running_rms,
    "conv1d": conv1d,
    "conv2d": conv2d,
    "conv_transpose2d": conv_transpose2d,
    "lstm": lstm,
    "gru": gru,
}
OF_UTTERANCES: dict[str, Callable[[Utterances, Node], str]] = {  # for all frames at once
    **IN_ANY_TIME,
    "fold": fold,
    "conv1d": conv1d_of_all,
    "conv2d": conv2d_of_all,
    "attention": attention,
}
OF_CHUNKS: dict[str, Callable[[Chunk, Node], str]] = {           # for so many frames, with the state
    **IN_ANY_TIME,
    "fold": fold_of_chunk,
    "conv1d": conv1d,
    "conv2d": conv2d,
    "attention": attention_of_chunk,
}
