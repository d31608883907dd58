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

    takes_bfloat16 = True

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


class AvgPool(Function):
    """Average pooling over any number of spatial axes."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, **window: Any) -> _C.Array:
        """Keeps the shape of x only."""
        ctx.input_shape, ctx.window = x.shape, window
        return _C.avg_pool(x.array, x.ndim - 2, out=None, **window)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """Spreads each gradient over its window."""
        return AvgPoolBackward.apply(dy, input_shape=ctx.input_shape, **ctx.window)


class AvgPoolBackward(Function):
    """The gradient of `AvgPool`, itself linear."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, dy: Tensor, *, input_shape: tuple[int, ...], **window: Any) -> _C.Array:
        """Keeps nothing."""
        ctx.window = window
        return kernels.avg_pool_backward(dy.array, input_shape, **window)

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> Tensor:
        """The average again."""
        return AvgPool.apply(ddx, **ctx.window)


class AdaptiveAvgPool(Function):
    """Average pooling to a given size."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, output_size: Any) -> _C.Array:
        """Keeps the shape of x only."""
        ctx.input_shape = x.shape
        return _C.adaptive_avg_pool(x.array, x.ndim - 2, output_size, out=None)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """Spreads each gradient over its window."""
        return AdaptiveAvgPoolBackward.apply(dy, input_shape=ctx.input_shape)


class AdaptiveAvgPoolBackward(Function):
    """The gradient of `AdaptiveAvgPool`, itself linear."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, dy: Tensor, *, input_shape: tuple[int, ...]) -> _C.Array:
        """Keeps the shape of dy only."""
        ctx.output_size = dy.shape[2:]
        return kernels.adaptive_avg_pool_backward(dy.array, input_shape)

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> Tensor:
        """The average again."""
        return AdaptiveAvgPool.apply(ddx, output_size=ctx.output_size)


class AdaptiveMaxPool(Function):
    """Max pooling to a given size, with the indices of the maxima."""

    takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, output_size: Any) -> tuple[_C.Array, _C.Array]:
        """Keeps the indices, not x."""
        y, indices = _C.adaptive_max_pool(x.array, x.ndim - 2, output_size, return_indices=True, out=None)
        ctx.indices, ctx.input_shape = indices, x.shape
        return y, indices

    @staticmethod
    def backward(ctx: Node, dy: Tensor, _: None) -> Tensor:
        """The gradient goes to the element that won its window."""
        return Tensor(kernels.adaptive_max_pool_backward(dy.array, ctx.indices, ctx.input_shape))


class MaxUnpool(Function):
    """Every value back to where max pooling found it."""

    takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, indices: Tensor, **window: Any) -> _C.Array:
        """Keeps the indices."""
        ctx.save(None, indices)
        return _C.max_unpool(x.array, indices.array, x.ndim - 2, out=None, **window)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor, None]:
        """Picks the gradients up where the values were put."""
        _, indices = ctx.saved
        return Tensor(kernels.max_unpool_backward(dy.array, indices.array)), None


def _expect_rank(name: str, x: Tensor, rank: int) -> None:
    """The classes above take the rank from x; what the caller meant is known here only."""
    if x.ndim != rank + 2:
        raise ValueError(f"{name}{rank}d: x must have {rank + 2} dimensions, got {x.ndim}: {x.shape}")


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
    _expect_rank("max_pool", x, rank)
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


def _avg_pool(
    x: Tensor,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Tensor:
    _expect_rank("avg_pool", x, rank)
    return AvgPool.apply(
        x,
        kernel_size=kernel_size,
        stride=stride,
        padding=padding,
        ceil_mode=ceil_mode,
        count_include_pad=count_include_pad,
    )


def avg_pool1d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Differentiable `medkern.kernels.avg_pool1d`."""
    return _avg_pool(x, 1, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Differentiable `medkern.kernels.avg_pool2d`; the same arguments, shapes and errors.

    Example:
        >>> x = medkern.tensor(np.arange(16.0).reshape(1, 1, 4, 4), requires_grad=True)
        >>> medkern.functional.avg_pool2d(x, 2).numpy()[0, 0, 0]
        array([2.5, 4.5])
    """
    return _avg_pool(x, 2, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool3d(
    x: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Differentiable `medkern.kernels.avg_pool3d`."""
    return _avg_pool(x, 3, kernel_size, stride, padding, ceil_mode, count_include_pad)


def adaptive_avg_pool1d(x: Tensor, output_size: Any) -> Tensor:
    """Differentiable `medkern.kernels.adaptive_avg_pool1d`."""
    _expect_rank("adaptive_avg_pool", x, 1)
    return AdaptiveAvgPool.apply(x, output_size=output_size)


def adaptive_avg_pool2d(x: Tensor, output_size: Any) -> Tensor:
    """Differentiable `medkern.kernels.adaptive_avg_pool2d`."""
    _expect_rank("adaptive_avg_pool", x, 2)
    return AdaptiveAvgPool.apply(x, output_size=output_size)


def adaptive_avg_pool3d(x: Tensor, output_size: Any) -> Tensor:
    """Differentiable `medkern.kernels.adaptive_avg_pool3d`."""
    _expect_rank("adaptive_avg_pool", x, 3)
    return AdaptiveAvgPool.apply(x, output_size=output_size)


def _adaptive_max_pool(x: Tensor, rank: int, output_size: Any, return_indices: bool) -> Any:
    _expect_rank("adaptive_max_pool", x, rank)
    y, indices = AdaptiveMaxPool.apply(x, output_size=output_size)
    return (y, indices) if return_indices else y


def adaptive_max_pool1d(x: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Differentiable `medkern.kernels.adaptive_max_pool1d`."""
    return _adaptive_max_pool(x, 1, output_size, return_indices)


def adaptive_max_pool2d(x: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Differentiable `medkern.kernels.adaptive_max_pool2d`."""
    return _adaptive_max_pool(x, 2, output_size, return_indices)


def adaptive_max_pool3d(x: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """Differentiable `medkern.kernels.adaptive_max_pool3d`."""
    return _adaptive_max_pool(x, 3, output_size, return_indices)


def _max_unpool(
    x: Tensor,
    indices: Tensor,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    output_size: Any,
) -> Tensor:
    _expect_rank("max_unpool", x, rank)
    return MaxUnpool.apply(
        x, indices, kernel_size=kernel_size, stride=stride, padding=padding, output_size=output_size
    )


def max_unpool1d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Differentiable `medkern.kernels.max_unpool1d`."""
    return _max_unpool(x, indices, 1, kernel_size, stride, padding, output_size)


def max_unpool2d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Differentiable `medkern.kernels.max_unpool2d`."""
    return _max_unpool(x, indices, 2, kernel_size, stride, padding, output_size)


def max_unpool3d(
    x: Tensor,
    indices: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
) -> Tensor:
    """Differentiable `medkern.kernels.max_unpool3d`."""
    return _max_unpool(x, indices, 3, kernel_size, stride, padding, output_size)
