"""Layers that change shapes, or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from medkern import functional
from medkern.nn.module import Module
from medkern.tensor import Tensor


class Identity(Module):
    """Gives x back."""

    def forward(self, x: Tensor) -> Tensor:
        """Gives x itself."""
        return x


class Flatten(Module):
    """Joins the axes from `start_dim` to `end_dim` into one.

    Args:
        start_dim: the first axis.
        end_dim: the last axis.
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1):
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C H W), by default."""
        return functional.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Splits one axis into several: the inverse of `Flatten`.

    Args:
        dim: the axis.
        unflattened_size: sizes of the new axes; one may be -1.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]):
        super().__init__()
        self.dim = dim
        self.unflattened_size = tuple(unflattened_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C H W) to (N, C, H, W), for dim 1 and size (C, H, W)."""
        axis = range(x.ndim)[self.dim]
        return functional.reshape(x, (*x.shape[:axis], *self.unflattened_size, *x.shape[axis + 1 :]))

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
