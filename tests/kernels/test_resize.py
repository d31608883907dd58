import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import resize as reference

# shape, size, scale_factor: up, down, odd ratios, one row, longer than a block of outputs
CASES = [
    ((2, 3, 5), [10], None),
    ((1, 1, 7), [3], None),
    ((1, 16, 9), None, [1.7]),
    ((1, 2, 30), [100], None),
    ((2, 15, 4, 6), None, [2, 2]),
    ((1, 17, 5, 7), [8, 3], None),
    ((1, 33, 3, 4), None, [2.6, 0.6]),
    ((1, 4, 5, 4), [5, 4], None),
    ((1, 5, 1, 6), [3, 1], None),
    ((2, 3, 2, 3, 4), None, [2, 2, 2]),
    ((1, 18, 3, 5, 2), [5, 2, 3], None),
    ((0, 3, 4, 4), [2, 2], None),
    ((2, 0, 4, 4), [2, 2], None),
]
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["nearest", "linear", "align_corners"])
@pytest.mark.parametrize("shape,size,scale_factor", CASES)
def test_forward_and_backward(isa, rng, shape, size, scale_factor, kind, dtype, layout):
    x = layout(rng.standard_normal(shape).astype(dtype))
    before = x.copy()
    mode = "nearest" if kind == "nearest" else LINEAR[len(shape) - 2]
    options = dict(size=size, scale_factor=scale_factor, mode=mode, align_corners=kind == "align_corners")
    y = kernels.interpolate(x, **options)
    matrices = reference.matrices(shape, size, scale_factor, kind != "nearest", kind == "align_corners")
    expected = reference.apply_matrices(x, matrices)
    assert y.dtype == dtype and y.shape == expected.shape
    np.testing.assert_array_equal(x, before)
    if kind == "nearest":
        np.testing.assert_array_equal(y, expected)
    # At most 8 products with rounded weights; in float64 the coordinates' own rounding counts too.
    unit = float(np.finfo(dtype).eps) / 2
    bound = 16 * unit * reference.apply_matrices(np.abs(x), matrices)
    slack = 64 * unit if dtype == np.float64 else 0
    assert (np.abs(y - expected) <= bound + slack).all()

    dy = layout(rng.standard_normal(y.shape).astype(dtype))
    dx = kernels.interpolate_backward(dy, shape, **options)
    back = [matrix.T for matrix in matrices]
    # As many terms as outputs read an element.
    terms = np.prod([np.count_nonzero(matrix, axis=0).max() for matrix in matrices])
    bound = (terms + 8) * unit * reference.apply_matrices(np.abs(dy), back)
    assert (np.abs(dx - reference.apply_matrices(dy, back)) <= bound + slack).all()


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_nan_and_infinity_stay_where_they_have_weight(isa, layout, mode):
    x = np.ones((1, 20, 3, 3), np.float32)
    x[0, :, 0, 0] = np.nan
    x[0, :, 2, 2] = np.inf
    y = kernels.interpolate(layout(x), size=(5, 5), mode=mode, align_corners=mode == "bilinear")
    assert np.isnan(y[0, :, 0, 0]).all() and (y[0, :, 4, 4] == np.inf).all()
    # With aligned corners every other output is an element of x, its neighbors have weight 0.
    assert (y[0, :, 0, 2] == 1).all() and (y[0, :, 2, 4] == 1).all()


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_any_number_of_threads_and_samples_give_the_same_bits(isa, rng, layout, mode):
    x = layout(rng.standard_normal((2, 24, 20, 21)).astype(np.float32))
    results = []
    before = medkern.get_num_threads()
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        y = kernels.interpolate(x, scale_factor=1.9, mode=mode)
        dx = kernels.interpolate_backward(y, x.shape, scale_factor=1.9, mode=mode)
        results.append((y.tobytes(), dx.tobytes()))
    medkern.set_num_threads(before)
    assert results[0] == results[1] == results[2]
    np.testing.assert_array_equal(kernels.interpolate(x[1:], scale_factor=1.9, mode=mode), y[1:])


