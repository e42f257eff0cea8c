"""Convolutions in ONNX: channels go first and back; for one frame, what came before lies in the state."""

import numpy as np

from sottovoce.artefact.graph import Node
from sottovoce.export.frame import Frame
from sottovoce.export.scope import Scope, as_is
from sottovoce.export.utterances import Utterances

END = np.iinfo(np.int64).max             # of an axis, however long it is


def conv1d(frame: Frame, node: Node) -> str:
    return along_time(frame, node, after_past(frame, node, *frame.inputs(node)))


def conv1d_of_all(utterances: Utterances, node: Node) -> str:
    (x,), of = utterances.inputs(node), node.attributes
    after = of.get("after", 0)
    past = (utterances.tensors[node.tensors["weight"]].shape[2] - 1) * of["dilation"] - after
    if after:
        # What is behind the end of an utterance is zero, not what its padding has become.
        x = utterances.builder.add("Where", utterances.frames[node.name].within_3d, x, utterances.scalar(0.0))
    return along_time(utterances, node, x, past, after)


def conv2d(frame: Frame, node: Node) -> str:
    return over_image(frame, node, after_past(frame, node, *frame.inputs(node)))


def conv2d_of_all(utterances: Utterances, node: Node) -> str:
    (x,) = utterances.inputs(node)
    return over_image(utterances, node, x, utterances.tensors[node.tensors["weight"]].shape[2] - 1)


def along_time(scope: Scope, node: Node, x: str, past: int = 0, after: int = 0) -> str:
    """The node's convolution over x [B, T, I] with so many frames of zeros before and after it."""
    add, of = scope.builder.add, node.attributes
    x = add("Transpose", x, perm=[0, 2, 1])                                         # [B, I, T]
    weights = [scope.tensor(node, role, as_is) for role in ("weight", "bias")]
    value = add("Conv", x, *weights, dilations=[of["dilation"]], group=of["groups"], pads=[past, after])
    return add("Transpose", value, name=f"/{node.name}", perm=[0, 2, 1])


def over_image(scope: Scope, node: Node, x: str, past: int = 0) -> str:
    """The node's convolution over x [B, T, F, I] with so many frames of zeros before it."""
    add, of = scope.builder.add, node.attributes
    x = add("Transpose", x, perm=[0, 3, 1, 2])                                      # [B, I, T, F]
    weights = [scope.tensor(node, role, as_is) for role in ("weight", "bias")]
    value = add("Conv", x, *weights, strides=[1, of["stride"]], pads=[past, of["pad"], 0, of["pad"]])
    return add("Transpose", value, name=f"/{node.name}", perm=[0, 2, 3, 1])


def conv_transpose2d(frame: Frame, node: Node) -> str:
    add, of = frame.builder.add, node.attributes
    x = add("Transpose", *frame.inputs(node), perm=[0, 3, 1, 2])                    # [1, I, 1, F]
    spread = add("ConvTranspose", x, frame.tensor(node, "weight", as_is), strides=[1, of["stride"]],
                 pads=[0, of["pad"], 0, of["pad"]], output_padding=[0, of["extra"]])
    value = add("Transpose", spread, perm=[0, 2, 3, 1])                             # [1, KT, F', O]
    if frame.keeps(node, "overlap"):
        value = overlapped(frame, node, value)
    return add("Add", value, frame.tensor(node, "bias", as_is), name=f"/{node.name}")


def after_past(frame: Frame, node: Node, x: str, part: str = "past") -> str:
    """x [B, T, ...] behind the frames before it that the node keeps; of both as many are kept, the last ones."""
    if not frame.keeps(node, part):
        return x
    both = frame.builder.add("Concat", frame.recall(node, part), x, axis=1)
    first = frame.axes(-frame.kept[node.name, part][1])
    frame.keep_flat(node, part, frame.builder.add("Slice", both, first, frame.axes(END), frame.axes(1)))
    return both


def overlapped(frame: Frame, node: Node, spread: str) -> str:
    """This frame's sum of what it and those before spread [1, KT, F', O]; the sums for later frames are kept."""
    later = frame.kept[node.name, "overlap"][1]
    # One frame of zeros behind the sums so far, so that all KT of them have a partner.
    so_far = frame.builder.add("Pad", frame.recall(node, "overlap"), frame.axes(0, 0, 0, 0, 0, 1, 0, 0))
    sums = frame.builder.add("Add", spread, so_far)
    names = (f"/{node.name}/now", f"/{node.name}/later")
    now, rest = frame.builder.split(sums, (1, later), names, axis=1)
    frame.keep_flat(node, "overlap", rest)
    return now
