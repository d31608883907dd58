import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import _C, kernels
from reference import pool as reference

# shape, kernel_size, stride, padding (before, after), dilation, ceil_mode
CASES = [
    ((2, 3, 9), [2], [2], [(0, 0)], [1], False),
    ((1, 1, 7), [3], [2], [(1, 1)], [1], True),
    ((1, 2, 150), [3], [2], [(1, 1)], [1], False),
    ((1, 3, 2, 70), [1, 4], [1, 1], [(0, 0), (2, 2)], [1, 2], False),
    ((2, 5, 8, 8), [2, 2], [2, 2], [(0, 0), (0, 0)], [1, 1], False),
    ((1, 17, 7, 9), [3, 2], [2, 1], [(1, 1), (1, 0)], [1, 1], False),
    ((1, 16, 9, 7), [3, 3], [2, 2], [(1, 1), (1, 1)], [1, 1], True),
    ((1, 33, 10, 10), [3, 3], [1, 1], [(0, 1), (2, 2)], [2, 2], False),
    ((1, 4, 5, 5), [1, 1], [3, 3], [(0, 0), (0, 0)], [1, 1], False),
    ((1, 31, 4, 6, 5), [2, 2, 2], [2, 2, 2], [(0, 0)] * 3, [1, 1, 1], False),
    ((2, 3, 5, 6, 7), [3, 1, 2], [2, 2, 1], [(1, 1), (0, 0), (1, 1)], [1, 2, 1], True),
    ((0, 3, 4, 4), [2, 2], [2, 2], [(0, 0), (0, 0)], [1, 1], False),
    ((2, 0, 4, 4), [2, 2], [2, 2], [(0, 0), (0, 0)], [1, 1], False),
]
FORWARD = {1: kernels.max_pool1d, 2: kernels.max_pool2d, 3: kernels.max_pool3d}


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,kernel_size,stride,padding,dilation,ceil_mode", CASES)
def test_forward_and_backward(
    isa, rng, shape, kernel_size, stride, padding, dilation, ceil_mode, dtype, layout
):
    x = layout(rng.integers(-4, 5, shape).astype(dtype))  # small integers: many ties
    before = x.copy()
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    y, indices = FORWARD[len(shape) - 2](x, *options, return_indices=True)
    expected, expected_indices = reference.max_pool(x, *options)
    assert y.dtype == dtype and indices.dtype == np.int64
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(x, before)

    dy = layout(rng.integers(-4, 5, y.shape).astype(dtype))
    dx = kernels.max_pool_backward(dy, indices, shape, *options)
    np.testing.assert_array_equal(dx, reference.max_pool_backward(dy, indices, shape))


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,kernel_size,stride,padding,dilation,ceil_mode", CASES)
def test_one_byte_indices(isa, rng, shape, kernel_size, stride, padding, dilation, ceil_mode, dtype, layout):
    # What autograd keeps. Small integers: sums are exact in any order.
    x = layout(rng.integers(-4, 5, shape).astype(dtype))
    options = (kernel_size, stride, padding, dilation, ceil_mode)
    y, indices = _C.max_pool(x, len(shape) - 2, *options, "uint8", None)
    expected, flat = reference.max_pool(x, *options)
    np.testing.assert_array_equal(y, expected)
    assert np.asarray(indices).dtype == np.uint8

    dy = layout(rng.integers(-4, 5, expected.shape).astype(dtype))
    dx = kernels.max_pool_backward(dy, np.asarray(indices), shape, *options)
    np.testing.assert_array_equal(dx, reference.max_pool_backward(dy, flat, shape))


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("kernel_size,stride,padding", [(2, 2, 0), (3, 2, 1)])
@pytest.mark.parametrize("index_dtype", ["uint8", "int64"])
def test_any_number_of_threads_gives_the_same_bits(rng, layout, kernel_size, stride, padding, index_dtype):
    x = layout(rng.standard_normal((2, 24, 33, 35)).astype(np.float32))
    results = []
    before = medkern.get_num_threads()
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        y, indices = _C.max_pool(x, 2, kernel_size, stride, padding, 1, False, index_dtype, None)
        dx = kernels.max_pool_backward(np.asarray(y), indices, x.shape, kernel_size, stride, padding)
        results.append((np.asarray(y).tobytes(), np.asarray(indices).tobytes(), dx.tobytes()))
    medkern.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_mixed_memory_formats_agree(rng):
    x = rng.standard_normal((2, 19, 7, 6)).astype(np.float32)
    y, indices = kernels.max_pool2d(x, 3, 2, 1, return_indices=True)
    dx = kernels.max_pool_backward(y, indices, x.shape, 3, 2, 1)
    out = channels_last(np.empty_like(y))
    kernels.max_pool2d(x, 3, 2, 1, out=out)
    np.testing.assert_array_equal(out, y)
    for dy in (y, channels_last(y)):
        for i in (indices, channels_last(indices)):
            for into in (np.empty_like(x), channels_last(np.empty_like(x))):
                kernels.max_pool_backward(dy, i, x.shape, 3, 2, 1, out=into)
                np.testing.assert_array_equal(into, dx)


