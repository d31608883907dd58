"""The gradient of convolution weights: by Winograd's algorithm, directly, depthwise."""

import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import conv as reference

NONE, ONE = (0, 0), (1, 1)

# x shape, outputs, kernel, padding. Channels lie around the vector (16, 8, 4) and the block (64),
# heights and widths around the tile (4), numbers of tiles around a block's.
CASES = [
    ((1, 8, 4, 4), 8, [3, 3], [ONE, ONE]),
    ((1, 16, 8, 8), 16, [3, 3], [ONE, ONE]),
    ((2, 9, 5, 6), 17, [3, 3], [ONE, ONE]),
    ((3, 15, 7, 9), 33, [3, 3], [ONE, ONE]),
    ((1, 17, 10, 6), 8, [3, 3], [NONE, NONE]),
    ((1, 31, 6, 7), 12, [3, 3], [(2, 0), (0, 2)]),
    ((1, 8, 9, 9), 9, [3, 3], [(-1, 1), (3, -2)]),
    ((1, 70, 9, 13), 130, [3, 3], [ONE, ONE]),
    ((4, 24, 37, 30), 40, [3, 3], [ONE, ONE]),
    ((1, 130, 20, 45), 70, [3, 3], [ONE, ONE]),
    ((1, 200, 9, 9), 200, [3, 3], [ONE, ONE]),
    ((2, 9, 5, 6, 7), 10, [1, 3, 3], [NONE, ONE, ONE]),
    ((2, 9, 3, 6, 7), 10, [1, 3, 3], [(1, 0), ONE, ONE]),
    ((2, 10, 5, 8, 7), 9, [3, 3, 3], [ONE, ONE, ONE]),
    ((1, 8, 1, 5, 5), 8, [3, 3, 3], [ONE, ONE, ONE]),
    ((1, 16, 3, 9, 9), 16, [3, 3, 3], [NONE, ONE, ONE]),
    ((1, 8, 6, 5, 9), 16, [2, 3, 3], [(3, 4), ONE, ONE]),
    ((1, 8, 6, 9, 9), 16, [3, 3, 3], [(-1, -2), NONE, ONE]),
    ((1, 33, 21, 21, 20), 40, [3, 3, 3], [ONE, ONE, ONE]),
    ((1, 70, 6, 8, 8), 66, [3, 3, 3], [ONE, ONE, ONE]),
    ((1, 16, 2, 48), 16, [3, 3], [(3, 3), (3, 3)], [1, 1], [3, 3]),  # more phases than rows
]

TWO = (2, 2)
# The same with stride and dilation: phases of different sizes, filters of 2 to 5 taps, cut ones, splits.
WINDOWS = [
    ((2, 16, 17, 22), 33, [3, 3], [TWO, TWO], [1, 1], [2, 2]),
    ((1, 33, 25, 26), 16, [3, 3], [(3, 2), (4, 4)], [1, 1], [4, 3]),
    ((2, 20, 6, 16, 17), 24, [3, 3, 3], [TWO, TWO, TWO], [1, 1, 1], [2, 2, 2]),
    ((1, 70, 15, 14), 40, [5, 5], [TWO, TWO], [1, 1], [1, 1]),
    ((2, 16, 12, 18), 16, [4, 4], [ONE, (2, 1)], [1, 1], [1, 1]),
    ((1, 16, 24, 21), 16, [7, 7], [(3, 3), (3, 3)], [1, 1], [1, 1]),
    ((1, 16, 40, 46), 24, [6, 6], [TWO, TWO], [2, 2], [1, 1]),
    ((2, 16, 23, 30), 16, [3, 3], [TWO, ONE], [2, 2], [2, 2]),
]


def gradients(rng, shape, outputs, kernel, padding, stride=None, dilation=None):
    rank = len(kernel)
    window = (stride or [1] * rank, padding, dilation or [1] * rank, 1)
    size = reference.output_size(shape[2:], kernel, *window[:3])
    x = rng.standard_normal(shape).astype(np.float32)
    dy = rng.standard_normal((shape[0], outputs, *size)).astype(np.float32)
    return dy, x, (outputs, shape[1], *kernel), window


@pytest.mark.parametrize("case", CASES + WINDOWS)
def test_agrees_with_the_oracle(isa, rng, case):
    # Winograd's values at six points lose a few bits, the same for all taps of a channel, whether or
    # not padding shortens their sums: 12.4 units of the largest sum of magnitudes of all taps were seen,
    # where direct sums have 1 to 4.
    dy, x, weight_shape, window = gradients(rng, *case)
    expected = reference.conv_backward_weight(dy, x, weight_shape, *window)
    magnitude = reference.conv_backward_weight(np.abs(dy), np.abs(x), weight_shape, *window)
    bound = 20 * 2.0**-24 * magnitude.max(axis=(-2, -1), keepdims=True)
    before = dy.copy(), x.copy()
    first = None
    for layout in FORMATS:
        dweight = kernels.conv_backward_weight(layout(dy), layout(x), weight_shape, *window)
        assert np.all(np.abs(dweight - expected) <= bound)
        first = dweight if first is None else first
        np.testing.assert_array_equal(dweight, first)
    np.testing.assert_array_equal(dy, before[0])
    np.testing.assert_array_equal(x, before[1])


