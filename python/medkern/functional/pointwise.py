"""Functions of single elements on tensors.

Every gradient here is made of these functions again, so each can be differentiated any number of times.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.functional._bfloat16 import Alike
from medkern.functional._broadcast import sum_to
from medkern.tensor import Tensor

# Operations whose backward takes the result; the others take x.
_SAVES_RESULT = {"relu", "sigmoid", "tanh", "exp", "expm1", "sqrt", "reciprocal"}
# Those with kernels of bfloat16.
_TAKE_BFLOAT16 = {"relu", "leaky_relu", "elu", "sigmoid", "tanh"}


def _logistic_slope(x: Tensor) -> Tensor:
    s = sigmoid(x)
    return mul(s, sub(1.0, s))


def _silu_curvature(x: Tensor) -> Tensor:
    return mul(_logistic_slope(x), add(mul(x, sub(1.0, mul(sigmoid(x), 2.0))), 2.0))


def _gelu_curvature(x: Tensor) -> Tensor:
    density = mul(exp(mul(square(x), -0.5)), 1 / math.sqrt(2 * math.pi))
    return mul(density, sub(2.0, square(x)))


def _elu_curvature(x: Tensor, alpha: float) -> Tensor:
    return where(kernels.compare("gt", x.array, 0.0), 0.0, mul(exp(minimum(x, 0.0)), alpha))


# The derivative of the slope by what was saved (x or the result), where it is not 0. a is the number given
# with x.
_CURVATURE: dict[str, Callable[[Tensor, float], Tensor | float]] = {
    "elu": _elu_curvature,
    "sigmoid": lambda y, a: sub(1.0, mul(y, 2.0)),
    "tanh": lambda y, a: mul(y, -2.0),
    "silu": lambda x, a: _silu_curvature(x),
    "gelu": lambda x, a: _gelu_curvature(x),
    "softplus": lambda x, a: _logistic_slope(x),
    "exp": lambda y, a: 1.0,
    "expm1": lambda y, a: 1.0,
    "log": lambda x, a: neg(square(reciprocal(x))),
    "log1p": lambda x, a: neg(square(reciprocal(add(x, 1.0)))),
    "sqrt": lambda y, a: mul(square(reciprocal(y)), -0.5),
    "square": lambda x, a: 2.0,
    "reciprocal": lambda y, a: mul(y, -2.0),
    "pow": lambda x, a: mul(pow(x, a - 2), a * (a - 1)),
    "erf": lambda x, a: mul(mul(x, exp(neg(square(x)))), -4 / math.sqrt(math.pi)),
}


class Unary(Function):
    """y = op(x), for every function of one tensor."""

    twice_differentiable = True

    @classmethod
    def _as_taken(cls, tensors: Any, options: dict[str, Any]) -> Any:
        return tensors if options["op"] in _TAKE_BFLOAT16 else super()._as_taken(tensors, options)

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, op: str, a: float = 0.0, b: float = 0.0) -> _C.Array:
        """Keeps x or y, whichever the gradient takes."""
        y = _C.unary(getattr(_C.UnaryOp, op), x.array, a, b, None)
        ctx.options = {"op": op, "a": a, "b": b}
        ctx.of_result = op in _SAVES_RESULT
        if ctx.of_result:
            ctx.save_output(y)
        else:
            ctx.save(x)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """One fused pass."""
        (saved,) = ctx.outputs if ctx.of_result else ctx.saved
        return UnaryBackward.apply(dy, saved, **ctx.options)


class UnaryBackward(Function):
    """dx = dy * op'(saved)."""

    twice_differentiable = True

    @classmethod
    def _as_taken(cls, tensors: Any, options: dict[str, Any]) -> Any:
        return tensors if options["op"] in _TAKE_BFLOAT16 else super()._as_taken(tensors, options)

    @staticmethod
    def forward(ctx: Node, dy: Tensor, saved: Tensor, *, op: str, a: float, b: float) -> _C.Array:
        """Keeps both."""
        ctx.save(dy, saved)
        ctx.options = {"op": op, "a": a, "b": b}
        return _C.unary_backward(getattr(_C.UnaryOp, op), dy.array, saved.array, a, b, None)

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Linear in dy; by what was saved, dy times the curvature."""
        dy, saved = ctx.saved
        ddy = UnaryBackward.apply(ddx, saved, **ctx.options) if ctx.needs[0] else None
        dsaved = None
        curvature = _CURVATURE.get(ctx.options["op"])
        if ctx.needs[1] and curvature is not None:
            dsaved = mul(mul(ddx, dy), curvature(saved, ctx.options["a"]))
        return ddy, dsaved


def relu(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.relu`; the gradient at 0 is 0."""
    return Unary.apply(x, op="relu")


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Differentiable `medkern.kernels.leaky_relu`."""
    return Unary.apply(x, op="leaky_relu", a=negative_slope)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Differentiable `medkern.kernels.elu`."""
    return Unary.apply(x, op="elu", a=alpha)


