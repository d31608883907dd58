"""Pooling on tensors."""

from __future__ import annotations

import math
from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.tensor import Tensor

_MOST_LOCAL_POSITIONS = 256  # what a one-byte index can number


class MaxPool(Function):
    """Max pooling over any number of spatial axes, with the indices of the maxima."""

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, index_dtype: str, **window: Any) -> tuple[_C.Array, _C.Array]:
        """Keeps the indices, not x."""
        y, indices = _C.max_pool(x.array, x.ndim - 2, index_dtype=index_dtype, out=None, **window)
        ctx.indices, ctx.input_shape, ctx.window = indices, x.shape, window
        return y, indices

    @staticmethod
    def backward(ctx: Node, dy: Tensor, _: None) -> Tensor:
        """The gradient goes to the element that won its window."""
        return Tensor(kernels.max_pool_backward(dy.array, ctx.indices, ctx.input_shape, **ctx.window))


def _max_pool(
    x: Tensor,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    if x.ndim != rank + 2:
        raise ValueError(f"max_pool{rank}d: x must have {rank + 2} dimensions, got {x.ndim}: {x.shape}")
    sizes = [kernel_size] * rank if isinstance(kernel_size, int) else kernel_size
    local = not return_indices and math.prod(sizes) <= _MOST_LOCAL_POSITIONS
    y, indices = MaxPool.apply(
        x,
        index_dtype="uint8" if local else "int64",
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        dilation=dilation,
        ceil_mode=ceil_mode,
    )
    return (y, indices) if return_indices else y


def max_pool1d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Differentiable `medkern.kernels.max_pool1d`."""
    return _max_pool(x, 1, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Differentiable `medkern.kernels.max_pool2d`; the same arguments, shapes and errors.

    Example:
        >>> x = medkern.tensor(np.arange(16.0).reshape(1, 1, 4, 4), requires_grad=True)
        >>> y = medkern.functional.max_pool2d(x, 2)
        >>> y.backward(medkern.tensor(np.ones((1, 1, 2, 2))))
    """
    return _max_pool(x, 2, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Differentiable `medkern.kernels.max_pool3d`."""
    return _max_pool(x, 3, kernel_size, stride, padding, dilation, ceil_mode, return_indices)