@pytest.mark.parametrize("case", [((1, 16, 12, 12), 16, [3, 3], [ONE, ONE]), *WINDOWS])
def test_winograd_is_taken_and_direct_can_be_chosen(rng, case):
    dy, x, shape, window = gradients(rng, *case)
    direct = kernels.conv_backward_weight(dy, x, shape, *window, algorithm="direct")
    assert not np.array_equal(direct, kernels.conv_backward_weight(dy, x, shape, *window))
    medkern.set_algorithm("direct")
    try:
        chosen = kernels.conv_backward_weight(dy, x, shape, *window)
    finally:
        medkern.set_algorithm("automatic")
    np.testing.assert_array_equal(chosen, direct)


@pytest.mark.parametrize(
    "shape,outputs,kernel",
    [
        ((1, 40, 90, 70), 32, [3, 3]),  # chunks of tiles
        ((1, 130, 40, 40), 130, [3, 3]),  # one chunk of shared blocks
        ((1, 200, 9, 9), 200, [3, 3]),  # the only block
        ((1, 20, 10, 24, 24), 24, [3, 3, 3]),
    ],
)
def test_the_same_bits_at_any_number_of_threads(isa, rng, shape, outputs, kernel):
    dy, x, weight_shape, window = gradients(rng, shape, outputs, kernel, [ONE] * len(kernel))
    before = medkern.get_num_threads()
    results = []
    for threads in (1, 2, 3, 4):
        medkern.set_num_threads(threads)
        results.append(kernels.conv_backward_weight(dy, x, weight_shape, *window))
    medkern.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_direct_sums_of_small_integers_are_exact(isa, rng, dtype):
    # Few outputs of 1x1 kernels, wide dy whose panels are copied, panels that are tasks, many chunks.
    for shape, outputs, kernel, padding in [
        ((2, 20, 33, 47), 3, 1, 0),
        ((1, 17, 40, 40), 1, 1, 0),
        ((3, 16, 9, 5), 15, 1, 0),
        ((1, 5, 40, 60), 3, 1, 0),
        ((2, 90, 9, 21), 260, 3, 1),
        ((1, 30, 21, 21), 300, 3, 1),
        ((1, 4, 70, 90), 35, 3, 1),
    ]:
        x = rng.integers(-4, 5, shape).astype(dtype)
        dy = rng.integers(-4, 5, (shape[0], outputs, *shape[2:])).astype(dtype)
        weight_shape, window = (
            (outputs, shape[1], kernel, kernel),
            ([1, 1], [(padding, padding)] * 2, [1, 1], 1),
        )
        expected = reference.conv_backward_weight(dy, x, weight_shape, *window)
        for layout in FORMATS:
            dweight = kernels.conv_backward_weight(
                layout(dy), layout(x), weight_shape, *window, algorithm="direct"
            )
            np.testing.assert_array_equal(dweight, expected)


@pytest.mark.parametrize("stride,padding,dilation", [(1, 1, 1), (2, 1, 1), (1, 2, 2), (3, 4, 1), (1, 0, 1)])
def test_depthwise(isa, rng, stride, padding, dilation):
    for shape, kernel in [
        ((2, 17, 9, 11), [3, 3]),
        ((1, 33, 7, 6), [5, 4]),
        ((1, 8, 40, 50), [1, 7]),
        ((2, 5, 4, 5, 6), [3, 2, 3]),
    ]:
        rank = len(kernel)
        window = ([stride] * rank, [(padding, padding + 1)] * rank, [dilation] * rank, shape[1])
        size = reference.output_size(shape[2:], kernel, *window[:3])
        if min(size) < 1:
            continue
        x = rng.integers(-4, 5, shape).astype(np.float32)
        dy = rng.integers(-4, 5, (shape[0], shape[1], *size)).astype(np.float32)
        weight_shape = (shape[1], 1, *kernel)
        expected = reference.conv_backward_weight(dy, x, weight_shape, *window)
        for layout in FORMATS:
            dweight = kernels.conv_backward_weight(layout(dy), layout(x), weight_shape, *window)
            np.testing.assert_array_equal(dweight, expected)


def test_no_slice_of_x_meets_dy(isa, rng):
    # Every tap along the depth sees padding only, or there is nothing to sum over.
    dy, x, shape, window = gradients(rng, (1, 8, 2, 8, 8), 8, [2, 3, 3], [(3, -2), ONE, ONE])
    expected = reference.conv_backward_weight(dy, x, shape, *window)
    dweight = kernels.conv_backward_weight(dy, x, shape, *window)
    np.testing.assert_allclose(dweight, expected, atol=1e-4)
    empty = kernels.conv_backward_weight(dy[:0], x[:0], shape, *window)
    np.testing.assert_array_equal(empty, np.zeros(shape))


def test_nan_and_infinity_reach_the_taps_of_their_channel(isa):
    for value in (np.nan, np.inf):
        x, dy = np.ones((1, 16, 12, 12), np.float32), np.ones((1, 24, 12, 12), np.float32)
        x[0, 3, 5, 6] = value
        dweight = kernels.conv_backward_weight(channels_last(dy), x, (24, 16, 3, 3), padding=1)
        assert not np.isfinite(dweight[:, 3]).any()
        assert np.isfinite(np.delete(dweight, 3, axis=1)).all()
