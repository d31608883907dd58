"""Affine maps of images: matrices that take the place of an output element to that in the input.

All work on homogeneous coordinates (rank + 1, rank + 1), axes in the order of the array, in elements. The
conventions are those of Keras' `ImageDataGenerator`, whose matrices also lead from outputs to inputs: a shift
by s takes output o to input o + s, a zoom below 1 enlarges, a shear by a degrees adds -sin(a) times the
second coordinate to the first and scales the second by cos(a).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np

from medkern import kernels

Numbers = Sequence[float] | np.ndarray

FILLS = {"nearest": "border", "constant": "constant", "reflect": "reflection", "wrap": "wrap"}


def axis_pairs(rank: int) -> list[tuple[int, int]]:
    """The planes in which one can rotate and shear: (0, 1); in 3-D (0, 1), (0, 2), (1, 2)."""
    return list(itertools.combinations(range(rank), 2))


def rotation(rank: int, degrees: Numbers) -> np.ndarray:
    """Turns in each plane of `axis_pairs`, the first plane's applied last."""
    matrix = np.eye(rank + 1)
    for (i, j), angle in zip(axis_pairs(rank), degrees, strict=True):
        turn, radians = np.eye(rank + 1), math.radians(angle)
        turn[i, i] = turn[j, j] = math.cos(radians)
        turn[i, j], turn[j, i] = -math.sin(radians), math.sin(radians)
        matrix = matrix @ turn
    return matrix


def shear(rank: int, degrees: Numbers) -> np.ndarray:
    """Shears in each plane of `axis_pairs`."""
    matrix = np.eye(rank + 1)
    for (i, j), angle in zip(axis_pairs(rank), degrees, strict=True):
        part, radians = np.eye(rank + 1), math.radians(angle)
        part[i, j], part[j, j] = -math.sin(radians), math.cos(radians)
        matrix = matrix @ part
    return matrix


def shift(steps: Numbers) -> np.ndarray:
    """Output o reads input o + steps."""
    matrix = np.eye(len(steps) + 1)
    matrix[:-1, -1] = steps
    return matrix


def zoom(factors: Numbers) -> np.ndarray:
    """Multiplies distances in the input: below 1 the result is enlarged."""
    return np.diag([*factors, 1.0])


def mirror(sizes: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """Output o reads input size - 1 - o along these axes."""
    matrix = np.eye(len(sizes) + 1)
    for axis in axes:
        matrix[axis, axis], matrix[axis, -1] = -1, sizes[axis] - 1
    return matrix


def about_center(matrix: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The map with the center of the image, (size - 1) / 2, in place of element 0."""
    center = [(size - 1) / 2 for size in sizes]
    return shift(center) @ matrix @ shift([-c for c in center])


def resample(
    x: np.ndarray,
    matrix: np.ndarray,
    size: Sequence[int] | None = None,
    displacement: np.ndarray | None = None,
    mode: str = "linear",
    fill: str = "nearest",
    value: float = 0.0,
) -> np.ndarray:
    """Images (..., spatial) read through a map and a displacement, `medkern.kernels.affine_resample`.

    Args:
        x: any type; the last axes are those of the matrix.
        matrix: (rank + 1, rank + 1), from outputs to inputs.
        size: spatial sizes of the result; those of x where None.
        displacement: (rank, control points) of a cubic B-spline, in elements.
        mode: "linear", or "nearest" for labels.
        fill: what lies beyond the edges: "nearest", "constant", "reflect" (b a | a b) or "wrap".
        value: for "constant".

    Returns:
        A new array (..., size) of the type of x.

    Raises:
        ValueError: an unknown fill, or sizes that don't fit.
    """
    if fill not in FILLS:
        raise ValueError(f"fill must be one of {', '.join(FILLS)}, got {fill!r}")
    rank = len(matrix) - 1
    exact = x.dtype.kind in "iu" and x.dtype.itemsize > 2  # float32 holds 16 bits exactly
    planes = x.reshape(1, -1, *x.shape[x.ndim - rank :])
    planes = planes.astype(np.float64 if exact or x.dtype == np.float64 else np.float32, copy=False)
    y = kernels.affine_resample(
        planes,
        np.ascontiguousarray(matrix[None, :rank], np.float64),
        list(size) if size is not None else None,
        None if displacement is None else displacement[None].astype(planes.dtype),
        mode=mode,
        padding_mode=FILLS[fill],
        value=value if fill == "constant" else 0.0,
    )
    y = np.asarray(y).reshape(*x.shape[: x.ndim - rank], *y.shape[2:])
    if x.dtype.kind in "iu" and mode == "linear":
        limits = np.iinfo(x.dtype)
        y = np.clip(np.rint(y), limits.min, limits.max)
    return y.astype(x.dtype, copy=False)
