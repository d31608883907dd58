"""Reading tensors at any places."""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.tensor import Tensor


class GridSample(Function):
    """Nearest and linear reading of x at the places of a grid."""

    @staticmethod
    def forward(ctx: Node, x: Tensor, grid: Tensor, *, value: float, **options: Any) -> _C.Array:
        """Keeps both."""
        ctx.save(x, grid)
        ctx.value, ctx.options = value, options
        return kernels.grid_sample(x.array, grid.array, value=value, **options)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[_C.Array | None, _C.Array | None]:
        """The gradients that are asked for."""
        x, grid = ctx.saved
        dx = dgrid = None
        if ctx.needs[0]:
            dx = kernels.grid_sample_backward_input(dy.array, grid.array, x.shape, **ctx.options)
        if ctx.needs[1]:
            dgrid = kernels.grid_sample_backward_grid(
                dy.array, x.array, grid.array, value=ctx.value, **ctx.options
            )
        return dx, dgrid


def grid_sample(
    x: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    value: float = 0.0,
) -> Tensor:
    """Differentiable `medkern.kernels.grid_sample`; the same arguments, shapes and errors.

    Example:
        >>> x = medkern.tensor(np.zeros((1, 8, 16, 16)), requires_grad=True)
        >>> medkern.functional.grid_sample(x, medkern.tensor(np.zeros((1, 4, 4, 2)))).shape
        (1, 8, 4, 4)
    """
    return GridSample.apply(
        x, grid, mode=mode, padding_mode=padding_mode, align_corners=align_corners, value=value
    )
