"""Winograd's algorithm, which float32 convolutions take that are sums of correlations with small filters.

CUDA has none: what is asked for as "direct" and what is not is the same there, and right at these shapes too.
"""

import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import conv as reference

# max |y - ref| / (2^-24 max sum |x||w|): 2 to 12 were measured at all these sizes, 25 to 40 with the
# textbook's points; mistakes are millions. The largest sum of an image stands for those of a tile: at
# the borders few products reach an element, but all of its tile reach its rounding error.
UNITS = 16

NONE, ONE, TWO = (0, 0), (1, 1), (2, 2)
# x shape, output channels, padding. Sizes lie around the 4x4 tile, channels around vectors and panels.
CASES = [
    *[((1, 32, n, n + 2), 32, [ONE, ONE]) for n in range(1, 14)],
    ((2, 33, 9, 17), 17, [ONE, ONE]),
    ((1, 48, 14, 15), 65, [NONE, NONE]),
    ((3, 40, 11, 10), 24, [TWO, (3, 0)]),
    ((1, 31, 12, 9), 47, [(0, 2), (-1, 1)]),
    ((1, 24, 40, 150), 33, [ONE, ONE]),
    ((1, 64, 6, 9), 300, [ONE, ONE]),
    ((1, 300, 9, 6), 32, [ONE, ONE]),
    ((1, 32, 5, 8, 12), 32, [ONE, ONE, ONE]),
    ((2, 17, 11, 8, 7), 33, [NONE, ONE, (1, 2)]),
    ((1, 33, 3, 20, 16), 18, [TWO, NONE, ONE]),
]
FORWARD = {2: kernels.conv2d, 3: kernels.conv3d}


def skip_most_on_cuda(isa, layout, shape, outputs, kernel):
    """One layout of each shape is enough, and an emulated device is slow."""
    taps = int(np.prod(kernel))
    if isa == "cuda" and FORMATS[sum(shape) % 2] is not layout:
        pytest.skip("another layout's turn")
    if isa == "cuda" and np.prod(shape) * outputs * taps > 1e7:
        pytest.skip("large")


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def assert_within_units(y, expected, sums):
    assert y.dtype == np.float32
    units = np.abs(y - expected).max() / sums.max() * 2**24
    assert units <= UNITS


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("shape,outputs,padding", CASES)
def test_against_the_formula(isa, rng, shape, outputs, padding, layout):
    rank = len(shape) - 2
    skip_most_on_cuda(isa, layout, shape, outputs, [3] * rank)
    window = ([1] * rank, padding, [1] * rank, 1)
    x, bias = layout(normal(rng, *shape)), normal(rng, outputs)
    weight = normal(rng, outputs, shape[1], *[3] * rank)
    expected = reference.conv(x, weight, bias, *window)
    sums = reference.conv(np.abs(x), np.abs(weight), np.abs(bias), *window)
    plan = kernels.conv_plan(weight, bias, *window)
    y = plan(x)
    direct = FORWARD[rank](x, weight, bias, *window, algorithm="direct")
    assert isa == "cuda" or (y != direct).any()  # it rounds as no direct sum does
    assert_within_units(y, expected, sums)
    y = kernels.conv_plan(weight, bias, *window, activation="relu")(x)
    assert_within_units(y, np.maximum(expected, 0), sums)
    # A plain call, which transforms the weights for itself, may find the image too small for that.
    plain = FORWARD[rank](x, weight, bias, *window)
    assert (plain == plan(x)).all() or (plain == direct).all()

    dy = layout(normal(rng, *expected.shape))
    expected = reference.conv_backward_input(dy, weight, shape, *window)
    sums = reference.conv_backward_input(np.abs(dy), np.abs(weight), shape, *window)
    dx = kernels.conv_backward_input(dy, weight, shape, *window)
    assert_within_units(dx, expected, sums)
    dx = kernels.conv_plan(weight, None, *window, transposed=True)(dy)
    assert_within_units(dx, expected, sums)


# Weights too many to be kept transformed. Rows of tiles make two groups, two waves, and slices.
LARGE = [((1, 300, 1, 270), 272), ((2, 2048, 1, 148), 40), ((2, 150, 3, 4, 6), 170), ((1, 290, 13, 5), 260)]


@pytest.mark.cpu
@pytest.mark.parametrize("layout", FORMATS[:2])
@pytest.mark.parametrize("shape,outputs", LARGE)
def test_many_channels(isa, rng, shape, outputs, layout):
    rank = len(shape) - 2
    window = ([1] * rank, [ONE] * rank, [1] * rank, 1)
    x, bias = layout(normal(rng, *shape)), normal(rng, outputs)
    weight = normal(rng, outputs, shape[1], *[3] * rank)
    plan = kernels.conv_plan(weight, bias, *window)
    assert plan.nbytes < 2 * weight.nbytes
    direct = FORWARD[rank](x, weight, bias, *window, algorithm="direct").astype(np.float64)
    sums = FORWARD[rank](np.abs(x), np.abs(weight), np.abs(bias), *window, algorithm="direct")
    y = plan(x)
    assert (y != direct).any()
    assert_within_units(y, direct, sums)
    for i in range(len(x)):
        np.testing.assert_array_equal(plan(x[i : i + 1])[0], y[i])
    plain = FORWARD[rank](x, weight, bias, *window)
    assert (plain == y).all() or (plain == direct).all()
    dx = kernels.conv_plan(weight, None, *window, transposed=True)(y)
    direct = kernels.conv_backward_input(y, weight, shape, *window, algorithm="direct")
    sums = kernels.conv_backward_input(np.abs(y), np.abs(weight), shape, *window, algorithm="direct")
    assert (dx != direct).any()
    assert_within_units(dx, direct.astype(np.float64), sums)


