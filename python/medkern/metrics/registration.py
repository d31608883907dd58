"""Measures of displacement fields."""

from __future__ import annotations

import numpy as np


def jacobian_determinant(field: np.ndarray) -> np.ndarray:
    """How much the map o -> o + field[o] enlarges at each element: det(1 + d field / d o).

    Args:
        field: (axes, spatial), in elements, at least 2 along each axis; differences are central, one-sided
            at the edges.

    Returns:
        float64 (spatial): 1 where nothing changes, below 0 where space is folded over.

    Raises:
        ValueError: the field has another number of channels than axes.

    Example:
        >>> jacobian_determinant(np.zeros((2, 4, 4))).min()
        1.0
    """
    rank = field.ndim - 1
    if rank not in (2, 3) or len(field) != rank:
        raise ValueError(f"jacobian_determinant: field must have shape (axes, sizes), got {field.shape}")
    slopes = np.stack([np.stack(np.gradient(u.astype(np.float64))) for u in field])
    return np.linalg.det(np.moveaxis(slopes, (0, 1), (-2, -1)) + np.eye(rank))


def count_folds(field: np.ndarray) -> int:
    """The number of elements at which a field (axes, spatial) folds space over: a determinant below 0."""
    return int((jacobian_determinant(field) < 0).sum())
