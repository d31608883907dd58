"""The kernels: array in, array out, no gradients.

Every function takes NumPy arrays or any object that speaks DLPack and gives back the same kind. Shapes
are (N, C, W), (N, C, H, W) or (N, C, D, H, W); memory may be contiguous or channels-last, and the result has
the format of x; anything else is copied once. `out=` takes an array for the result. The same inputs give the
same bits at any number of threads.
"""

from medkern.kernels.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_backward_input,
    conv_backward_weight,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from medkern.kernels.gemm import (
    bias_backward,
    gemm,
    linear,
    linear_backward_input,
    linear_backward_weight,
)
from medkern.kernels.pool import (
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_pool_backward,
)

__all__ = [
    "bias_backward",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_backward_input",
    "conv_backward_weight",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "gemm",
    "linear",
    "linear_backward_input",
    "linear_backward_weight",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool_backward",
]
