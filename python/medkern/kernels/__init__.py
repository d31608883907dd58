"""The kernels: array in, array out, no gradients.

Every function takes NumPy arrays or any object that speaks DLPack and gives back the same kind. Shapes
are (N, C, W), (N, C, H, W) or (N, C, D, H, W); memory may be contiguous or channels-last, and the result has
the format of x; anything else is copied once. `out=` takes an array for the result. The same inputs give the
same bits at any number of threads.
"""

from medkern.kernels.pool import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_avg_pool_backward,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    adaptive_max_pool_backward,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    avg_pool_backward,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_pool_backward,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    max_unpool_backward,
)
from medkern.kernels.random import dropout, dropout_backward, normal, uniform
from medkern.kernels.resize import interpolate, interpolate_backward

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_avg_pool_backward",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "adaptive_max_pool_backward",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "avg_pool_backward",
    "dropout",
    "dropout_backward",
    "interpolate",
    "interpolate_backward",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool_backward",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "max_unpool_backward",
    "normal",
    "uniform",
]
