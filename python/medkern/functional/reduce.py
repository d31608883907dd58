"""Reductions on tensors.

Every gradient here is made of differentiable functions, so each can be differentiated any number of times.
"""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.functional import copy, pointwise
from medkern.functional._broadcast import expand
from medkern.tensor import Tensor


class Mean(Function):
    """Means over axes."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, dim: Any, keepdim: bool) -> _C.Array:
        """Keeps the shapes only."""
        ctx.input_shape, ctx.kept_shape = x.shape, _C.reduce_shape(x.array, dim, True)
        y = kernels.mean(x.array, dim, keepdim)
        ctx.count = x.size // y.size if y.size > 0 else 1
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """An equal share to every element."""
        share = pointwise.div(copy.reshape(dy, ctx.kept_shape), float(ctx.count))
        return expand(share, ctx.input_shape)


class Var(Function):
    """Variances over axes."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, dim: Any, keepdim: bool, correction: float) -> _C.Array:
        """Keeps x."""
        ctx.save(x)
        ctx.dim, ctx.kept_shape = dim, _C.reduce_shape(x.array, dim, True)
        y = kernels.var(x.array, dim, keepdim, correction)
        left = x.size // y.size - correction if y.size > 0 else 1.0
        ctx.divisor = left if left > 0 else 0.0
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """2 (x - mean) / (count - correction): the mean's own gradient cancels."""
        (x,) = ctx.saved
        share = pointwise.div(copy.reshape(dy, ctx.kept_shape), ctx.divisor / 2)
        return pointwise.mul(pointwise.sub(x, mean(x, ctx.dim, keepdim=True)), share)


class Extreme(Function):
    """The largest or smallest elements over axes, and where they were."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, op: str, dim: Any, keepdim: bool) -> tuple[_C.Array, _C.Array]:
        """Keeps the places."""
        y, ctx.indices = getattr(kernels, op)(x.array, dim, keepdim, return_indices=True)
        ctx.input_shape, ctx.dim, ctx.keepdim = x.shape, dim, keepdim
        return y, ctx.indices

    @staticmethod
    def backward(ctx: Node, dy: Tensor, _: None) -> Tensor:
        """The gradient goes to the first of equal elements."""
        return Put.apply(dy, indices=ctx.indices, shape=ctx.input_shape, dim=ctx.dim, keepdim=ctx.keepdim)


class Put(Function):
    """Zeros with one element set per result."""

    twice_differentiable = True

    @staticmethod
    def forward(
        ctx: Node, dy: Tensor, *, indices: _C.Array, shape: tuple[int, ...], dim: Any, keepdim: bool
    ) -> _C.Array:
        """Keeps the places."""
        ctx.indices, ctx.shape, ctx.dim, ctx.keepdim = indices, shape, dim, keepdim
        return kernels.reduce_put(dy.array, indices, shape, dim, keepdim)

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> Tensor:
        """The elements at those places."""
        return Take.apply(ddx, indices=ctx.indices, dim=ctx.dim, keepdim=ctx.keepdim)


class Take(Function):
    """One element per result."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, indices: _C.Array, dim: Any, keepdim: bool) -> _C.Array:
        """Keeps the places."""
        ctx.indices, ctx.shape, ctx.dim, ctx.keepdim = indices, x.shape, dim, keepdim
        return kernels.reduce_take(x.array, indices, dim, keepdim)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """Back to those places."""
        return Put.apply(dy, indices=ctx.indices, shape=ctx.shape, dim=ctx.dim, keepdim=ctx.keepdim)


def mean(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Differentiable `medkern.kernels.mean`."""
    return Mean.apply(x, dim=dim, keepdim=keepdim)


def var(x: Tensor, dim: Any = None, keepdim: bool = False, correction: float = 1) -> Tensor:
    """Differentiable `medkern.kernels.var`."""
    return Var.apply(x, dim=dim, keepdim=keepdim, correction=correction)


def max(x: Tensor, dim: Any = None, keepdim: bool = False, return_indices: bool = False) -> Any:
    """Differentiable `medkern.kernels.max`; of equal elements the first gets the gradient.

    Unlike in PyTorch the result is the values alone, unless `return_indices` asks for the pair.
    """
    values, indices = Extreme.apply(x, op="max", dim=dim, keepdim=keepdim)
    return (values, indices) if return_indices else values


def min(x: Tensor, dim: Any = None, keepdim: bool = False, return_indices: bool = False) -> Any:
    """Differentiable `medkern.kernels.min`; see `max`."""
    values, indices = Extreme.apply(x, op="min", dim=dim, keepdim=keepdim)
    return (values, indices) if return_indices else values
