"""The operations on `Tensor`, differentiable. Names and arguments are those of `torch.nn.functional`."""

from medkern.functional.gemm import linear, matmul
from medkern.functional.norm import batch_norm, group_norm, instance_norm, layer_norm
from medkern.functional.pool import max_pool1d, max_pool2d, max_pool3d

__all__ = [
    "batch_norm",
    "group_norm",
    "instance_norm",
    "layer_norm",
    "linear",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]
