"""Pointwise kernels: functions of single elements."""

from __future__ import annotations

import math
from typing import Any

from medkern import _C
from medkern.kernels._activation import activation_number
from medkern.kernels._kind import like


def _unary(op: str, x: Any, out: Any, a: float = 0.0, b: float = 0.0) -> Any:
    return like(x, _C.unary(getattr(_C.UnaryOp, op), x, a, b, out))


def relu(x: Any, *, out: Any = None) -> Any:
    """The rectifier, y = max(x, 0), element by element.

    This holds for every function of one array here: any shape and any strides will do, NaN passes
    through, and `out` may be x itself.

    Args:
        x: float32 or float64 (CUDA, up to `tanh`: bfloat16), any shape.
        out: array for the result; may be x.

    Returns:
        y, of the shape, type and memory format of x.

    Raises:
        ValueError: `out` has another shape or shares part of x's memory.
        TypeError: x is not float32 or float64.

    Example:
        >>> medkern.kernels.relu(np.array([-1.0, 2.0]))
        array([0., 2.])
    """
    return _unary("relu", x, out)


def leaky_relu(x: Any, negative_slope: float = 0.01, *, out: Any = None) -> Any:
    """Y = x where x > 0, else `negative_slope` x; see `relu`."""
    return _unary("leaky_relu", x, out, negative_slope)


def elu(x: Any, alpha: float = 1.0, *, out: Any = None) -> Any:
    """Y = x where x > 0, else `alpha` (exp(x) - 1); see `relu`."""
    return _unary("elu", x, out, alpha)


def sigmoid(x: Any, *, out: Any = None) -> Any:
    """Y = 1 / (1 + exp(-x)); see `relu`."""
    return _unary("sigmoid", x, out)


def tanh(x: Any, *, out: Any = None) -> Any:
    """The hyperbolic tangent; see `relu`."""
    return _unary("tanh", x, out)


def silu(x: Any, *, out: Any = None) -> Any:
    """Y = x sigmoid(x); see `relu`."""
    return _unary("silu", x, out)


def gelu(x: Any, *, out: Any = None) -> Any:
    """Y = x (1 + erf(x / sqrt(2))) / 2, the exact form; see `relu`."""
    return _unary("gelu", x, out)


def softplus(x: Any, *, out: Any = None) -> Any:
    """Y = log(1 + exp(x)), without overflow; see `relu`."""
    return _unary("softplus", x, out)


def exp(x: Any, *, out: Any = None) -> Any:
    """The exponential; see `relu`."""
    return _unary("exp", x, out)


def expm1(x: Any, *, out: Any = None) -> Any:
    """Y = exp(x) - 1, exact to the last places near 0; see `relu`."""
    return _unary("expm1", x, out)


def log(x: Any, *, out: Any = None) -> Any:
    """The natural logarithm, NaN below 0 and -inf at 0; see `relu`."""
    return _unary("log", x, out)


def log1p(x: Any, *, out: Any = None) -> Any:
    """Y = log(1 + x), exact to the last places near 0; see `relu`."""
    return _unary("log1p", x, out)


def erf(x: Any, *, out: Any = None) -> Any:
    """The error function, 2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x; see `relu`."""
    return _unary("erf", x, out)


def sqrt(x: Any, *, out: Any = None) -> Any:
    """The square root, NaN below 0; see `relu`."""
    return _unary("sqrt", x, out)


def abs(x: Any, *, out: Any = None) -> Any:
    """The absolute value; see `relu`."""
    return _unary("abs", x, out)


def neg(x: Any, *, out: Any = None) -> Any:
    """Y = -x; see `relu`."""
    return _unary("neg", x, out)


def square(x: Any, *, out: Any = None) -> Any:
    """Y = x^2; see `relu`."""
    return _unary("square", x, out)


def reciprocal(x: Any, *, out: Any = None) -> Any:
    """Y = 1 / x; see `relu`."""
    return _unary("reciprocal", x, out)


def clamp(x: Any, min: float | None = None, max: float | None = None, *, out: Any = None) -> Any:
    """Y = the number from `min` to `max` next to x; None is no limit; see `relu`.

    Raises:
        ValueError: `min` is larger than `max`.
    """
    return _unary("clamp", x, out, -math.inf if min is None else min, math.inf if max is None else max)


def pow(x: Any, exponent: float, *, out: Any = None) -> Any:
    """Y = x to the power of the number `exponent`; see `relu`."""
    return _unary("pow", x, out, exponent)


def _binary(op: str, a: Any, b: Any, out: Any) -> Any:
    return like(b if isinstance(a, (int, float)) else a, _C.binary(getattr(_C.BinaryOp, op), a, b, out))


