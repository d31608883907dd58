"""What scanners measure of an image, and the images made of too few measurements: CT and MRI.

CT measures line integrals. With t along the detector, x to the right of the middle and y below it,

    p(theta, t) = integral of f over the line x cos theta + y sin theta = t

in units of a pixel. MRI measures the image's Fourier transform, here in whole columns.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def radon(images: np.ndarray, angles: Any) -> np.ndarray:
    """The Radon transform: line integrals by linear interpolation at steps of a pixel.

    Args:
        images: (..., H, W); 0 is assumed around them.
        angles: A angles theta in degrees.

    Returns:
        Sinograms float32 (..., A, D): D detectors at t = 0, +-1, ..., as many as any angle needs.

    Raises:
        ValueError: a shape doesn't fit.

    Example:
        >>> radon(np.ones((1, 2)), [0, 90])[:, 1:4].round(6).tolist()
        [[0.5, 1.0, 0.5], [0.0, 2.0, 0.0]]
    """
    images, angles = _expect("radon", "images", images, angles)
    *batch, height, width = images.shape
    pixels = np.ascontiguousarray(images.reshape(-1, height * width).T)  # each pixel's values side by side
    half = _half(height, width)
    reach = np.arange(-half, half + 1)
    result = np.empty((len(angles), 2 * half + 1, pixels.shape[1]), np.float32)
    for sums, theta in zip(result, np.deg2rad(angles), strict=True):
        # (D, S) places along each line.
        column = reach[:, None] * math.cos(theta) - reach * math.sin(theta) + (width - 1) / 2
        row = reach[:, None] * math.sin(theta) + reach * math.cos(theta) + (height - 1) / 2
        left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
        sums[...] = 0
        for i, j in np.ndindex(2, 2):
            at_row, at_column = top + i, left + j
            inside = (at_row >= 0) & (at_row < height) & (at_column >= 0) & (at_column < width)
            weight = (1 - np.abs(row - at_row)) * (1 - np.abs(column - at_column))
            detector, _ = np.nonzero(inside)  # in order
            starts = np.flatnonzero(np.diff(detector, prepend=-1))
            if not len(starts):
                continue
            taken = pixels[(at_row * width + at_column)[inside]]
            taken *= weight[inside].astype(np.float32)[:, None]
            sums[detector[starts]] += np.add.reduceat(taken, starts, axis=0)
    return result.transpose(2, 0, 1).reshape(*batch, len(angles), 2 * half + 1)


def filtered_back_projection(sinograms: np.ndarray, angles: Any, shape: tuple[int, int]) -> np.ndarray:
    """The images whose line integrals those are, if the angles are many and spread evenly over 180 degrees.

        f(x, y) = pi / A sum over theta of (p(theta, .) * h)(x cos theta + y sin theta)

    with the ramp filter h of a band-limited detector, 1/4 at 0, -1 / (pi n)^2 at odd n and 0 at others, and
    linear interpolation; Kak and Slaney, 1988, chapter 3. With few angles streaks remain.

    Args:
        sinograms: (..., A, D), as `radon` gives them.
        angles: their angles in degrees.
        shape: (H, W) of the images.

    Returns:
        float32 (..., H, W).

    Raises:
        ValueError: a shape doesn't fit.
    """
    sinograms, angles = _expect("filtered_back_projection", "sinograms", sinograms, angles)
    *batch, count, detectors = sinograms.shape
    height, width = shape
    half = _half(height, width)
    if count != len(angles) or detectors != 2 * half + 1:
        raise ValueError(
            f"filtered_back_projection: sinograms must be (..., {len(angles)}, {2 * half + 1}) for as many "
            f"angles and {height} x {width} pixels, got {sinograms.shape}"
        )
    length = 2 ** math.ceil(math.log2(2 * detectors))  # no wrapping round
    n = np.minimum(np.arange(length), length - np.arange(length))
    ramp = np.where(n % 2 == 1, -1 / (math.pi * np.maximum(n, 1)) ** 2, 0.0)
    ramp[0] = 0.25
    spectrum = np.fft.rfft(sinograms.reshape(-1, count, detectors), length) * np.fft.rfft(ramp)
    filtered = np.fft.irfft(spectrum, length)[..., :detectors].astype(np.float32)
    filtered = np.ascontiguousarray(filtered.transpose(1, 2, 0))  # (A, D, N)
    y, x = np.mgrid[:height, :width].reshape(2, -1) - np.array([[height - 1], [width - 1]]) / 2
    result = np.zeros((height * width, filtered.shape[2]), np.float32)
    for profile, theta in zip(filtered, np.deg2rad(angles), strict=True):
        place = x * math.cos(theta) + y * math.sin(theta) + half
        before = np.floor(place).astype(np.int64)
        share = (place - before).astype(np.float32)[:, None]
        result += profile[before] * (1 - share)
        result += profile[np.minimum(before + 1, detectors - 1)] * share
    result *= math.pi / count
    return result.T.reshape(*batch, height, width)


def column_mask(
    width: int, rng: np.random.Generator, acceleration: float = 4.0, center: float = 0.08
) -> np.ndarray:
    """Which columns of the Fourier transform are measured: those in the middle, and others at random.

    Args:
        width: how many there are.
        rng: draws the others.
        acceleration: width / acceleration columns are measured in all, rounded.
        center: the share of the columns, about frequency 0, that are measured always.

    Returns:
        bool (width,), frequency 0 at width // 2.

    Raises:
        ValueError: a number is out of range.
    """
    wanted = round(width / acceleration)
    middle = max(1, round(width * center))
    if not (acceleration >= 1 and 0 <= center <= 1 and middle <= wanted):
        raise ValueError(
            "column_mask: acceleration must be at least 1 and center a share that leaves columns to draw, "
            f"got {acceleration} and {center} for {width} columns"
        )
    mask = np.zeros(width, bool)
    start = width // 2 - middle // 2
    mask[start : start + middle] = True
    mask[rng.choice(np.flatnonzero(~mask), wanted - middle, replace=False)] = True
    return mask


def zero_filled(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The absolute values of images whose Fourier transform was measured in some columns and is 0 in others.

    Args:
        images: (..., H, W).
        mask: bool (W,), as `column_mask` gives it.

    Returns:
        float32 (..., H, W).

    Raises:
        ValueError: a shape doesn't fit.
    """
    images = np.asarray(images)
    return np.abs(_joined("zero_filled", np.zeros_like(images), images, mask)).astype(np.float32)


