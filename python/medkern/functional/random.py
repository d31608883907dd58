"""Dropout on tensors."""

from __future__ import annotations

from medkern import _C, kernels, random
from medkern.autograd import Function, Node
from medkern.tensor import Tensor


class Dropout(Function):
    """Dropout with a mask drawn from `medkern.random`."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, p: float) -> _C.Array:
        """Keeps the mask, a byte per element."""
        y, ctx.mask = random.draw(lambda seed, offset: _C.dropout(x.array, p, seed, offset, None))
        ctx.p = p
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """Through the kept elements only."""
        return ApplyMask.apply(dy, mask=ctx.mask, p=ctx.p)


class ApplyMask(Function):
    """The linear part of dropout: dy mask / (1 - p), its own gradient."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, dy: Tensor, *, mask: _C.Array, p: float) -> _C.Array:
        """Keeps the mask."""
        ctx.mask, ctx.p = mask, p
        return kernels.dropout_backward(dy.array, mask, p)

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> Tensor:
        """The same again."""
        return ApplyMask.apply(ddx, mask=ctx.mask, p=ctx.p)


def dropout(x: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Sets elements to 0 with probability p and divides the others by 1 - p; x itself if not `training`.

    The mask comes from `medkern.random`, which `medkern.random.manual_seed` makes repeatable.

    Args:
        x: any shape, float32 or float64.
        p: probability of dropping an element, from 0 to 1.
        training: whether to drop at all.

    Returns:
        The shape and memory format of x.

    Raises:
        ValueError: p is not from 0 to 1.
        TypeError: x is not float32 or float64.

    Example:
        >>> medkern.random.manual_seed(2)
        >>> medkern.functional.dropout(medkern.tensor([1.0, 1.0, 1.0, 1.0]), 0.5).numpy()
        array([0., 0., 2., 0.], dtype=float32)
    """
    if not 0 <= p <= 1:
        raise ValueError(f"dropout: p must be from 0 to 1, got {p}")
    return Dropout.apply(x, p=p) if training and p > 0 else x
