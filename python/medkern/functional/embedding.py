"""Embedding on tensors."""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.tensor import Tensor


class Embedding(Function):
    """Rows of a table, chosen by integers."""

    @staticmethod
    def forward(ctx: Node, indices: Tensor, weight: Tensor, *, padding_idx: int | None) -> _C.Array:
        """Keeps the indices."""
        ctx.save(indices)
        ctx.weight_shape, ctx.padding_idx = weight.shape, padding_idx
        return kernels.embedding(indices.array, weight.array, padding_idx)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[None, Tensor]:
        """Every row's gradient goes back to where it came from."""
        indices: Any
        (indices,) = ctx.saved
        dweight = kernels.embedding_backward(dy.array, indices.array, ctx.weight_shape, ctx.padding_idx)
        return None, Tensor(dweight)


def embedding(indices: Tensor, weight: Tensor, padding_idx: int | None = None) -> Tensor:
    """Differentiable `medkern.kernels.embedding`; the same arguments, shapes and errors.

    Example:
        >>> table = medkern.tensor(np.eye(3), requires_grad=True)
        >>> y = medkern.functional.embedding(medkern.tensor([2, 0]), table, padding_idx=0)
        >>> y.shape
        (2, 3)
    """
    return Embedding.apply(indices, weight, padding_idx=padding_idx)
