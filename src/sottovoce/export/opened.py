"""ONNX files as onnxruntime runs them, on one thread."""

import onnxruntime


def opened(model: bytes | str) -> onnxruntime.InferenceSession:
    """A session of an exported model, or of the file at a path."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