def sigmoid(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.sigmoid`."""
    return Unary.apply(x, op="sigmoid")


def tanh(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.tanh`."""
    return Unary.apply(x, op="tanh")


def silu(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.silu`."""
    return Unary.apply(x, op="silu")


def gelu(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.gelu`."""
    return Unary.apply(x, op="gelu")


def softplus(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.softplus`."""
    return Unary.apply(x, op="softplus")


def exp(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.exp`."""
    return Unary.apply(x, op="exp")


def expm1(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.expm1`."""
    return Unary.apply(x, op="expm1")


def log(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.log`."""
    return Unary.apply(x, op="log")


def log1p(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.log1p`."""
    return Unary.apply(x, op="log1p")


def erf(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.erf`."""
    return Unary.apply(x, op="erf")


def sqrt(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.sqrt`; the gradient at 0 is infinite."""
    return Unary.apply(x, op="sqrt")


def abs(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.abs`; the gradient at 0 is 0."""
    return Unary.apply(x, op="abs")


def neg(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.neg`."""
    return Unary.apply(x, op="neg")


def square(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.square`."""
    return Unary.apply(x, op="square")


def reciprocal(x: Tensor) -> Tensor:
    """Differentiable `medkern.kernels.reciprocal`."""
    return Unary.apply(x, op="reciprocal")


def clamp(x: Tensor, min: float | None = None, max: float | None = None) -> Tensor:
    """Differentiable `medkern.kernels.clamp`; the gradient at the limits is 1."""
    low, high = -math.inf if min is None else min, math.inf if max is None else max
    return Unary.apply(x, op="clamp", a=low, b=high)


def pow(x: Tensor, exponent: float) -> Tensor:
    """Differentiable `medkern.kernels.pow`, by x."""
    return Unary.apply(x, op="pow", a=float(exponent))


def _operand(value: Any, like: Any) -> Tensor:
    """A tensor, an array as a constant, or a number as a constant in the type of `like`."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, (bool, int, float, np.generic)) and isinstance(like, Tensor):
        return Tensor(_constant(value, like))
    return Tensor(_C.Array(value, like.device if isinstance(like, Tensor) else None))


def _constant(value: Any, like: Tensor) -> _C.Array:
    """A number in the type of `like`, which must be able to hold it."""
    if like.dtype.kind != "f" and not isinstance(value, (bool, int, np.integer, np.bool_)):
        raise TypeError(f"a number beside a tensor of {like.dtype} must be an int, got {value!r}")
    dtype, device = like.dtype, like.device
    try:
        if device == "cpu" or type(value) not in (int, float):
            return _number(value, dtype, device)
        # To bring it to a device costs as much as a kernel, and most numbers come again with every step.
        sign = math.copysign(1, value)  # 0 and -0 are equal
        return _kept_number(value, sign, str(dtype), device, _C.stream_get(device))
    except OverflowError as error:
        raise ValueError(f"the number {value!r} does not fit {dtype}") from error


def _number(value: Any, dtype: Any, device: str) -> _C.Array:
    if dtype != _C.bfloat16:
        return _C.Array(np.asarray(value, dtype), device)
    outlining = _C.outlining(False)  # it has a value even while a model is followed
    try:
        return kernels.full((), value, dtype, device=device)
    finally:
        _C.outlining(outlining)


@functools.lru_cache(maxsize=256)
def _kept_number(value: float, sign: float, dtype: str, device: str, stream: int) -> _C.Array:
    """A number for the work of one stream; nobody writes to it."""
    return _number(value, _C.dtype(dtype), device)


class Add(Alike):
    """a + b."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, a: Tensor, b: Tensor) -> _C.Array:
        """Keeps the shapes only."""
        ctx.shapes = a.shape, b.shape
        return _C.binary(_C.BinaryOp.add, a.array, b.array, None)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Dy for both."""
        shape_a, shape_b = ctx.shapes
        return (
            sum_to(dy, shape_a) if ctx.needs[0] else None,
            sum_to(dy, shape_b) if ctx.needs[1] else None,
        )


class Sub(Alike):
    """a - b."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, a: Tensor, b: Tensor) -> _C.Array:
        """Keeps the shapes only."""
        ctx.shapes = a.shape, b.shape
        return _C.binary(_C.BinaryOp.sub, a.array, b.array, None)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Dy and -dy."""
        shape_a, shape_b = ctx.shapes
        return (
            sum_to(dy, shape_a) if ctx.needs[0] else None,
            neg(sum_to(dy, shape_b)) if ctx.needs[1] else None,
        )


class Mul(Alike):
    """a b."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, a: Tensor, b: Tensor) -> _C.Array:
        """Keeps both."""
        ctx.save(a, b)
        return _C.binary(_C.BinaryOp.mul, a.array, b.array, None)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Dy times the other."""
        a, b = ctx.saved
        return (
            sum_to(mul(dy, b), a.shape) if ctx.needs[0] else None,
            sum_to(mul(dy, a), b.shape) if ctx.needs[1] else None,
        )


class Div(Alike):
    """a / b."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, a: Tensor, b: Tensor) -> _C.Array:
        """Keeps both."""
        ctx.save(a, b)
        return _C.binary(_C.BinaryOp.div, a.array, b.array, None)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Dy / b and -(dy / b) (a / b)."""
        a, b = ctx.saved
        da = div(dy, b)
        return (
            sum_to(da, a.shape) if ctx.needs[0] else None,
            neg(sum_to(mul(da, div(a, b)), b.shape)) if ctx.needs[1] else None,
        )


class Extremum(Function):
    """The larger or the smaller of a and b."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, a: Tensor, b: Tensor, *, op: str, wins: str) -> _C.Array:
        """Keeps the shares of a: 1 where it wins, a half where both are equal."""
        ctx.shapes = a.shape, b.shape
        half = kernels.where(kernels.compare("eq", a.array, b.array), _constant(0.5, a), 0.0)
        ctx.shares = kernels.where(kernels.compare(wins, a.array, b.array), 1.0, half)
        return _C.binary(getattr(_C.BinaryOp, op), a.array, b.array, None)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Goes to the one that won."""
        shares = Tensor(ctx.shares)
        shape_a, shape_b = ctx.shapes
        return (
            sum_to(mul(dy, shares), shape_a) if ctx.needs[0] else None,
            sum_to(mul(dy, sub(1.0, shares)), shape_b) if ctx.needs[1] else None,
        )


def add(a: Any, b: Any) -> Tensor:
    """Differentiable `medkern.kernels.add`; either may be a number or an array, which are constants."""
    return Add.apply(_operand(a, b), _operand(b, a))


def sub(a: Any, b: Any) -> Tensor:
    """Differentiable `medkern.kernels.sub`; see `add`."""
    return Sub.apply(_operand(a, b), _operand(b, a))


def mul(a: Any, b: Any) -> Tensor:
    """Differentiable `medkern.kernels.mul`; see `add`."""
    return Mul.apply(_operand(a, b), _operand(b, a))


def div(a: Any, b: Any) -> Tensor:
    """Differentiable `medkern.kernels.div`; see `add`."""
    return Div.apply(_operand(a, b), _operand(b, a))


def maximum(a: Any, b: Any) -> Tensor:
    """Differentiable `medkern.kernels.maximum`; equal elements share the gradient; see `add`."""
    return Extremum.apply(_operand(a, b), _operand(b, a), op="maximum", wins="gt")


def minimum(a: Any, b: Any) -> Tensor:
    """Differentiable `medkern.kernels.minimum`; equal elements share the gradient; see `add`."""
    return Extremum.apply(_operand(a, b), _operand(b, a), op="minimum", wins="lt")


class Where(Alike):
    """A where the mask holds, else b."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, mask: Tensor, a: Tensor, b: Tensor) -> _C.Array:
        """Keeps the mask."""
        ctx.save(mask)
        ctx.shapes = a.shape, b.shape
        return _C.where(mask.array, a.array, b.array, None)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        """Dy where each was chosen."""
        (mask,) = ctx.saved
        shape_a, shape_b = ctx.shapes
        return (
            None,
            sum_to(where(mask, dy, 0.0), shape_a) if ctx.needs[1] else None,
            sum_to(where(mask, 0.0, dy), shape_b) if ctx.needs[2] else None,
        )


class Compare(Function):
    """Where a comparison holds: bool, so nothing flows back."""

    @staticmethod
    def forward(ctx: Node, a: Tensor, b: Tensor, *, op: str) -> _C.Array:
        """Keeps nothing."""
        return _C.compare(getattr(_C.CompareOp, op), a.array, b.array, None)


def compare(op: str, a: Any, b: Any) -> Tensor:
    """`medkern.kernels.compare` of tensors; see `add`."""
    return Compare.apply(_operand(a, b), _operand(b, a), op=op)


def where(mask: Any, a: Any, b: Any) -> Tensor:
    """Differentiable `medkern.kernels.where`, by a and b; see `add`."""
    return Where.apply(mask, _operand(a, b), _operand(b, a))
