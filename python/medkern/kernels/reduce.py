"""Reductions: sums, means, variances and extremes over axes."""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def sum(x: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """Y = sum of x over the axes `dim`, accumulated in float64 and rounded once.

    The same bits at any number of threads, and for a sample alone or in a batch.

    Args:
        x: float32 or float64, any shape and strides.
        dim: an axis or several, counted from the end where negative; None means all.
        keepdim: keep the reduced axes, with size 1.
        out: array for the result.

    Returns:
        y, of the type of x; over no elements 0.

    Raises:
        ValueError: an axis is out of range or given twice, or `out` doesn't fit.
        TypeError: x is not float32 or float64.

    Example:
        >>> medkern.kernels.sum(np.ones((2, 3)), dim=1)
        array([3., 3.])
    """
    return like(x, _C.reduce(_C.ReduceOp.sum, x, dim, keepdim, 0.0, False, out))


def mean(x: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """The mean over the axes `dim`, NaN over no elements; see `sum`."""
    return like(x, _C.reduce(_C.ReduceOp.mean, x, dim, keepdim, 0.0, False, out))


def var(x: Any, dim: Any = None, keepdim: bool = False, correction: float = 1, *, out: Any = None) -> Any:
    """The variance, sum of (x - mean)^2 / (count - `correction`), in two passes; see `sum`."""
    return like(x, _C.reduce(_C.ReduceOp.var, x, dim, keepdim, correction, False, out))


def _extreme(op: str, x: Any, dim: Any, keepdim: bool, return_indices: bool, out: Any) -> Any:
    result = _C.reduce(getattr(_C.ReduceOp, op), x, dim, keepdim, 0.0, return_indices, out)
    if return_indices:
        return like(x, result[0]), like(x, result[1])
    return like(x, result)


def max(
    x: Any, dim: Any = None, keepdim: bool = False, return_indices: bool = False, *, out: Any = None
) -> Any:
    """The largest element over the axes `dim`, NaN if there is one; see `sum`.

    Args:
        x: see `sum`.
        dim: see `sum`.
        keepdim: see `sum`.
        return_indices: also give where it was, as a flat index over the reduced axes (int64); the
            first of equal elements.
        out: array for the values.

    Returns:
        The values, or with `return_indices` a pair (values, indices).

    Raises:
        ValueError: also if there is no element to choose from.

    Example:
        >>> medkern.kernels.max(np.array([[1.0, 3.0], [2.0, 0.0]]), dim=1, return_indices=True)
        (array([3., 2.]), array([1, 0]))
    """
    return _extreme("max", x, dim, keepdim, return_indices, out)


def min(
    x: Any, dim: Any = None, keepdim: bool = False, return_indices: bool = False, *, out: Any = None
) -> Any:
    """The smallest element over the axes `dim`, NaN if there is one; see `max`."""
    return _extreme("min", x, dim, keepdim, return_indices, out)


def reduce_take(x: Any, indices: Any, dim: Any = None, keepdim: bool = False, *, out: Any = None) -> Any:
    """Y = the element of x at each index, as `max` and `min` give them.

    Args:
        x: float32 or float64.
        indices: int64, the shape of the result: flat indices over the axes `dim`.
        dim: the axes the indices run over; None means all.
        keepdim: whether `indices` keeps those axes, with size 1.
        out: array for the result.

    Returns:
        y, of the shape of `indices`.

    Raises:
        ValueError: a shape doesn't fit or an index is out of range.

    Example:
        >>> medkern.kernels.reduce_take(np.array([[1.0, 3.0], [2.0, 0.0]]), np.array([1, 0]), dim=1)
        array([3., 2.])
    """
    return like(x, _C.reduce_take(x, indices, dim, keepdim, out))


def reduce_put(
    dy: Any,
    indices: Any,
    input_shape: tuple[int, ...],
    dim: Any = None,
    keepdim: bool = False,
    *,
    out: Any = None,
) -> Any:
    """The gradient of `max`, `min` and `reduce_take`: dx = dy at each index, 0 elsewhere.

    Args:
        dy: gradient of the result, shape of the result.
        indices: as in `reduce_take`.
        input_shape: shape of x.
        dim: see `reduce_take`.
        keepdim: see `reduce_take`.
        out: array for the result.

    Returns:
        dx, of shape `input_shape`.

    Raises:
        ValueError: a shape doesn't fit or an index is out of range.
    """
    return like(dy, _C.reduce_put(dy, indices, input_shape, dim, keepdim, out))
