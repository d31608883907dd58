"""Transposed convolution, and convolution backward, of few pixels with many weights."""

import numpy as np
import pytest

import medkern
from arrays import FORMATS
from medkern import kernels
from reference import conv as reference

TRANSPOSE = {1: kernels.conv_transpose1d, 2: kernels.conv_transpose2d, 3: kernels.conv_transpose3d}

# x shape, output channels, kernel, stride, padding, output padding, dilation. Channels lie around
# vectors, 1024 of float32 a page apart; weights take several chunks, images several groups.
CASES = [
    ((2, 130, 3, 4), 150, [2, 2], [2, 2], [0, 0], [0, 0], [1, 1]),
    ((1, 1024, 4, 5), 33, [2, 2], [2, 2], [0, 0], [0, 0], [1, 1]),
    ((3, 200, 7, 7), 47, [3, 3], [2, 2], [1, 1], [1, 0], [1, 1]),
    ((1, 600, 5, 6), 20, [5, 4], [3, 2], [2, 1], [2, 1], [1, 1]),
    ((2, 160, 3, 5), 40, [3, 3], [3, 2], [2, 0], [0, 1], [2, 3]),
    ((1, 256, 2, 3, 4), 20, [2, 2, 2], [2, 2, 2], [0, 0, 0], [0, 0, 0], [1, 1, 1]),
    ((9, 700, 30), 24, [4], [2], [1], [0], [1]),
]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_small_integers_are_exact(isa, rng, case, dtype, layout):
    shape, outputs, kernel, stride, padding, extra, dilation = case
    x = layout(rng.integers(-4, 5, shape).astype(dtype))
    weight = rng.integers(-4, 5, (shape[1], outputs, *kernel)).astype(dtype)
    bias = rng.integers(-4, 5, outputs).astype(dtype)
    options = (stride, [(p, p) for p in padding], extra, 1, dilation)
    y = TRANSPOSE[len(kernel)](x, weight, bias, *options, activation="relu")
    expected = reference.conv_transpose(x, weight, bias, *options)
    np.testing.assert_array_equal(y, np.maximum(expected, 0))
    y = TRANSPOSE[len(kernel)](x, weight, None, *options)
    np.testing.assert_array_equal(y, reference.conv_transpose(x, weight, None, *options))


@pytest.mark.cpu
def test_it_is_taken_and_direct_can_be_chosen(isa, rng):
    dy = rng.standard_normal((2, 200, 7, 7)).astype(np.float32)
    weight = rng.standard_normal((200, 100, 3, 3)).astype(np.float32)
    window, shape = (2, 1), (2, 100, 14, 14)
    dx = kernels.conv_backward_input(dy, weight, shape, *window)
    direct = kernels.conv_backward_input(dy, weight, shape, *window, algorithm="direct")
    assert (dx != direct).any()
    oracle = ((2, 2), [(1, 1)] * 2, (1, 1), 1)
    expected = reference.conv_backward_input(dy, weight, shape, *oracle)
    sums = reference.conv_backward_input(np.abs(dy), np.abs(weight), shape, *oracle)
    assert np.all(np.abs(dx - expected) <= 8 * 2.0**-24 * sums)  # as direct sums: 1 to 4 units


def test_the_same_bits_alone_and_in_a_batch_and_at_any_number_of_threads(isa, rng):
    x = rng.standard_normal((40, 300, 5, 5)).astype(np.float32)
    weight = rng.standard_normal((300, 50, 2, 2)).astype(np.float32)
    together = kernels.conv_transpose2d(x, weight, stride=2)
    before = medkern.get_num_threads()
    try:
        for threads in (1, 2, 3):
            medkern.set_num_threads(threads)
            np.testing.assert_array_equal(kernels.conv_transpose2d(x, weight, stride=2), together)
            for i in (0, 20, 39):
                alone = kernels.conv_transpose2d(x[i : i + 1], weight, stride=2)
                np.testing.assert_array_equal(alone[0], together[i])
    finally:
        medkern.set_num_threads(before)


def test_nan_and_infinity_pass(isa):
    x, weight = np.zeros((1, 300, 4, 4), np.float32), np.ones((300, 60, 2, 2), np.float32)
    x[0, 7, 1, 2], x[0, 9, 3, 0] = np.nan, np.inf
    y = kernels.conv_transpose2d(x, weight, stride=2, activation="relu")
    assert np.isnan(y[0, :, 2:4, 4:6]).all() and np.isnan(y).sum() == 60 * 4
    assert (y[0, :, 6:8, 0:2] == np.inf).all() and np.isinf(y).sum() == 60 * 4