def test_plain_calls_take_it_too(isa, rng):
    x, weight = normal(rng, 1, 32, 16, 16), normal(rng, 32, 32, 3, 3)
    plan = kernels.conv_plan(weight, padding=1)
    np.testing.assert_array_equal(kernels.conv2d(x, weight, padding=1), plan(x))
    plan = kernels.conv_plan(weight, padding=1, transposed=True)
    dx = kernels.conv_backward_input(x, weight, x.shape, padding=1)
    np.testing.assert_array_equal(dx, plan(x))
    direct = kernels.conv_backward_input(x, weight, x.shape, padding=1, algorithm="direct")
    assert (dx == direct).all() if isa == "cuda" else (dx != direct).any()


def test_the_result_has_any_format_whatever_x_has(isa, rng):
    x, weight, bias = normal(rng, 2, 40, 9, 13), normal(rng, 24, 40, 3, 3), normal(rng, 24)
    y = kernels.conv2d(x, weight, bias, padding=1)
    for layout in FORMATS[:2]:
        for to in FORMATS[:2]:
            out = to(np.full_like(y, 7))
            kernels.conv2d(layout(x), weight, bias, padding=1, out=out)
            np.testing.assert_array_equal(out, y)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_same_bits_alone_and_in_a_batch_and_at_any_number_of_threads(isa, rng, rank):
    shape = (3, 40, 9, 25) if rank == 2 else (3, 24, 9, 9, 9)
    x, weight = normal(rng, *shape), normal(rng, 36, shape[1], *[3] * rank)
    before = medkern.get_num_threads()
    results = []
    try:
        for threads in (1,) if isa == "cuda" else (1, 2, 3):
            medkern.set_num_threads(threads)
            for layout in (np.ascontiguousarray, channels_last):
                together = FORWARD[rank](layout(x), weight, padding=1)
                results.append(together)
                for i in range(3):
                    alone = FORWARD[rank](layout(x[i : i + 1]), weight, padding=1)
                    np.testing.assert_array_equal(alone[0], together[i])
    finally:
        medkern.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.cpu
def test_nan_and_infinity_reach_the_whole_tile_and_no_other(isa):
    x = np.zeros((1, 32, 16, 20), np.float32)
    x[0, 3, 5, 9] = np.nan  # inside the tile of rows 4 to 7 and columns 8 to 11
    x[0, 7, 12, 2] = np.inf  # in the first row of a tile: of the tile above only the last row reads it
    y = kernels.conv2d(x, np.ones((32, 32, 3, 3), np.float32), padding=1)
    assert np.isnan(y[0, :, 4:8, 8:12]).all()
    assert not np.isfinite(y[0, :, 11:16, 0:4]).any()
    rest = y.copy()
    rest[0, :, 4:8, 8:12] = 0
    rest[0, :, 11:16, 0:4] = 0
    assert (rest == 0).all()


# x shape, output channels, kernel, stride, padding, dilation: phases of different sizes, filters of 2 to
# 5 taps, cut ones, splits and classes, and axes that differ.
WINDOWS = [
    ((1, 32, 17, 22), 33, (3, 3), (1, 1), [TWO, TWO], (2, 2)),
    ((2, 33, 19, 14), 32, (3, 3), (1, 1), [(4, 3), (5, 4)], (4, 3)),
    ((1, 16, 2, 30), 32, (3, 3), (1, 1), [(3, 3), (3, 3)], (3, 3)),  # fewer rows than phases
    ((1, 24, 6, 16, 17), 32, (3, 3, 3), (1, 1, 1), [TWO, TWO, TWO], (2, 2, 2)),
    ((1, 32, 13, 11), 40, (5, 5), (1, 1), [TWO, TWO], (1, 1)),
    ((2, 32, 12, 18), 32, (4, 4), (1, 1), [ONE, (2, 1)], (1, 1)),
    ((1, 32, 21, 20), 32, (7, 7), (1, 1), [(3, 3), (3, 3)], (1, 1)),
    ((1, 32, 20, 23), 32, (5, 3), (1, 1), [TWO, ONE], (1, 1)),
    ((2, 32, 20, 30), 64, (4, 4), (2, 2), [ONE, ONE], (1, 1)),
    ((1, 64, 33, 30), 32, (6, 6), (2, 2), [TWO, TWO], (1, 1)),
    ((1, 64, 33, 30), 32, (6, 5), (2, 2), [TWO, ONE], (1, 1)),
    ((2, 300, 8, 10), 40, (2, 2), (1, 1), [NONE, ONE], (1, 1)),  # three points
    ((1, 32, 30, 31), 64, (3, 3), (2, 2), [TWO, ONE], (2, 2)),
    ((1, 300, 20, 24), 150, (4, 4), (2, 2), [ONE, ONE], (1, 1)),  # weights not kept transformed
    ((1, 160, 12, 12), 130, (5, 5), (1, 1), [TWO, TWO], (1, 1)),
]


