"""Resizing tensors."""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.tensor import Tensor


class Interpolate(Function):
    """Nearest and linear resizing."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, **options: Any) -> _C.Array:
        """Keeps the shape of x only."""
        ctx.input_shape, ctx.options = x.shape, options
        return kernels.interpolate(x.array, **options)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """Sends each gradient back to what its output read."""
        return InterpolateBackward.apply(dy, input_shape=ctx.input_shape, **ctx.options)


class InterpolateBackward(Function):
    """The gradient of `Interpolate`, itself linear."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, dy: Tensor, *, input_shape: tuple[int, ...], **options: Any) -> _C.Array:
        """Keeps nothing."""
        ctx.options = options
        return kernels.interpolate_backward(dy.array, input_shape, **options)

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> Tensor:
        """Resizing again."""
        return Interpolate.apply(ddx, **ctx.options)


def interpolate(
    x: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool = False,
) -> Tensor:
    """Differentiable `medkern.kernels.interpolate`; the same arguments, shapes and errors.

    Example:
        >>> x = medkern.tensor(np.zeros((1, 8, 16, 16)), requires_grad=True)
        >>> medkern.functional.interpolate(x, scale_factor=2, mode="bilinear").shape
        (1, 8, 32, 32)
    """
    return Interpolate.apply(x, size=size, scale_factor=scale_factor, mode=mode, align_corners=align_corners)
