"""Convolution into some of the channels of a channels-last array, as compiled concatenations have them."""

import numpy as np
import pytest

from arrays import channels_last, slice_of
from medkern import kernels

SHAPES = [(2, 7, 9, 10), (1, 3, 4, 5, 6), (2, 5, 11), (1, 1, 8, 8), (2, 20, 6, 7)]
AROUND = [(0, 3), (2, 1), (4, 0)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
def test_convolution_writes_slices(isa, rng, shape, around, transposed, kernel):
    n, c, *spatial = shape
    x = channels_last(rng.standard_normal((n, 4, *spatial)).astype(np.float32))
    size = (kernel,) * len(spatial)
    weight = rng.standard_normal((4, c, *size) if transposed else (c, 4, *size)).astype(np.float32)
    bias = rng.standard_normal(c).astype(np.float32)
    plan = kernels.conv_plan(weight, bias, padding=kernel // 2, transposed=transposed, activation="relu")
    whole, part = slice_of(shape, *around)
    plan(x, out=part)
    np.testing.assert_array_equal(part, plan(x))
    others = np.delete(whole, np.s_[around[0] : around[0] + c], 1)
    assert (others == 7).all()


def test_other_layouts_are_refused(rng):
    x = rng.standard_normal((1, 2, 4, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="channels of a channels-last image"):
        kernels.conv2d(x, np.ones((3, 2, 1, 1), np.float32), out=np.zeros((1, 3, 4, 8), np.float32)[..., ::2])