def add(a: Any, b: Any, *, activation: str | None = None, out: Any = None) -> Any:
    """Y = act(a + b) with broadcasting.

    This holds for every function of two arrays here: shapes are aligned at the last axis and sizes of 1
    stretch, as in NumPy; any strides will do; `out` may be a or b.

    Args:
        a: float32 or float64 (CUDA: bfloat16), or a number.
        b: an array of the type of `a`, or a number; one of the two must be an array.
        activation: None or "relu"; for `add` only, where the branches of a residual block meet.
        out: array for the result; may be `a` or `b` if it has the result's shape.

    Returns:
        y, in the type of `a` and the memory format of the operand that has its shape, `a` before `b`.

    Raises:
        ValueError: the shapes don't broadcast, or `out` doesn't fit.
        TypeError: the types differ or are not float32 or float64.

    Example:
        >>> medkern.kernels.add(np.ones((2, 3)), np.array([0.0, 1.0, 2.0]))[1]
        array([1., 2., 3.])
    """
    return _binary("add_relu" if activation_number("add", activation) else "add", a, b, out)


def sub(a: Any, b: Any, *, out: Any = None) -> Any:
    """Y = a - b with broadcasting; see `add`."""
    return _binary("sub", a, b, out)


def mul(a: Any, b: Any, *, out: Any = None) -> Any:
    """Y = a b, element by element with broadcasting; see `add`."""
    return _binary("mul", a, b, out)


def div(a: Any, b: Any, *, out: Any = None) -> Any:
    """Y = a / b with broadcasting; see `add`."""
    return _binary("div", a, b, out)


def maximum(a: Any, b: Any, *, out: Any = None) -> Any:
    """The larger of a and b, NaN if either is, with broadcasting; see `add`."""
    return _binary("maximum", a, b, out)


def minimum(a: Any, b: Any, *, out: Any = None) -> Any:
    """The smaller of a and b, NaN if either is, with broadcasting; see `add`."""
    return _binary("minimum", a, b, out)


def compare(op: str, a: Any, b: Any, *, out: Any = None) -> Any:
    """Where a relation holds between a and b, with broadcasting.

    Args:
        op: "eq", "ne", "lt", "le", "gt" or "ge".
        a: an array of any type, or a number.
        b: an array of the type of `a`, or a number; one of the two must be an array.
        out: bool or uint8 array for the result.

    Returns:
        A bool array.

    Raises:
        ValueError: the shapes don't broadcast, or `op` is unknown.
        TypeError: the types differ.

    Example:
        >>> medkern.kernels.compare("ge", np.array([0.2, 0.7]), 0.5)
        array([False,  True])
    """
    if op not in _C.CompareOp.__members__:
        raise ValueError(f"compare: op must be one of {', '.join(_C.CompareOp.__members__)}, got {op!r}")
    first = b if isinstance(a, (int, float)) else a
    return like(first, _C.compare(getattr(_C.CompareOp, op), a, b, out))


def where(mask: Any, a: Any, b: Any, *, out: Any = None) -> Any:
    """Y = a where `mask` holds, else b, with broadcasting.

    Args:
        mask: bool or uint8.
        a: an array of any type, or a number.
        b: an array of the type of `a`, or a number; one of the two must be an array.
        out: array for the result; may be `a` or `b`.

    Returns:
        y, of the shape the three broadcast to.

    Raises:
        ValueError: the shapes don't broadcast, or `out` doesn't fit.
        TypeError: the types differ, or `mask` is neither bool nor uint8.

    Example:
        >>> medkern.kernels.where(np.array([True, False]), np.array([1.0, 2.0]), 0.0)
        array([1., 0.])
    """
    return like(mask, _C.where(mask, a, b, out))


def unary_backward(op: str, dy: Any, saved: Any, a: float = 0.0, b: float = 0.0, *, out: Any = None) -> Any:
    """The gradient of any function of one array: dx = dy * op'(x).

    Args:
        op: the function's name, "relu", "exp", ...
        dy: gradient of the result.
        saved: the result y for relu, sigmoid, tanh, exp, expm1, sqrt and reciprocal; x for the others.
        a: the first number given with x (negative_slope, alpha, min, exponent).
        b: the second (max).
        out: array for the result; may be `dy` or `saved`.

    Returns:
        dx, of the shape and memory format of `saved`.

    Raises:
        ValueError: the shapes differ, or `op` is unknown.
    """
    if op not in _C.UnaryOp.__members__:
        raise ValueError(f"unary_backward: op must be one of {', '.join(_C.UnaryOp.__members__)}, got {op!r}")
    return like(dy, _C.unary_backward(getattr(_C.UnaryOp, op), dy, saved, a, b, out))
