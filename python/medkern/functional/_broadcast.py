"""Stretching tensors and its opposite, summing: what the gradients of broadcasting are made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.functional import copy
from medkern.tensor import Tensor


class Expand(Function):
    """A tensor stretched along axes of size 1 and new leading axes; shares the memory of x."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, shape: tuple[int, ...]) -> _C.Array:
        """A view with steps of 0."""
        ctx.input_shape = x.shape
        added = len(shape) - x.ndim
        strides = [0] * added + [
            stride if size == wanted else 0
            for size, wanted, stride in zip(x.shape, shape[added:], x.array.strides, strict=True)
        ]
        return x.array.with_layout(shape, strides)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The sum over what was stretched."""
        return sum_to(dy, ctx.input_shape)


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    """X stretched to `shape`, as broadcasting would; shares the memory of x.

    Args:
        x: any tensor.
        shape: the new sizes; each equals that of x, aligned at the last axis, or x has 1 there or no
            axis; -1 keeps the size of x.

    Returns:
        A tensor of that shape.

    Raises:
        ValueError: x does not stretch to `shape`.

    Example:
        >>> medkern.functional.expand(medkern.tensor([[1.0], [2.0]]), (2, 3)).shape
        (2, 3)
    """
    added = len(shape) - x.ndim
    if added >= 0:
        old = (1,) * added + x.shape
        new = tuple(
            size if wanted == -1 and i >= added else wanted
            for i, (size, wanted) in enumerate(zip(old, shape, strict=True))
        )
        if all(wanted == size or (size == 1 and wanted >= 0) for size, wanted in zip(old, new, strict=True)):
            return x if new == x.shape else Expand.apply(x, shape=new)
    raise ValueError(f"expand: a tensor of shape {x.shape} does not stretch to {tuple(shape)}")


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The sum of x over the axes along which `shape` was broadcast to that of x."""
    if x.shape == shape:
        return x
    added = x.ndim - len(shape)
    stretched = [i for i, size in enumerate(x.shape) if i < added or (shape[i - added] == 1 and size != 1)]
    y = sum(x, stretched, keepdim=True)
    return y if added == 0 else copy.reshape(y, shape)


class Sum(Function):
    """Sums over axes."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, dim: Any, keepdim: bool) -> _C.Array:
        """Keeps the shapes only."""
        ctx.input_shape, ctx.kept_shape = x.shape, _C.reduce_shape(x.array, dim, True)
        return kernels.sum(x.array, dim, keepdim)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The gradient to every element that was added."""
        return expand(copy.reshape(dy, ctx.kept_shape), ctx.input_shape)


def sum(x: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """Differentiable `medkern.kernels.sum`."""
    return Sum.apply(x, dim=dim, keepdim=keepdim)
