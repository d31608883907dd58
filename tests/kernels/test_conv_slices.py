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


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("shift", [0, 1])  # elements from an address that is aligned to vectors
def test_large_results_have_the_bits_of_their_parts(isa, rng, transposed, shift):
    # 12.5 MiB, which are written past the caches if they are aligned; the parts are too small for that.
    x = channels_last(rng.standard_normal((1, 64, 160, 160) if transposed else (1, 64, 320, 320), np.float32))
    weight = rng.standard_normal((64, 32, 2, 2) if transposed else (32, 64, 1, 1), np.float32)
    options = {"stride": 2} if transposed else {}
    bias = rng.standard_normal(32, np.float32)
    plan = kernels.conv_plan(weight, bias, transposed=transposed, activation="relu", **options)
    memory = np.empty(320 * 320 * 32 + 32, np.float32)
    first = -memory.ctypes.data // 4 % 16 + shift
    y = memory[first : first + 320 * 320 * 32].reshape(1, 320, 320, 32).transpose(0, 3, 1, 2)
    plan(x, out=y)
    rows = x.shape[2] // 4
    for i in range(4):
        part = plan(channels_last(x[:, :, i * rows : (i + 1) * rows]))
        np.testing.assert_array_equal(y[:, :, 80 * i : 80 * (i + 1)], part)


def test_other_layouts_are_refused(rng):
    x = rng.standard_normal((1, 2, 4, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="channels of a channels-last image"):
        kernels.conv2d(x, np.ones((3, 2, 1, 1), np.float32), out=np.zeros((1, 3, 4, 8), np.float32)[..., ::2])
