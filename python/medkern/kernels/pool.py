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
        x: (N, C, H, W), float32 or float64 (CUDA: bfloat16).
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


def avg_pool1d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    out: Any = None,
) -> Any:
    """Average pooling over W of (N, C, W); see `avg_pool2d`."""
    return like(x, _C.avg_pool(x, 1, kernel_size, stride, padding, ceil_mode, count_include_pad, out))


def avg_pool2d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    out: Any = None,
) -> Any:
    """Average pooling: y[n, c, i, j] = mean over (p, q) of x[n, c, s i - pad + p, s j - pad + q].

    Args:
        x: (N, C, H, W), float32 or float64 (CUDA: bfloat16).
        kernel_size: size of the window, an int or (height, width).
        stride: step between windows; None means `kernel_size`.
        padding: an int, (height, width) or ((before, after), (before, after)); at most half the
            window.
        ceil_mode: also use a last window that only partly covers x.
        count_include_pad: count the zeros of the padding in the mean; without it a window's sum is divided
            by the number of its positions inside x.
        out: array for the result.

    Returns:
        (N, C, floor((H + padding - kernel_size) / stride) + 1, ...), in the memory format of x.

    Raises:
        ValueError: a shape, size or `out` doesn't fit.
        TypeError: x is not float32 or float64.

    Example:
        >>> x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
        >>> medkern.kernels.avg_pool2d(x, 2)[0, 0]
        array([[ 3.5,  5.5],
               [11.5, 13.5]], dtype=float32)
    """
    return like(x, _C.avg_pool(x, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, out))


def avg_pool3d(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    out: Any = None,
) -> Any:
    """Average pooling over D, H, W of (N, C, D, H, W); see `avg_pool2d`."""
    return like(x, _C.avg_pool(x, 3, kernel_size, stride, padding, ceil_mode, count_include_pad, out))


def avg_pool_backward(
    dy: Any,
    input_shape: tuple[int, ...],
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    *,
    out: Any = None,
) -> Any:
    """The gradient of average pooling: each window spreads dy / divisor over its elements.

    Args:
        dy: gradient of the result, shape of the result.
        input_shape: shape of x; its length says whether windows are 1-D, 2-D or 3-D.
        kernel_size: as in the forward pass; so are the following.
        stride: see there.
        padding: see there.
        ceil_mode: see there.
        count_include_pad: see there.
        out: array for the result.

    Returns:
        dx, of shape `input_shape`.

    Raises:
        ValueError: a shape doesn't fit.
    """
    rank = len(input_shape) - 2
    result = _C.avg_pool_backward(
        dy, input_shape, rank, kernel_size, stride, padding, ceil_mode, count_include_pad, out
    )
    return like(dy, result)


def adaptive_avg_pool1d(x: Any, output_size: Any, *, out: Any = None) -> Any:
    """Average pooling of (N, C, W) to a given size; see `adaptive_avg_pool2d`."""
    return like(x, _C.adaptive_avg_pool(x, 1, output_size, out))


def adaptive_avg_pool2d(x: Any, output_size: Any, *, out: Any = None) -> Any:
    """Average pooling to a given size: output i of I takes rows floor(i H / I) .. ceil((i + 1) H / I) - 1.

    Size 1 is global average pooling.

    Args:
        x: (N, C, H, W), float32 or float64 (CUDA: bfloat16); H and W are at least 1.
        output_size: an int or (height, width); None for an axis keeps its size.
        out: array for the result.

    Returns:
        (N, C, height, width), in the memory format of x.

    Raises:
        ValueError: a shape, size or `out` doesn't fit.
        TypeError: x is not float32 or float64.

    Example:
        >>> x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
        >>> medkern.kernels.adaptive_avg_pool2d(x, 1)[0, 0]
        array([[8.5]], dtype=float32)
    """
    return like(x, _C.adaptive_avg_pool(x, 2, output_size, out))


def adaptive_avg_pool3d(x: Any, output_size: Any, *, out: Any = None) -> Any:
    """Average pooling of (N, C, D, H, W) to a given size; see `adaptive_avg_pool2d`."""
    return like(x, _C.adaptive_avg_pool(x, 3, output_size, out))


def adaptive_avg_pool_backward(dy: Any, input_shape: tuple[int, ...], *, out: Any = None) -> Any:
    """The gradient of `adaptive_avg_pool1d/2d/3d`, of shape `input_shape`."""
    return like(dy, _C.adaptive_avg_pool_backward(dy, input_shape, out))