def test_out_and_memory_format(rng):
    x = rng.standard_normal((2, 3, 6, 6))
    y = kernels.interpolate(x, 4, mode="bilinear")
    for out in (np.empty((2, 3, 4, 4)), channels_last(np.empty((2, 3, 4, 4)))):
        kernels.interpolate(x, 4, mode="bilinear", out=out)
        # From one format to the other the four products are added in another order.
        np.testing.assert_allclose(out, y, rtol=0, atol=8 * 2.0**-53 * np.abs(x).max())
    assert kernels.interpolate(channels_last(x), 4).strides[1] == 8


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(), ValueError, "give one of size and scale_factor"),
        (dict(size=4, scale_factor=2), ValueError, "give one of size and scale_factor"),
        (dict(size=0), ValueError, "size must be from 1 to 2147483647, got 0"),
        (dict(size=(4, 4, 4)), TypeError, "size must be an int or a sequence of 2 ints"),
        (dict(size=2.5), TypeError, "size must be an int or a sequence of 2 ints"),
        (dict(scale_factor=0), ValueError, "scale_factor must be above 0 and finite, got 0"),
        (dict(scale_factor=-1.5), ValueError, "scale_factor must be above 0 and finite, got -1.5"),
        (dict(scale_factor=float("nan")), ValueError, "scale_factor must be above 0 and finite, got nan"),
        (dict(scale_factor=0.1), ValueError, "scale_factor 0.1 of size 4 gives 0, must be from 1"),
        (dict(scale_factor=1e30), ValueError, r"scale_factor 1e\+30 of size 4"),
        (dict(scale_factor=(2, 2, 2)), TypeError, "scale_factor must be a number or a sequence of 2"),
        (dict(scale_factor="2"), TypeError, "scale_factor must be a number or a sequence of 2"),
        (dict(size=4, mode="trilinear"), ValueError, "mode must be 'nearest' or 'bilinear'"),
        (dict(size=4, mode="cubic"), ValueError, "mode must be 'nearest' or 'bilinear'"),
        (dict(size=4, align_corners=True), ValueError, "align_corners works with the linear modes"),
        (dict(size=4, out=np.empty((1, 1, 3, 3), np.float32)), ValueError, "y must have shape"),
        (dict(size=4, out=np.empty((1, 1, 4, 4))), TypeError, "y must be float32"),
        (dict(size=2**31 - 1), MemoryError, "cannot allocate|overflow 64 bits"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        kernels.interpolate(np.zeros((1, 1, 4, 4), np.float32), **options)


def test_bad_arrays_are_named():
    x = np.zeros((1, 1, 4, 4), np.float32)
    with pytest.raises(ValueError, match="x must have 3 to 5 dimensions, got 2"):
        kernels.interpolate(x[0, 0], 2)
    with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
        kernels.interpolate(x.astype(np.int64), 2)
    with pytest.raises(ValueError, match="the spatial size of x must be from 1 to 2147483647, got 0"):
        kernels.interpolate(x[..., :0], 2)
    with pytest.raises(ValueError, match="share memory"):
        kernels.interpolate(x, 4, out=x)
    with pytest.raises(ValueError, match=r"dy must have shape \(1, 1, 6, 6\), got \(1, 1, 4, 4\)"):
        kernels.interpolate_backward(x, (1, 1, 3, 3), scale_factor=2)
    with pytest.raises(ValueError, match="x must have 3 to 5 dimensions, got 1"):
        kernels.interpolate_backward(x, (4,), 2)
    with pytest.raises(ValueError, match="negative size"):
        kernels.interpolate_backward(x, (1, -1, 4, 4), 4)
    with pytest.raises(MemoryError):
        kernels.interpolate_backward(x, (2**40, 2**40, 4, 4), 4)
