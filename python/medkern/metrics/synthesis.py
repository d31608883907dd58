"""How much made images are like real ones, by the features or classes a network sees in them.

Names of measures by Inception v3 (FID, IS) belong to that network; with the features of another one these
figures can be compared among themselves only.
"""

from __future__ import annotations

import numpy as np

from medkern.extras import optional_import


def frechet_distance(real: np.ndarray, made: np.ndarray) -> float:
    """The Frechet distance of two normal distributions fitted to features; Heusel et al., 2017.

        |mu_r - mu_m|^2 + trace(S_r + S_m - 2 (S_r S_m)^(1/2))

    Args:
        real: features of real images (N, F), N at least 2.
        made: features of made images (M, F), M at least 2.

    Returns:
        At least 0. It is biased upward by few samples: compare at equal numbers of them.
    """
    real, made = _expect("frechet_distance", real, made)
    linalg = optional_import("scipy.linalg", "metrics")
    gap = real.mean(axis=0) - made.mean(axis=0)
    s_real, s_made = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (real, made))
    # The trace of the root of S_r S_m is that of (R S_m R)^(1/2) with R = S_r^(1/2), which is symmetric.
    values, vectors = linalg.eigh(s_real)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    crossed = np.sqrt(np.maximum(linalg.eigvalsh(root @ s_made @ root), 0)).sum()
    return float(max(0.0, gap @ gap + np.trace(s_real) + np.trace(s_made) - 2 * crossed))


def kernel_distance(real: np.ndarray, made: np.ndarray) -> float:
    """The squared maximum mean discrepancy with the kernel (x . y / F + 1)^3; Binkowski et al., 2018 (KID).

    The unbiased estimate: its mean doesn't depend on the number of samples, and it may be below 0.

    Args:
        real: features of real images (N, F), N at least 2.
        made: features of made images (M, F), M at least 2.
    """
    real, made = _expect("kernel_distance", real, made)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def apart(x: np.ndarray) -> float:
        inner = kernel(x, x)
        return float((inner.sum() - np.trace(inner)) / (len(x) * (len(x) - 1)))

    return apart(real) + apart(made) - 2 * float(kernel(real, made).mean())


def inception_score(probabilities: np.ndarray) -> float:
    """exp(mean_n KL(p(class | n) || p(class))); Salimans et al., 2016.

    Args:
        probabilities: of classes, by a classifier, for each made image (N, C), rows that sum to 1.

    Returns:
        From 1 (all images alike, or none clear) to C (every image clear, all classes as often).
    """
    probabilities = np.asarray(probabilities, np.float64)
    if probabilities.ndim != 2 or not len(probabilities):
        raise ValueError(f"inception_score: probabilities must have shape (N, C), got {probabilities.shape}")
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ValueError("inception_score: every row of probabilities must sum to 1")
    tiny = np.finfo(np.float64).tiny
    ratio = np.log(np.maximum(probabilities, tiny)) - np.log(np.maximum(probabilities.mean(axis=0), tiny))
    return float(np.exp((probabilities * ratio).sum(axis=1).mean()))


def _expect(op: str, real: np.ndarray, made: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    real, made = np.asarray(real, np.float64), np.asarray(made, np.float64)
    if real.ndim != 2 or made.ndim != 2 or real.shape[1] != made.shape[1] or min(len(real), len(made)) < 2:
        raise ValueError(
            f"{op}: real and made must have shapes (N, F) and (M, F), N and M at least 2, got "
            f"{real.shape} and {made.shape}"
        )
    return real, made