def test_result_has_the_memory_format_of_x(rng):
    x = rng.standard_normal((2, 3, 8, 8))
    assert kernels.max_pool2d(x, 2).flags.c_contiguous
    assert kernels.max_pool2d(channels_last(x), 2).strides[1] == 8


def test_nan_wins_and_infinity_passes(isa):
    for layout in FORMATS:
        x = np.zeros((1, 20, 4, 4), np.float32)
        x[0, :, 0, 1] = np.nan
        x[0, :, 1, 1] = np.inf
        x[0, :, 2:, 2:] = -np.inf
        y, indices = kernels.max_pool2d(layout(x), 2, return_indices=True)
        assert np.isnan(y[0, :, 0, 0]).all() and (indices[0, :, 0, 0] == 1).all()
        assert (y[0, :, 1, 1] == -np.inf).all() and (indices[0, :, 1, 1] == 10).all()


def test_out_is_written_and_returned_values_match(rng):
    x = rng.standard_normal((1, 3, 6, 6)).astype(np.float32)
    out = np.empty((1, 3, 3, 3), np.float32)
    kernels.max_pool2d(x, 2, out=out)
    np.testing.assert_array_equal(out, kernels.max_pool2d(x, 2))


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(kernel_size=9), ValueError, "kernel_size 9"),
        (dict(kernel_size=0), ValueError, "kernel_size must be at least 1|from 1"),
        (dict(kernel_size=2, stride=0), ValueError, "stride must be"),
        (dict(kernel_size=2, stride=-1), ValueError, "stride must be"),
        (dict(kernel_size=2, dilation=0), ValueError, "dilation must be"),
        (dict(kernel_size=2, padding=2), ValueError, "padding must be from 0 to 1, got 2"),
        (dict(kernel_size=2, padding=-1), ValueError, "padding must be from 0 to 1, got -1"),
        (dict(kernel_size=(2, 2, 2)), TypeError, "kernel_size must be an int or a sequence of 2"),
        (dict(kernel_size=2.5), TypeError, "kernel_size must be an int"),
        (dict(kernel_size=2**70), ValueError, "does not fit 64 bits"),
        (dict(kernel_size=2, padding="full"), ValueError, "padding must be 'same' or 'valid'"),
        (dict(kernel_size=2, padding="same"), ValueError, "needs stride 1"),
        (
            dict(kernel_size=2, out=np.empty((1, 1, 3, 3), np.float32)),
            ValueError,
            "y must have shape",
        ),
        (
            dict(kernel_size=2, out=np.empty((1, 1, 2, 2), np.float64)),
            TypeError,
            "y must be float32",
        ),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        kernels.max_pool2d(np.zeros((1, 1, 4, 4), np.float32), **options)


def test_bad_arrays_are_named():
    with pytest.raises(ValueError, match="x must have 4 dimensions, got 3"):
        kernels.max_pool2d(np.zeros((1, 4, 4), np.float32), 2)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        kernels.max_pool2d(np.zeros((1, 1, 4, 4), np.int64), 2)
    with pytest.raises(TypeError, match="x must be an array"):
        kernels.max_pool2d("image", 2)
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="share memory"):
        kernels.max_pool2d(x, 1, out=x)


def test_bad_backward_arguments_are_named():
    dy = np.zeros((1, 1, 2, 2), np.float32)
    good = np.zeros((1, 1, 2, 2), np.int64)
    with pytest.raises(ValueError, match="indices must be from -1 to 15, got 16"):
        kernels.max_pool_backward(dy, good + 16, (1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match=r"indices must have shape \(1, 1, 2, 2\)"):
        kernels.max_pool_backward(dy, good[..., :1], (1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match=r"dy must have shape \(1, 1, 3, 3\)"):
        kernels.max_pool_backward(dy, good, (1, 1, 6, 6), 2)
    with pytest.raises(TypeError, match="indices must be int64, got float32"):
        kernels.max_pool_backward(dy, dy, (1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match="indices must be from 0 to 3, got 4 at flat index 2"):
        local = channels_last(np.array([0, 1, 4, 9], np.uint8).reshape(1, 1, 2, 2))
        kernels.max_pool_backward(dy, local, (1, 1, 4, 4), 2)
    with pytest.raises(ValueError, match="uint8 indices can number 256 window positions"):
        kernels.max_pool_backward(dy, good.astype(np.uint8), (1, 1, 34, 34), 17)
    with pytest.raises(ValueError, match="negative size"):
        kernels.max_pool_backward(dy, good, (1, -1, 4, 4), 2)
    with pytest.raises(MemoryError):
        kernels.max_pool_backward(dy, good, (2**40, 2**40, 4, 4), 2)