def _adaptive_max_pool(x: Any, rank: int, output_size: Any, return_indices: bool, out: Any) -> Any:
    result = _C.adaptive_max_pool(x, rank, output_size, return_indices, out)
    return (like(x, result[0]), like(x, result[1])) if return_indices else like(x, result)


def adaptive_max_pool1d(x: Any, output_size: Any, return_indices: bool = False, *, out: Any = None) -> Any:
    """Max pooling of (N, C, W) to a given size; see `adaptive_max_pool2d`."""
    return _adaptive_max_pool(x, 1, output_size, return_indices, out)


def adaptive_max_pool2d(x: Any, output_size: Any, return_indices: bool = False, *, out: Any = None) -> Any:
    """Max pooling to a given size, with the windows of `adaptive_avg_pool2d`.

    A NaN in a window wins; of equal values the first in row-major order. Size 1 is global max pooling.

    Args:
        x: (N, C, H, W), float32 or float64 (CUDA: bfloat16); H and W are at least 1.
        output_size: an int or (height, width); None for an axis keeps its size.
        return_indices: also give the flat offset h * W + w of each maximum, int64.
        out: array for the result.

    Returns:
        (N, C, height, width), in the memory format of x; with `return_indices` a pair (y, indices).

    Raises:
        ValueError: a shape, size or `out` doesn't fit.
        TypeError: x is not float32 or float64.

    Example:
        >>> x = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
        >>> medkern.kernels.adaptive_max_pool2d(x, (1, 2))[0, 0]
        array([[14., 16.]], dtype=float32)
    """
    return _adaptive_max_pool(x, 2, output_size, return_indices, out)


def adaptive_max_pool3d(x: Any, output_size: Any, return_indices: bool = False, *, out: Any = None) -> Any:
    """Max pooling of (N, C, D, H, W) to a given size; see `adaptive_max_pool2d`."""
    return _adaptive_max_pool(x, 3, output_size, return_indices, out)


def adaptive_max_pool_backward(
    dy: Any, indices: Any, input_shape: tuple[int, ...], *, out: Any = None
) -> Any:
    """The gradient of `adaptive_max_pool1d/2d/3d`, of shape `input_shape`; indices are int64."""
    return like(dy, _C.adaptive_max_pool_backward(dy, indices, input_shape, out))


def max_unpool1d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: Any = None,
) -> Any:
    """Max unpooling of (N, C, W); see `max_unpool2d`."""
    return like(x, _C.max_unpool(x, indices, 1, kernel_size, stride, padding, output_size, out))


def max_unpool2d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: Any = None,
) -> Any:
    """Max unpooling: zeros but for the maxima, y[n, c, indices[n, c, i, j]] = x[n, c, i, j].

    Of equal indices the last in row-major order wins; an index of -1 (a window of padding only) writes
    nothing.

    Args:
        x: (N, C, H, W), the result of `max_pool2d`.
        indices: its indices, int64, the shape of x.
        kernel_size: as in pooling; so are `stride` and `padding`. They give the size of the result.
        stride: see there.
        padding: see there.
        output_size: the size before pooling, where pooling had cut a remainder off: (height, width) or the
            whole shape; less than a stride from the usual size.
        out: array for the result.

    Returns:
        (N, C, (H - 1) stride - padding + kernel_size, ...) or (N, C, *output_size).

    Raises:
        ValueError: a shape or size doesn't fit, or an index is out of range.
        TypeError: x is not float32 or float64, or indices are not int64.

    Example:
        >>> x = np.array([[[[6.0, 8.0]]]], np.float32)
        >>> medkern.kernels.max_unpool2d(x, np.array([[[[5, 2]]]]), 2)[0, 0]
        array([[0., 0., 8., 0.],
               [0., 6., 0., 0.]], dtype=float32)
    """
    return like(x, _C.max_unpool(x, indices, 2, kernel_size, stride, padding, output_size, out))


def max_unpool3d(
    x: Any,
    indices: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    output_size: Any = None,
    *,
    out: Any = None,
) -> Any:
    """Max unpooling of (N, C, D, H, W); see `max_unpool2d`."""
    return like(x, _C.max_unpool(x, indices, 3, kernel_size, stride, padding, output_size, out))


def max_unpool_backward(dy: Any, indices: Any, *, out: Any = None) -> Any:
    """The gradient of max unpooling: dx[n, c, i] = dy[n, c, indices[n, c, i]], 0 where the index is -1."""
    return like(dy, _C.max_unpool_backward(dy, indices, out))