@pytest.mark.parametrize("layout", FORMATS[:2])
@pytest.mark.parametrize("case", WINDOWS)
def test_other_windows(isa, rng, case, layout):
    shape, outputs, kernel, stride, padding, dilation = case
    skip_most_on_cuda(isa, layout, shape, outputs, kernel)
    window = (stride, padding, dilation, 1)
    x, bias = layout(normal(rng, *shape)), normal(rng, outputs)
    weight = normal(rng, outputs, shape[1], *kernel)
    expected = reference.conv(x, weight, bias, *window)
    sums = reference.conv(np.abs(x), np.abs(weight), np.abs(bias), *window)
    plan = kernels.conv_plan(weight, bias, *window)
    y, direct = plan(x), FORWARD[len(kernel)](x, weight, bias, *window, algorithm="direct")
    assert (y == direct).all() if isa == "cuda" else (y != direct).any()
    assert_within_units(y, expected, sums)
    # A plain call, which transforms the weights for itself, may find another way better.
    assert_within_units(FORWARD[len(kernel)](x, weight, bias, *window), expected, sums)
    for i in range(len(x)):
        np.testing.assert_array_equal(plan(x[i : i + 1])[0], y[i])

    dy = layout(normal(rng, *expected.shape))
    expected = reference.conv_backward_input(dy, weight, shape, *window)
    sums = reference.conv_backward_input(np.abs(dy), np.abs(weight), shape, *window)
    assert_within_units(kernels.conv_backward_input(dy, weight, shape, *window), expected, sums)


# Input shape, output channels, stride, kernel, padding, output padding.
TRANSPOSED = [
    ((3, 64, 8, 8), 64, (2, 2), (4, 4), 1, 0),
    ((1, 64, 9, 7), 97, (2, 2), (4, 4), 1, 1),
    ((2, 64, 11, 13), 96, (2, 3), (4, 6), 2, 0),
    ((1, 64, 9, 10), 48, (2, 2), (5, 5), 2, 1),
    ((2, 256, 12, 14), 100, (2, 2), (4, 4), 1, 0),  # weights not kept transformed
]


@pytest.mark.parametrize("layout", FORMATS[:2])
@pytest.mark.parametrize("shape,outputs,stride,kernel,padding,extra", TRANSPOSED)
def test_transposed(isa, rng, shape, outputs, stride, kernel, padding, extra, layout):
    skip_most_on_cuda(isa, layout, shape, outputs, kernel)
    x, bias = layout(normal(rng, *shape)), normal(rng, outputs)
    weight = normal(rng, shape[1], outputs, *kernel)
    window = (stride, padding, extra)
    oracle = (stride, [(padding, padding)] * 2, [extra, extra], 1, (1, 1))
    expected = reference.conv_transpose(x, weight, bias, *oracle)
    sums = reference.conv_transpose(np.abs(x), np.abs(weight), np.abs(bias), *oracle)
    options = {"stride": stride, "padding": padding, "output_padding": extra}
    plan = kernels.conv_plan(weight, bias, transposed=True, **options)
    y = plan(x)
    direct = kernels.conv_transpose2d(x, weight, bias, *window, algorithm="direct")
    assert (y == direct).all() if isa == "cuda" else (y != direct).any()
    assert_within_units(y, expected, sums)
    assert_within_units(kernels.conv_transpose2d(x, weight, bias, *window), expected, sums)
    for i in range(len(x)):
        np.testing.assert_array_equal(plan(x[i : i + 1])[0], y[i])


def test_float64_groups_and_points_stay_direct(isa, rng):
    x = rng.integers(-4, 5, (1, 32, 24, 24)).astype(np.float32)
    weight = rng.integers(-4, 5, (32, 32, 3, 3)).astype(np.float32)
    for kernel, stride, groups in [(3, 1, 2), (1, 1, 1), (2, 2, 1)]:
        window = ([stride] * 2, [ONE, ONE], [1, 1], groups)
        part = np.ascontiguousarray(weight[:, : 32 // groups, :kernel, :kernel])
        np.testing.assert_array_equal(
            kernels.conv2d(x, part, None, *window), reference.conv(x, part, None, *window)
        )
    y = kernels.conv2d(x.astype(np.float64), weight.astype(np.float64), padding=1)
    np.testing.assert_array_equal(y, reference.conv(x, weight, None, [1, 1], [ONE, ONE], [1, 1], 1))
