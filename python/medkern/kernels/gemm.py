"""Matrix products, fully connected layers, and the gradient of a bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkern import _C
from medkern.kernels._activation import activation_number
from medkern.kernels._kind import like


def gemm(a: Any, b: Any, bias: Any = None, *, activation: str | None = None, out: Any = None) -> Any:
    """Matrix product: c[i, j] = act(sum over k of a[i, k] b[k, j] + bias[j]).

    Args:
        a: (M, K) or, with a batch, (B, M, K); float32 or float64, on CUDA devices float16 or bfloat16 too
            (sums are float32's). Any strides are read as they are: a transpose costs no copy.
        b: (K, N) or (B, K, N).
        bias: (N,), or None.
        activation: None or "relu".
        out: contiguous array for the result.

    Returns:
        (M, N) or (B, M, N). A row has the same bits whatever other rows there are.

    Raises:
        ValueError: the shapes don't fit each other.
        TypeError: an array is not float32 or float64, or the types differ.

    Example:
        >>> medkern.kernels.gemm(np.eye(2), np.array([[1.0, 2.0], [3.0, 4.0]]))
        array([[1., 2.],
               [3., 4.]])
    """
    return like(a, _C.gemm(a, b, bias, activation_number("gemm", activation), out))


def linear(x: Any, weight: Any, bias: Any = None, *, activation: str | None = None, out: Any = None) -> Any:
    """Fully connected layer over the last axis: y = act(x weight^T + bias).

    Args:
        x: (..., I), float32 or float64, on CUDA devices float16 or bfloat16 too.
        weight: (O, I).
        bias: (O,), or None.
        activation: None or "relu".
        out: contiguous array for the result.

    Returns:
        (..., O).

    Raises:
        ValueError: the shapes don't fit each other.
        TypeError: an array is not float32 or float64, or the types differ.

    Example:
        >>> medkern.kernels.linear(np.array([[1.0, 2.0]]), np.array([[1.0, 1.0], [0.0, -1.0]]))
        array([[ 3., -2.]])
    """
    return like(x, _C.linear(x, weight, bias, activation_number("linear", activation), out))


class LinearPlan:
    """A fully connected layer whose weight has been packed; made by `linear_plan`."""

    def __init__(self, plan: _C.LinearPlan) -> None:
        self._plan = plan

    def __call__(self, x: Any, out: Any = None) -> Any:
        """The layer's result for x; see `linear`."""
        y = self._plan.run(x, out)
        return y if isinstance(x, np.ndarray) else like(x, y)

    @property
    def nbytes(self) -> int:
        """The memory the packed weight takes."""
        return self._plan.nbytes


def linear_plan(weight: Any, bias: Any = None, *, activation: str | None = None) -> LinearPlan:
    """Prepares a fully connected layer for many calls: packs its weight once.

    Args:
        weight: (O, I), float32 or float64. Later changes of it have no effect.
        bias: (O,), or None.
        activation: None or "relu".

    Returns:
        plan(x, out=None), which gives the same bits as `linear`. It serves the instruction set in use
        now.

    Raises:
        ValueError: the weight has not 2 dimensions, or, when called, the shapes don't fit each other.
        TypeError: the weight is not float32 or float64.

    Example:
        >>> plan = medkern.kernels.linear_plan(np.array([[1.0, 1.0], [0.0, -1.0]]), activation="relu")
        >>> plan(np.array([[1.0, 2.0]]))
        array([[3., 0.]])
    """
    return LinearPlan(_C.LinearPlan(weight, bias, activation_number("linear_plan", activation)))


def linear_backward_input(dy: Any, weight: Any, *, out: Any = None) -> Any:
    """The gradient of `linear` with respect to x: dx = dy weight.

    Args:
        dy: gradient of the result, (..., O).
        weight: (O, I).
        out: contiguous array for the result.

    Returns:
        dx, (..., I).

    Raises:
        ValueError: the shapes don't fit each other.
    """
    return like(dy, _C.linear_backward_input(dy, weight, out))


def linear_backward_weight(dy: Any, x: Any, *, out: Any = None) -> Any:
    """The gradient of `linear` with respect to weight: dy^T x, summed over all leading axes.

    Args:
        dy: gradient of the result, (..., O).
        x: (..., I).
        out: contiguous array for the result.

    Returns:
        dweight, (O, I).

    Raises:
        ValueError: the shapes don't fit each other.
    """
    return like(dy, _C.linear_backward_weight(dy, x, out))


def bias_backward(dy: Any, axis: int = 1, *, out: Any = None) -> Any:
    """The gradient of a bias: the sum of dy over all axes but one.

    Runs are summed in the type of dy and added in float64.

    Args:
        dy: gradient of the result; (N, C, spatial...) after a convolution, (..., C) after `linear`.
        axis: the axis of the bias: 1 after a convolution; `dy.ndim - 1` after `linear`.
        out: contiguous array for the result; may be float32 beside a 16-bit dy.

    Returns:
        dbias, of shape (dy.shape[axis],).

    Raises:
        ValueError: there is no such axis.
    """
    return like(dy, _C.bias_backward(dy, axis, out))
