"""Data sets: anything with a length that gives (x, y) pairs by position."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Dataset(Protocol):
    """What a loader reads from: a list of (x, y) pairs is one already.

    For segmentation x is float32 (C, H, W) and y holds the class of every pixel, int64 (H, W).
    """

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample number `index`, from 0."""
        ...


class ArrayDataset:
    """Samples held in two arrays: x[i] belongs to y[i].

    Args:
        x: (N, ...).
        y: (N, ...).

    Raises:
        ValueError: the arrays differ in length or have none, or hold NaN or infinity; the message names the
            first such sample.

    Example:
        >>> data = ArrayDataset(np.zeros((10, 1, 32, 32), np.float32), np.zeros((10, 32, 32), np.int64))
        >>> len(data)
        10
    """

    def __init__(self, x: np.ndarray, y: np.ndarray):
        if x.ndim == 0 or y.ndim == 0:
            raise ValueError("ArrayDataset: x and y must have at least 1 dimension")
        if len(x) != len(y):
            raise ValueError(f"ArrayDataset: x and y must have the same length, got {len(x)} and {len(y)}")
        for name, values in (("x", x), ("y", y)):
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                wrong = next(i for i, sample in enumerate(values) if not np.isfinite(sample).all())
                raise ValueError(f"ArrayDataset: {name} of sample {wrong} holds NaN or infinity")
        self.x = x
        self.y = y

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.x[index], self.y[index]
