"""Embedding kernels."""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def embedding(indices: Any, weight: Any, padding_idx: int | None = None, *, out: Any = None) -> Any:
    """The rows of a table: y[..., :] = weight[indices[...], :].

    Args:
        indices: any shape, int64 or int32, each from 0 to V - 1.
        weight: (V, D), float32 or float64.
        padding_idx: a row that gets no gradient, negative to count from the end. It changes nothing
            in this pass.
        out: array for the result.

    Returns:
        The shape of `indices` followed by D, in the dtype of `weight`.

    Raises:
        ValueError: an index is out of range, or a shape doesn't fit.
        TypeError: `indices` are not integers, or `weight` is not float32 or float64.

    Example:
        >>> medkern.kernels.embedding(np.array([2, 0]), np.eye(3))
        array([[0., 0., 1.],
               [1., 0., 0.]])
    """
    return like(weight, _C.embedding(indices, weight, padding_idx, out))


def embedding_backward(
    dy: Any,
    indices: Any,
    weight_shape: tuple[int, ...],
    padding_idx: int | None = None,
    *,
    out: Any = None,
) -> Any:
    """The gradient of embedding: dweight[v, :] = sum of dy over the places where v was chosen.

    The terms of each sum are added in the order of `indices`.

    Args:
        dy: gradient of the result, the shape of `indices` followed by D.
        indices: as in the forward pass.
        weight_shape: (V, D).
        padding_idx: a row whose gradient is 0.
        out: array for the result.

    Returns:
        dweight, of shape `weight_shape`.

    Raises:
        ValueError: an index is out of range, or a shape doesn't fit.
        TypeError: a dtype doesn't fit.
    """
    return like(dy, _C.embedding_backward(dy, indices, weight_shape, padding_idx, out))
