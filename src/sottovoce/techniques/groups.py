"""The groups in which weights are regularized and pruned together; Tan and Wang 2021, section III."""

from torch import Tensor


def kernel_dims(weight: Tensor) -> tuple[int, ...]:
    """The axes along which a weight's groups lie: a matrix's columns, a convolution's kernels.

    An LSTM's input and recurrent matrices are matrices of their own. A group of a matrix [rows, columns] is one
    column; of a kernel tensor [a, b, ...], all elements of one pair (a, b).
    """
    return (0,) if weight.dim() == 2 else tuple(range(2, weight.dim()))
