"""How the direct convolution cuts its work: boxes inside and at the border, few channels, depthwise."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import conv as reference

FORWARD = {1: kernels.conv1d, 2: kernels.conv2d, 3: kernels.conv3d}

# x shape, output channels, kernel, stride, padding, dilation, groups. Large enough for many boxes: those
# in the middle are read in place, those at the border copied.
CASES = [
    # few result channels: around the four that are summed together, channels around a vector
    ((1, 32, 45, 50), 1, (3, 3), 1, 1, 1, 1),
    ((2, 16, 40, 67), 2, (1, 1), 1, 0, 1, 1),
    ((1, 17, 37, 70), 3, (3, 3), 1, 1, 1, 1),
    ((1, 48, 41, 66), 4, (3, 2), 2, 1, 1, 1),
    ((1, 20, 39, 40), 5, (3, 3), 1, 2, 2, 1),
    ((1, 33, 30, 44), 8, (2, 2), 1, 0, 1, 1),
    ((1, 16, 11, 12, 40), 1, (3, 3, 3), 1, 1, 1, 1),
    ((1, 40, 300), 2, (5,), 1, 2, 1, 1),
    # few channels, in the order in which they come
    ((1, 1, 60, 70), 17, (3, 3), 1, 1, 1, 1),
    ((1, 3, 75, 76), 33, (7, 7), 2, 3, 1, 1),
    ((1, 8, 33, 64), 32, (3, 3), 1, 0, 1, 1),
    ((1, 9, 33, 64), 16, (3, 3), 1, 1, 1, 1),
    ((2, 1, 12, 13, 30), 16, (3, 3, 3), 1, 1, 1, 1),
    ((1, 6, 40, 41), 12, (3, 3), 1, 1, 1, 3),
    # the same to results in planes: around one, two and three vectors of pixels, 8 + 4 + 2 + 1 channels
    ((1, 1, 9, 49), 15, (3, 3), 1, 1, 1, 1),
    ((2, 2, 7, 96), 7, (3, 2), 1, 0, 1, 1),
    ((1, 1, 5, 17), 40, (3, 3), 1, 2, 2, 1),
    ((1, 4, 31), 9, (4,), 1, 0, 1, 1),
    # depthwise: whole vectors of channels and rests, rows of whole eights and rests
    ((1, 32, 40, 41), 32, (3, 3), 1, 1, 1, 32),
    ((1, 21, 50, 61), 21, (3, 3), 2, 1, 1, 21),
    ((1, 16, 33, 40), 16, (5, 5), 1, 2, 1, 16),
    ((1, 16, 40, 44), 16, (3, 3), 1, 3, 3, 16),
    ((2, 18, 9, 12, 13), 18, (3, 3, 3), 1, 1, 1, 18),
    ((1, 20, 30, 27), 20, (7, 7), 1, 3, 1, 20),
    ((1, 16, 31, 30), 16, (5, 5), 2, 2, 1, 16),
    ((2, 33, 5, 3), 33, (5, 5), 1, 4, 1, 33),
    ((1, 17, 20, 9), 17, (1, 4), 1, 0, 1, 17),
    ((1, 24, 14, 40), 24, (3, 3), 3, 2, 1, 24),
    # many channels: rows at the border, dilation that copies tap by tap, joined rows
    ((1, 24, 36, 70), 8, (3, 3), 1, 1, 1, 1),
    ((1, 40, 44, 45), 40, (3, 3), 1, 6, 6, 1),
    ((1, 20, 40, 40), 36, (3, 3), 1, 25, 25, 1),
    ((3, 40, 25, 24), 70, (1, 1), 1, 0, 1, 1),
    ((1, 40, 45, 44), 36, (1, 1), 2, 0, 1, 1),
    ((1, 20, 50, 44), 34, (3, 3), 2, 1, 1, 1),
    ((1, 20, 14, 15, 16), 18, (3, 3, 3), 1, 1, 1, 1),
]
CASE = "shape,outputs,kernel,stride,padding,dilation,groups"


def integers(rng, shape, dtype):
    """Values whose products and sums are exact in float32: results must be exact too."""
    return rng.integers(-4, 5, shape).astype(dtype)


@pytest.mark.parametrize(
    ("layout", "dtype"),
    [(np.ascontiguousarray, np.float32), (channels_last, np.float32), (channels_last, np.float64)],
)
@pytest.mark.parametrize(CASE, CASES)
def test_every_box_is_exact(
    isa, rng, shape, outputs, kernel, stride, padding, dilation, groups, layout, dtype
):
    x = layout(integers(rng, shape, dtype))
    weight = integers(rng, (outputs, shape[1] // groups, *kernel), dtype)
    bias = integers(rng, outputs, dtype)
    rank = len(kernel)
    window = ([stride] * rank, [(padding, padding)] * rank, [dilation] * rank, groups)
    expected = reference.conv(x, weight, bias, *window)
    forward = FORWARD[rank]
    options = {"groups": groups, "algorithm": "direct"}
    y = forward(x, weight, bias, stride, padding, dilation, activation="relu", **options)
    np.testing.assert_array_equal(y, np.maximum(expected, 0))
    # The gradient of the input: to as many channels as x has, from as many as there are outputs.
    dy = layout(integers(rng, expected.shape, dtype))
    dx = kernels.conv_backward_input(dy, weight, shape, *window, algorithm="direct")
    np.testing.assert_array_equal(dx, reference.conv_backward_input(dy, weight, shape, *window))


# x shape, output channels, kernel, stride, padding
TRANSPOSED = [
    ((1, 20, 24, 25), 17, (2, 2), 2, 0),
    ((3, 20, 9, 8), 33, (4, 4), 2, 1),
    ((2, 20, 12, 13), 1, (4, 4), 2, 1),
    ((1, 3, 20, 21), 16, (3, 3), 2, 1),
    ((1, 24, 7, 8, 9), 16, (2, 2, 2), 2, 0),
    ((1, 17, 20, 20), 18, (2, 3), 3, 0),
]


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize(("shape", "outputs", "kernel", "stride", "padding"), TRANSPOSED)
def test_every_class_of_a_box_is_exact(isa, rng, shape, outputs, kernel, stride, padding, layout):
    x = layout(integers(rng, shape, np.float32))
    weight = integers(rng, (shape[1], outputs, *kernel), np.float32)
    bias = integers(rng, outputs, np.float32)
    function = kernels.conv_transpose2d if len(kernel) == 2 else kernels.conv_transpose3d
    y = function(x, weight, bias, stride, padding, algorithm="direct")
    rank = len(kernel)
    window = ([stride] * rank, [(padding, padding)] * rank, [0] * rank, 1, [1] * rank)
    np.testing.assert_array_equal(y, reference.conv_transpose(x, weight, bias, *window))


@pytest.mark.parametrize(
    ("channels", "outputs", "groups"), [(40, 1, 1), (40, 3, 1), (1, 40, 1), (40, 40, 40)]
)
def test_the_bits_depend_neither_on_threads_nor_on_the_batch(isa, rng, channels, outputs, groups):
    before = medkern.get_num_threads()
    x = channels_last(rng.standard_normal((3, channels, 50, 61)).astype(np.float32))
    weight = rng.standard_normal((outputs, channels // groups, 3, 3)).astype(np.float32)
    try:
        results = []
        for threads in (1, 2, 4):
            medkern.set_num_threads(threads)
            results.append(kernels.conv2d(x, weight, padding=1, groups=groups, algorithm="direct"))
    finally:
        medkern.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    for i in range(3):
        alone = kernels.conv2d(x[i : i + 1], weight, padding=1, groups=groups, algorithm="direct")
        np.testing.assert_array_equal(alone[0], results[0][i])


@pytest.mark.parametrize(("channels", "outputs", "groups"), [(20, 2, 1), (20, 20, 20), (2, 20, 1)])
def test_nan_and_infinity_pass(isa, channels, outputs, groups):
    weight = np.ones((outputs, channels // groups, 3, 3), np.float32)
    for layout in FORMATS:
        x = np.zeros((1, channels, 20, 40), np.float32)
        x[0, 1, 2, 3], x[0, 1, 15, 25] = np.nan, np.inf
        y = kernels.conv2d(layout(x), weight, padding=1, groups=groups, activation="relu", algorithm="direct")
        reached = slice(None) if groups == 1 else slice(1, 2)
        number = outputs if groups == 1 else 1
        assert np.isnan(y[0, reached, 1:4, 2:5]).all() and np.isnan(y).sum() == 9 * number
        assert (y[0, reached, 14:17, 24:27] == np.inf).all() and np.isinf(y).sum() == 9 * number


@pytest.mark.parametrize(
    ("channels", "outputs", "groups"), [(20, 2, 1), (20, 20, 20), (2, 20, 1), (20, 40, 1)]
)
def test_padding_is_multiplied_too(isa, channels, outputs, groups):
    weight = np.ones((outputs, channels // groups, 3, 3), np.float32)
    weight[:, :, 0, 0] = np.inf  # times 0 is no number
    for layout in FORMATS:
        x = layout(np.ones((1, channels, 5, 30), np.float32))
        y = kernels.conv2d(x, weight, padding=1, groups=groups, algorithm="direct")
        assert np.isnan(y[:, :, 0]).all() and np.isnan(y[:, :, :, 0]).all()
        assert (y[:, :, 1:, 1:] == np.inf).all()


@pytest.mark.parametrize(
    ("channels", "outputs", "groups"), [(32, 32, 32), (17, 17, 17), (32, 2, 1), (2, 17, 1)]
)
def test_the_bits_do_not_depend_on_where_x_lies(isa, rng, channels, outputs, groups):
    weight = rng.standard_normal((outputs, channels // groups, 3, 3)).astype(np.float32)
    memory = rng.standard_normal(16 + channels * 20 * 21).astype(np.float32)
    first = -memory.ctypes.data // 4 % 16
    results = []
    for offset in (first, first - 5):
        x = memory[offset % 16 :][: channels * 20 * 21]
        x[:] = np.arange(x.size) % 97 / 7
        x = x.reshape(1, 20, 21, channels).transpose(0, 3, 1, 2)
        results.append(kernels.conv2d(x, weight, padding=1, groups=groups, algorithm="direct"))
    np.testing.assert_array_equal(*results)


def guarded(x):
    """A copy of x in a mapping of its own that ends with it: to read on is to crash."""
    page = mmap.PAGESIZE
    size = -(-x.nbytes // page) * page
    memory = mmap.mmap(-1, size + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + size), ctypes.c_size_t(page), 0) == 0
    copy = np.frombuffer(memory, x.dtype, x.size, size - x.nbytes).reshape(x.shape)
    copy[...] = x
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect is called with Linux's numbers")
@pytest.mark.parametrize(CASE, CASES[::2])
def test_nothing_behind_x_is_read(isa, rng, shape, outputs, kernel, stride, padding, dilation, groups):
    weight = guarded(integers(rng, (outputs, shape[1] // groups, *kernel), np.float32))
    bias = guarded(integers(rng, outputs, np.float32))
    axes = (0, *range(2, len(shape)), 1)
    for layout in (lambda a: guarded(a), lambda a: np.moveaxis(guarded(a.transpose(axes)), -1, 1)):
        x = layout(integers(rng, shape, np.float32))
        options = {"groups": groups, "algorithm": "direct"}
        y = FORWARD[len(kernel)](x, weight, bias, stride, padding, dilation, **options)
        window = (
            [stride] * len(kernel),
            [(padding, padding)] * len(kernel),
            [dilation] * len(kernel),
            groups,
        )
        dx = kernels.conv_backward_input(layout(y), weight, shape, *window, algorithm="direct")
        assert dx.shape == shape
