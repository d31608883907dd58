"""The operations on `Tensor`, differentiable. Names and arguments are those of `torch.nn.functional`."""

from medkern.functional.conv import (
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from medkern.functional.gemm import linear, matmul
from medkern.functional.pool import max_pool1d, max_pool2d, max_pool3d

__all__ = [
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "linear",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]
