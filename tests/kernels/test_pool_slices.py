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
    average, pool = getattr(kernels, f"avg_pool{rank}d"), getattr(kernels, f"max_pool{rank}d")
    # A single channel is contiguous by itself but not as a slice, and windows of contiguous images are summed
    # in another order: up to 27 terms of size 1, averaged.
    rounding = 0 if shape[1] > 1 else 4 * 2.0**-24
    for window in ((2,), (3, 1, 1)):
        np.testing.assert_array_equal(pool(part, *window), pool(x, *window))
        np.testing.assert_allclose(average(part, *window), average(x, *window), rtol=0, atol=rounding)
    for result, expected in zip(
        pool(part, 2, return_indices=True), pool(x, 2, return_indices=True), strict=True
    ):
        np.testing.assert_array_equal(result, expected)
