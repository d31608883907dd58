import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import pool as reference

# shape, kernel_size, stride, padding (before, after), ceil_mode, count_include_pad
CASES = [
    ((2, 3, 9), [2], [2], [(0, 0)], False, True),
    ((1, 1, 8), [3], [2], [(1, 1)], True, True),
    ((1, 1, 8), [3], [2], [(1, 1)], True, False),
    ((2, 5, 8, 8), [2, 2], [2, 2], [(0, 0), (0, 0)], False, True),
    ((1, 15, 7, 9), [3, 2], [2, 1], [(1, 1), (1, 0)], False, False),
    ((1, 16, 9, 7), [3, 3], [2, 2], [(1, 1), (1, 1)], True, True),
    ((1, 17, 4, 4), [1, 1], [3, 3], [(0, 0), (0, 0)], False, True),
    ((1, 33, 21, 20), [18, 18], [1, 2], [(0, 0), (0, 0)], False, True),
    ((2, 3, 5, 6, 7), [3, 1, 2], [2, 2, 1], [(1, 1), (0, 0), (1, 1)], True, False),
    ((1, 31, 4, 6, 5), [2, 2, 2], [2, 2, 2], [(0, 0)] * 3, False, True),
    ((0, 3, 4, 4), [2, 2], [2, 2], [(0, 0), (0, 0)], False, True),
    ((2, 0, 4, 4), [2, 2], [2, 2], [(0, 0), (0, 0)], False, True),
]
FORWARD = {1: kernels.avg_pool1d, 2: kernels.avg_pool2d, 3: kernels.avg_pool3d}


def unit_of(dtype):
    return float(np.finfo(dtype).eps) / 2


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,kernel_size,stride,padding,ceil_mode,count_include_pad", CASES)
def test_forward_and_backward(
    isa, rng, shape, kernel_size, stride, padding, ceil_mode, count_include_pad, dtype, layout
):
    x = layout(rng.standard_normal(shape).astype(dtype))
    before = x.copy()
    options = (kernel_size, stride, padding, ceil_mode, count_include_pad)
    y = FORWARD[len(shape) - 2](x, *options)
    weights = reference.avg_pool_weights(shape, *options)
    expected = reference.apply_weights(x, weights)
    assert y.dtype == dtype and y.shape == expected.shape
    # At most 64 terms are added before they are merged in float64; sums of |terms| bound the error. The
    # reference's own float64 error counts as well in float64.
    bound = 68 * unit_of(dtype) * reference.apply_weights(np.abs(x), weights)
    assert (np.abs(y - expected) <= bound).all()
    np.testing.assert_array_equal(x, before)

    dy = layout(rng.standard_normal(y.shape).astype(dtype))
    dx = kernels.avg_pool_backward(dy, shape, *options)
    back = [matrix.T for matrix in weights]
    # As many terms as windows over an element: the number of nonzeros in a column.
    terms = np.prod([np.count_nonzero(matrix, axis=0).max() for matrix in weights])
    bound = (terms + 4) * unit_of(dtype) * reference.apply_weights(np.abs(dy), back)
    assert (np.abs(dx - reference.apply_weights(dy, back)) <= bound).all()


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_a_large_window_is_summed_accurately(isa, rng, layout):
    # 40000 terms with mean 1: adding them one by one in float32 would be off by 1e-4 or more.
    x = layout(rng.uniform(0.5, 1.5, (1, 3, 200, 200)).astype(np.float32))
    expected = x.astype(np.float64).mean((2, 3))
    np.testing.assert_allclose(kernels.avg_pool2d(x, 200)[..., 0, 0], expected, rtol=3e-6)
    np.testing.assert_allclose(kernels.adaptive_avg_pool2d(x, 1)[..., 0, 0], expected, rtol=3e-6)


def test_nan_and_infinity_pass(isa):
    for layout in FORMATS:
        x = np.ones((1, 20, 4, 4), np.float32)
        x[0, :, 0, 1] = np.nan
        x[0, :, 2, 2] = np.inf
        y = kernels.avg_pool2d(layout(x), 2)
        assert np.isnan(y[0, :, 0, 0]).all() and (y[0, :, 1, 1] == np.inf).all()
        assert (y[0, :, 0, 1] == 1).all()


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("kernel_size,stride", [(2, 2), (3, 2)])
def test_any_number_of_threads_and_samples_give_the_same_bits(isa, rng, layout, kernel_size, stride):
    x = layout(rng.standard_normal((2, 40, 33, 35)).astype(np.float32))
    results = []
    before = medkern.get_num_threads()
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        y = kernels.avg_pool2d(x, kernel_size, stride)
        dx = kernels.avg_pool_backward(y, x.shape, kernel_size, stride)
        results.append((y.tobytes(), dx.tobytes(), kernels.adaptive_avg_pool2d(x, 1).tobytes()))
    medkern.set_num_threads(before)
    assert results[0] == results[1] == results[2]
    np.testing.assert_array_equal(kernels.avg_pool2d(x[1:], kernel_size, stride), y[1:])
    np.testing.assert_array_equal(
        kernels.adaptive_avg_pool2d(x[1:], 1), kernels.adaptive_avg_pool2d(x, 1)[1:]
    )


def test_out_and_memory_format(rng):
    x = rng.standard_normal((2, 3, 6, 6))
    out = np.empty((2, 3, 3, 3))
    kernels.avg_pool2d(x, 2, out=out)
    np.testing.assert_array_equal(out, kernels.avg_pool2d(x, 2))
    assert kernels.avg_pool2d(channels_last(x), 2).strides[1] == 8


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(kernel_size=9), ValueError, "avg_pool: kernel_size 9"),
        (dict(kernel_size=0), ValueError, "kernel_size must be"),
        (dict(kernel_size=2, stride=0), ValueError, "stride must be"),
        (dict(kernel_size=2, padding=2), ValueError, "padding must be from 0 to 1, got 2"),
        (dict(kernel_size=(2, 2, 2)), TypeError, "kernel_size must be an int or a sequence of 2"),
        (dict(kernel_size=2, out=np.empty((1, 1, 3, 3), np.float32)), ValueError, "y must have shape"),
        (dict(kernel_size=2, out=np.empty((1, 1, 2, 2))), TypeError, "y must be float32"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        kernels.avg_pool2d(np.zeros((1, 1, 4, 4), np.float32), **options)


def test_bad_arrays_are_named():
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="x must have 4 dimensions, got 3"):
        kernels.avg_pool2d(x[0], 2)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        kernels.avg_pool2d(x.astype(np.int64), 2)
    with pytest.raises(ValueError, match="share memory"):
        kernels.avg_pool2d(x, 1, out=x)
    with pytest.raises(ValueError, match=r"dy must have shape \(1, 1, 3, 3\), got \(1, 1, 4, 4\)"):
        kernels.avg_pool_backward(x, (1, 1, 6, 6), 2)
    with pytest.raises(ValueError, match="there must be 1 to 3 spatial dimensions, got -1"):
        kernels.avg_pool_backward(x, (4,), 2)
    with pytest.raises(ValueError, match="negative size"):
        kernels.avg_pool_backward(x, (1, -1, 4, 4), 2)
    with pytest.raises(MemoryError):
        kernels.avg_pool_backward(x, (2**40, 2**40, 4, 4), 2)
