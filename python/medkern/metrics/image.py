"""How far a reconstructed image is from the true one."""

from __future__ import annotations

import math

import numpy as np

from medkern.extras import optional_import

_SIGMA, _RADIUS = 1.5, 5  # of the Gaussian window: 11 pixels along each axis
_K1, _K2 = 0.01, 0.03


def psnr(image: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """The peak signal-to-noise ratio in dB: 10 log10(data_range^2 / mean((image - truth)^2)).

    Args:
        image: any shape.
        truth: same shape.
        data_range: the largest value an image may have, less the smallest.

    Returns:
        Infinity if the two are the same.
    """
    image, truth = _expect("psnr", image, truth, data_range)
    error = float(np.mean((image - truth) ** 2))
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def ssim(image: np.ndarray, truth: np.ndarray, data_range: float) -> float:
    """The mean structural similarity; Wang, Bovik, Sheikh and Simoncelli, 2004.

        (2 mu_a mu_b + c1) (2 s_ab + c2) / ((mu_a^2 + mu_b^2 + c1) (s_aa + s_bb + c2))

    with means mu and (co)variances s in a Gaussian window of standard deviation 1.5 and 11 pixels, c1 = (0.01
    data_range)^2 and c2 = (0.03 data_range)^2, averaged where the window lies inside the image.

    Args:
        image: one channel, (H, W) or (D, H, W), at least 11 along each axis.
        truth: same shape.
        data_range: the largest value an image may have, less the smallest.

    Returns:
        At most 1, which is the same image.
    """
    image, truth = _expect("ssim", image, truth, data_range)
    if image.ndim == 0 or min(image.shape) < 2 * _RADIUS + 1:
        raise ValueError(f"ssim: every size must be at least {2 * _RADIUS + 1}, got {image.shape}")
    ndimage = optional_import("scipy.ndimage", "metrics")
    inside = tuple(slice(_RADIUS, size - _RADIUS) for size in image.shape)

    def mean(x: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(x, _SIGMA, truncate=_RADIUS / _SIGMA)[inside]

    mu_a, mu_b = mean(image), mean(truth)
    s_aa, s_bb = mean(image**2) - mu_a**2, mean(truth**2) - mu_b**2
    s_ab = mean(image * truth) - mu_a * mu_b
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    similarity = (2 * mu_a * mu_b + c1) * (2 * s_ab + c2)
    return float((similarity / ((mu_a**2 + mu_b**2 + c1) * (s_aa + s_bb + c2))).mean())


def _expect(
    op: str, image: np.ndarray, truth: np.ndarray, data_range: float
) -> tuple[np.ndarray, np.ndarray]:
    image, truth = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    if image.shape != truth.shape or not image.size:
        raise ValueError(
            f"{op}: image and truth must have the same shape and a pixel, got {image.shape} and {truth.shape}"
        )
    if not data_range > 0:
        raise ValueError(f"{op}: data_range must be positive, got {data_range}")
    return image, truth
