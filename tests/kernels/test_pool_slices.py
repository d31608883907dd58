"""Pooling of some of the channels of a channels-last array, as compiled concatenations have them."""

import numpy as np
import pytest

from arrays import channels_last, slice_of
from medkern import kernels

SHAPES = [(2, 7, 9, 10), (1, 3, 4, 5, 6), (2, 5, 11), (1, 1, 8, 8), (2, 20, 6, 7)]
AROUND = [(0, 3), (2, 1), (4, 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("around", AROUND)
def test_pooling_reads_slices(isa, rng, shape, around):
    x = channels_last(rng.standard_normal(shape).astype(np.float32))
    _, part = slice_of(shape, *around)
    part[...] = x
    rank = len(shape) - 2
    for name in ("max_pool", "avg_pool"):
        pool = getattr(kernels, f"{name}{rank}d")
        for window in ((2,), (3, 1, 1)):
            np.testing.assert_array_equal(pool(part, *window), pool(x, *window))
    pool = getattr(kernels, f"max_pool{rank}d")
    for result, expected in zip(
        pool(part, 2, return_indices=True), pool(x, 2, return_indices=True), strict=True
    ):
        np.testing.assert_array_equal(result, expected)
