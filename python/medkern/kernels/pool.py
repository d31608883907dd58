"""Pooling kernels."""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def _max_pool(
    x: Any,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    return_indices: bool,
    out: Any,
) -> Any:
    result = _C.max_pool(
        x,
        rank,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        "int64" if return_indices else None,
        out,
    )
    if return_indices:
        return like(x, result[0]), like(x, result[1])
    return like(x, result)


def max_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Any = None,
) -> Any:
    """Max pooling over W of (N, C, W); see `max_pool2d`."""
    return _max_pool(x, 1, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def max_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Any = None,
) -> Any:
    """Max pooling: y[n, c, i, j] = max over (p, q) of x[n, c, s i - pad + d p, s j - pad + d q].

    A NaN in a window wins; of equal values the first in row-major order; padding never wins.

    Args:
        x: (N, C, H, W), float32 or float64.
        kernel_size: size of the window, an int or (height, width).
        stride: step between windows; None means `kernel_size`.
        padding: an int, (height, width) or ((before, after), (before, after)); at most half the
            window.
        dilation: step between the elements of a window.
        ceil_mode: also use a last window that only partly covers x.
        return_indices: also give the flat offset h * W + w of each maximum, int64.
        out: array for the result.

    Returns:
        (N, C, floor((H + padding - dilation (kernel_size - 1) - 1) / stride) + 1, ...), in the
        memory format of x; with `return_indices` a pair (y, indices).

    Raises:
        ValueError: a shape, size or `out` doesn't fit.
        TypeError: x is not float32 or float64.

    Example:
        >>> x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
        >>> medkern.kernels.max_pool2d(x, 2)[0, 0]
        array([[ 6.,  8.],
               [14., 16.]], dtype=float32)
    """
    return _max_pool(x, 2, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def max_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
    *,
    out: Any = None,
) -> Any:
    """Max pooling over D, H, W of (N, C, D, H, W); see `max_pool2d`."""
    return _max_pool(x, 3, kernel_size, stride, padding, dilation, ceil_mode, return_indices, out)


def max_pool_backward(
    dy: Any,
    indices: Any,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    *,
    out: Any = None,
) -> Any:
    """The gradient of max pooling: dx = sum of dy over the windows that each element of x won.

    Args:
        dy: gradient of the result, shape of the result.
        indices: as `return_indices` gave them (int64), or one-byte window positions (uint8).
        input_shape: shape of x; its length says whether windows are 1-D, 2-D or 3-D.
        kernel_size: as in the forward pass; so are the following.
        stride: see there.
        padding: see there.
        dilation: see there.
        ceil_mode: see there.
        out: array for the result.

    Returns:
        dx, of shape `input_shape`.

    Raises:
        ValueError: a shape doesn't fit or an index is out of range.
    """
    rank = len(input_shape) - 2
    return like(
        dy,
        _C.max_pool_backward(
            dy, indices, input_shape, rank, kernel_size, stride, padding, dilation, ceil_mode, out
        ),
    )
