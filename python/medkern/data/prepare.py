"""Preparing images: intensities, sizes, filters. Functions of NumPy arrays that give new ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medkern.data import geometry
from medkern.data.transforms import fit, gaussian_blur
from medkern.extras import optional_import


def _floats(x: np.ndarray) -> np.ndarray:
    """As float32, or float64 where it is."""
    return x if x.dtype == np.float64 else x.astype(np.float32)


def rescale(x: np.ndarray, low: float | None = None, high: float | None = None) -> np.ndarray:
    """Maps [low, high] to [0, 1]; the smallest and largest value of x where None.

    An image of one value becomes 0. Values beyond the given limits lie beyond 0 and 1 (see `clip`).

    Example:
        >>> rescale(np.array([2.0, 4.0, 3.0]))
        array([0. , 1. , 0.5])
    """
    x = _floats(x)
    low = float(x.min()) if low is None else low
    high = float(x.max()) if high is None else high
    return (x - low) / x.dtype.type((high - low) or 1)


def zscore(x: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """Subtracts the mean and divides by the standard deviation, both of the elements in the mask.

    An image of one value becomes 0.

    Raises:
        ValueError: the mask has another shape or is empty.
    """
    x = _floats(x)
    if mask is not None and (mask.shape != x.shape or not mask.any()):
        raise ValueError(f"zscore: mask must have shape {x.shape} and an element, got {mask.shape}")
    inside = x.astype(np.float64) if mask is None else x[mask != 0].astype(np.float64)
    return ((x - inside.mean()) / (inside.std() or 1)).astype(x.dtype)


def window(x: np.ndarray, center: float, width: float) -> np.ndarray:
    """Maps the window [center - width / 2, center + width / 2] to [0, 1] and clips, as a CT viewer does.

    Example:
        >>> window(np.array([-1000, 40, 240]), center=40, width=400)
        array([0. , 0.5, 1. ], dtype=float32)

    Raises:
        ValueError: the width is not above 0.
    """
    if not width > 0:
        raise ValueError(f"window: width must be above 0, got {width}")
    return rescale(x, center - width / 2, center + width / 2).clip(0, 1)


def clip(x: np.ndarray, low: float = 0.5, high: float = 99.5) -> np.ndarray:
    """Clips to percentiles of x.

    Raises:
        ValueError: not 0 <= low < high <= 100.
    """
    if not 0 <= low < high <= 100:
        raise ValueError(f"clip: percentiles must rise from 0 to 100, got {low} and {high}")
    return x.clip(*np.percentile(x, [low, high]).astype(x.dtype))


def resize(x: np.ndarray, size: Sequence[int], mode: str = "linear") -> np.ndarray:
    """The last axes of x (..., spatial) resampled to `size`, outer edges on outer edges.

    Args:
        x: any type; images are smoothed first along axes that shrink, by half a result's element, so that
            nothing is aliased.
        size: 2 or 3 numbers.
        mode: "linear", or "nearest" for labels (not smoothed).
    """
    rank = len(size)
    old = x.shape[x.ndim - rank :]
    ratio = [a / b for a, b in zip(old, size, strict=True)]
    if mode == "linear" and max(ratio) > 1:
        ndimage = optional_import("scipy.ndimage", "metrics")
        sigma = [0.0] * (x.ndim - rank) + [max(0.0, (r - 1) / 2) for r in ratio]
        kind = x.dtype
        x = ndimage.gaussian_filter(_floats(x), sigma, mode="nearest")
        x = np.rint(x).astype(kind) if kind.kind in "iu" else x
    matrix = np.diag([*ratio, 1.0])
    matrix[:-1, -1] = [(r - 1) / 2 for r in ratio]
    return geometry.resample(x, matrix, size, mode=mode)


def crop(x: np.ndarray, size: Sequence[int], fill: float | None = None) -> np.ndarray:
    """The middle of the last axes, filled where x is smaller: see `fit`."""
    return fit(x, size, fill)


def gaussian(x: np.ndarray, sigma: float) -> np.ndarray:
    """Images (C, spatial) smoothed by a Gaussian of `sigma` elements; edges repeat."""
    return gaussian_blur(_floats(x), sigma)


def median(x: np.ndarray, size: int = 3) -> np.ndarray:
    """Images (C, spatial): the median of `size` elements along each spatial axis; edges repeat.

    Raises:
        ModuleNotFoundError: SciPy is not installed.
    """
    ndimage = optional_import("scipy.ndimage", "metrics")
    return ndimage.median_filter(x, (1, *[size] * (x.ndim - 1)), mode="nearest")


def match_histogram(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Values of x replaced so that they are distributed as those of the reference; their order stays.

    A value is mapped to the one of the reference with the same share of elements at or below it, linear in
    between (`skimage.exposure.match_histograms`).
    """
    _, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    others, other_counts = np.unique(reference, return_counts=True)
    shares = np.cumsum(counts) / x.size
    mapped = np.interp(shares, np.cumsum(other_counts) / reference.size, others)
    return mapped[inverse].reshape(x.shape).astype(_floats(x[:0]).dtype)