def with_columns(images: np.ndarray, measured: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Images whose Fourier transform has the measured columns of another's: what was measured is put back.

    Args:
        images: (..., H, W), such as what a network made of a zero-filled image.
        measured: the images that were measured, of the same shape.
        mask: bool (W,), which columns were.

    Returns:
        The real part, float32 (..., H, W).

    Raises:
        ValueError: a shape doesn't fit.
    """
    return _joined("with_columns", images, measured, mask).real.astype(np.float32)


def _joined(op: str, images: Any, measured: Any, mask: Any) -> np.ndarray:
    """The inverse transform of measured columns and, where there are none, those of the images."""
    images, measured, mask = np.asarray(images), np.asarray(measured), np.asarray(mask)
    if images.ndim < 2 or mask.shape != images.shape[-1:] or measured.shape != images.shape:
        raise ValueError(
            f"{op}: mask must have shape (W,) for images (..., H, W) and as many measured, got {mask.shape} "
            f"for {images.shape} and {measured.shape}"
        )
    # The columns come by a transform along rows; the one along columns would be undone.
    spectra = (np.fft.fft(x, axis=-1) for x in (measured, images))
    return np.fft.ifft(np.where(np.fft.ifftshift(mask), *spectra), axis=-1)


def _half(height: int, width: int) -> int:
    """How far from the middle a detector is needed."""
    return math.ceil(math.hypot(height, width) / 2)


def _expect(op: str, name: str, arrays: Any, angles: Any) -> tuple[np.ndarray, np.ndarray]:
    arrays, angles = np.asarray(arrays, np.float32), np.asarray(angles, np.float64)
    if arrays.ndim < 2 or not arrays.size:
        raise ValueError(f"{op}: {name} must have at least 2 axes and no empty one, got {arrays.shape}")
    if angles.ndim != 1 or not len(angles):
        raise ValueError(f"{op}: angles must have shape (A,), A at least 1, got {angles.shape}")
    return arrays, angles
