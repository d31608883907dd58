"""Reading tensors at any places."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkern import _C, kernels
from medkern.autograd import Function, Node, widened
from medkern.functional.copy import getitem, stack
from medkern.functional.pointwise import add, mul
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
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The gradients that are asked for."""
        x, grid = ctx.saved
        dx = dgrid = None
        if ctx.needs[0]:
            dx = Tensor(kernels.grid_sample_backward_input(dy.array, grid.array, x.shape, **ctx.options))
        if ctx.needs[1]:
            dgrid = Tensor(
                kernels.grid_sample_backward_grid(
                    dy.array, x.array, grid.array, value=ctx.value, **ctx.options
                )
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


def warp(x: Tensor, field: Tensor, mode: str = "bilinear", padding_mode: str = "border") -> Tensor:
    """Moves images by a displacement field: y[n, c, o] = x[n, c] at o + field[n, :, o].

    Args:
        x: (N, C, H, W) or (N, C, D, H, W).
        field: (N, 2 or 3, spatial sizes of x), in elements, axes in the order of x.
        mode: as in `grid_sample`.
        padding_mode: see there.

    Returns:
        Shaped like x; differentiable with respect to both.

    Raises:
        ValueError: the shapes don't fit.

    Example:
        >>> x = medkern.tensor(np.arange(4.0).reshape(1, 1, 1, 4))
        >>> field = medkern.tensor(np.stack([np.zeros((1, 4)), np.ones((1, 4))])[None])  # one to the right
        >>> medkern.functional.warp(x, field).numpy()[0, 0, 0]
        array([1., 2., 3., 3.])
    """
    sizes, field = x.shape[2:], widened(field)
    if x.ndim not in (4, 5) or field.shape != (x.shape[0], len(sizes), *sizes):
        raise ValueError(f"warp: field must have shape (N, axes, sizes) like x {x.shape}, got {field.shape}")
    # Element o has its center at (2 o + 1) / size - 1 of the grid; the last axis comes first there.
    axes = range(len(sizes) - 1, -1, -1)
    centers = [(2 * np.arange(size) + 1) / size - 1 for size in sizes]
    base = np.stack([mesh for mesh in np.meshgrid(*centers, indexing="ij")][::-1], -1)[None]
    scale = np.array([2 / sizes[axis] for axis in axes])
    moved = stack([getitem(field, (slice(None), axis)) for axis in axes], -1)
    kind = field.dtype
    at = add(
        mul(moved, Tensor(_C.Array(scale.astype(kind), field.device))),
        Tensor(_C.Array(base.astype(kind), field.device)),
    )
    return grid_sample(x, at, mode, padding_mode)
