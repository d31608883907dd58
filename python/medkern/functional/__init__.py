"""The operations on `Tensor`, differentiable. Names and arguments are those of `torch.nn.functional`."""

from medkern.functional.embedding import embedding
from medkern.functional.pool import max_pool1d, max_pool2d, max_pool3d

__all__ = [
    "embedding",
from medkern.functional.gemm import linear, matmul
from medkern.functional.pool import max_pool1d, max_pool2d, max_pool3d

__all__ = [
    "linear",
    "matmul",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]
