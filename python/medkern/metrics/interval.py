"""How sure a figure is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval of a statistic over samples, by the percentile bootstrap; Efron, 1979.

    The statistic is computed for `resamples` draws of as many samples with replacement; the interval holds
    the middle `confidence` of them. Samples must be independent: one per patient, not one per slice.

    Args:
        values: a sample per row.
        statistic: of the rows drawn, such as `np.mean` or a function of several columns.
        confidence: between 0 and 1.
        resamples: the number of draws.
        seed: of the draws.

    Returns:
        (low, high).

    Raises:
        ValueError: there is no sample, or a number is out of range.

    Example:
        >>> low, high = bootstrap_interval(np.array([0.8, 0.9, 0.85, 0.95]))
        >>> 0.8 <= low < high <= 0.95
        True
    """
    values = np.asarray(values)
    if values.ndim == 0 or len(values) == 0:
        raise ValueError(f"bootstrap_interval: values must hold at least one sample, got {values.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"bootstrap_interval: confidence must lie between 0 and 1, got {confidence}")
    if resamples < 1:
        raise ValueError(f"bootstrap_interval: resamples must be at least 1, got {resamples}")
    rng = np.random.default_rng(seed)
    draws = [statistic(values[rng.integers(0, len(values), len(values))]) for _ in range(resamples)]
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
