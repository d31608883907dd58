import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import _C, kernels
from reference import pool as reference

# shape, output_size: dividing, not dividing, growing, global
CASES = [
    ((2, 3, 9), [3]),
    ((1, 1, 7), [4]),
    ((2, 5, 8, 8), [2, 4]),
    ((1, 16, 7, 5), [3, 2]),
    ((1, 17, 3, 2), [5, 4]),
    ((2, 33, 9, 11), [1, 1]),
    ((1, 15, 5, 4, 3), [2, 3, 3]),
    ((0, 3, 4, 4), [2, 2]),
    ((2, 0, 4, 4), [2, 2]),
]
AVERAGE = {1: kernels.adaptive_avg_pool1d, 2: kernels.adaptive_avg_pool2d, 3: kernels.adaptive_avg_pool3d}
MAX = {1: kernels.adaptive_max_pool1d, 2: kernels.adaptive_max_pool2d, 3: kernels.adaptive_max_pool3d}
POOL = {1: kernels.max_pool1d, 2: kernels.max_pool2d, 3: kernels.max_pool3d}
UNPOOL = {1: kernels.max_unpool1d, 2: kernels.max_unpool2d, 3: kernels.max_unpool3d}


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,output_size", CASES)
def test_average(isa, rng, shape, output_size, dtype, layout):
    x = layout(rng.standard_normal(shape).astype(dtype))
    before = x.copy()
    y = AVERAGE[len(shape) - 2](x, output_size)
    weights = reference.adaptive_weights(shape, output_size)
    expected = reference.apply_weights(x, weights)
    assert y.dtype == dtype and y.shape == expected.shape
    # Up to 64 terms are added before they are merged in float64.
    unit = float(np.finfo(dtype).eps) / 2
    assert (np.abs(y - expected) <= 68 * unit * reference.apply_weights(np.abs(x), weights)).all()
    np.testing.assert_array_equal(x, before)

    dy = layout(rng.standard_normal(y.shape).astype(dtype))
    dx = kernels.adaptive_avg_pool_backward(dy, shape)
    back = [matrix.T for matrix in weights]
    terms = np.prod([np.count_nonzero(matrix, axis=0).max() for matrix in weights])
    bound = (terms + 4) * unit * reference.apply_weights(np.abs(dy), back)
    assert (np.abs(dx - reference.apply_weights(dy, back)) <= bound).all()


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,output_size", CASES)
def test_max(isa, rng, shape, output_size, dtype, layout):
    x = layout(rng.integers(-4, 5, shape).astype(dtype))  # small integers: many ties, exact sums
    y, indices = MAX[len(shape) - 2](x, output_size, return_indices=True)
    expected, expected_indices = reference.adaptive_max_pool(x, output_size)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(MAX[len(shape) - 2](x, output_size), expected)

    dy = layout(rng.integers(-4, 5, y.shape).astype(dtype))
    dx = kernels.adaptive_max_pool_backward(dy, indices, shape)
    np.testing.assert_array_equal(dx, reference.max_pool_backward(dy, indices, shape))


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape,kernel_size,stride,padding",
    [
        ((2, 3, 8), 2, 2, 0),
        ((1, 17, 8, 6), 2, 2, 0),
        ((2, 16, 9, 9), 3, 2, 1),  # windows overlap: indices repeat, with equal values
        ((1, 5, 4, 4, 6), 2, 2, 0),
        ((0, 5, 4, 4), 2, 2, 0),
        ((2, 37, 9, 7), 2, 2, 0),  # rows and columns are left over
        ((1, 3, 5, 75), 2, 2, 0),
        ((1, 20, 9, 11), 3, 3, 0),
        ((1, 16, 5, 6, 34), 2, 2, 0),
        ((1, 4, 9, 9), 9, 9, 0),  # more positions than a list holds
    ],
)
def test_unpool(isa, rng, shape, kernel_size, stride, padding, dtype, layout):
    rank = len(shape) - 2
    original = rng.standard_normal(shape).astype(dtype)
    pooled, indices = POOL[rank](original, kernel_size, stride, padding, return_indices=True)
    x, indices = layout(pooled), layout(indices)
    y = UNPOOL[rank](x, indices, kernel_size, stride, padding, output_size=shape)
    np.testing.assert_array_equal(y, reference.max_unpool(x, indices, shape[2:]))
    assert y.shape == shape and y.dtype == dtype

    dy = layout(rng.standard_normal(shape).astype(dtype))
    dx = kernels.max_unpool_backward(dy, indices)
    np.testing.assert_array_equal(dx, reference.max_unpool_backward(dy, indices))


@pytest.mark.parametrize("layout", FORMATS)
def test_unpool_lets_the_last_of_equal_indices_win_and_skips_minus_one(isa, layout):
    x = layout(np.arange(1.0, 81.0, dtype=np.float32).reshape(1, 20, 2, 2))
    indices = layout(np.tile(np.array([3, 3, -1, 3]).reshape(1, 1, 2, 2), (1, 20, 1, 1)))
    y = kernels.max_unpool2d(x, indices, 2)
    assert (y.reshape(20, 16)[:, 3] == x[0, :, 1, 1]).all() and np.count_nonzero(y) == 20
    dx = kernels.max_unpool_backward(layout(y), indices)
    assert (dx[0, :, 1, 0] == 0).all() and (dx[0, :, 0, 0] == x[0, :, 1, 1]).all()


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_unpool_takes_indices_outside_of_their_tiles(isa, rng, dtype, layout):
    shape, spatial = (2, 18, 4, 36), (8, 72)
    x, dy = layout(rng.standard_normal(shape).astype(dtype)), layout(rng.standard_normal((2, 18, *spatial)))
    dy = dy.astype(dtype)
    top = 2 * np.arange(4)[:, None] * 72 + 2 * np.arange(36)
    inside = np.broadcast_to(top, shape) + rng.choice([0, 1, 72, 73], shape)
    inside = np.where(rng.random(shape) < 0.1, -1, inside)
    for n, c, h, w, stray in [(0, 0, 0, 0, 2), (1, 17, 3, 35, 0), (1, 7, 2, 20, 575), (0, 5, 1, 3, None)]:
        indices = inside.copy()
        if stray is not None:
            indices[n, c, h, w] = stray
        indices = layout(indices)
        y = kernels.max_unpool2d(x, indices, 2)
        np.testing.assert_array_equal(y, reference.max_unpool(x, indices, spatial))
        dx = kernels.max_unpool_backward(dy, indices)
        np.testing.assert_array_equal(dx, reference.max_unpool_backward(dy, indices))
    # A difference that is inside its tile in the lower 32 or, wrapping around, 64 bits.
    for far in (2**32 + 1, 2**63 - 1, -(2**63)):
        indices = inside.copy()
        indices[1, 4, 1, 1] = far
        with pytest.raises(ValueError, match=r"must be (from -1 to|in -1 \.\.) 575"):
            kernels.max_unpool2d(x, layout(indices), 2)


def test_results_larger_than_the_caches(isa, rng):
    # They are written past the caches, where channels fill vectors: the contiguous ones are not.
    shape = (1, 32, 42, 88, 92)
    assert 4 * np.prod(shape) > 40 << 20
    x = rng.integers(-9, 9, shape).astype(np.float32)
    pooled, indices = kernels.max_pool3d(x, 2, return_indices=True)
    _, local = _C.max_pool(x, 3, 2, None, 0, 1, False, "uint8", None)
    local = np.asarray(local)
    for run in (
        lambda f: kernels.max_unpool3d(f(pooled), f(indices), 2),
        lambda f: kernels.max_pool_backward(f(pooled), f(local), shape, 2),
        lambda f: kernels.avg_pool_backward(f(pooled), shape, 2),
    ):
        assert np.array_equal(run(channels_last), run(np.ascontiguousarray))


def test_unpool_output_size(rng):
    x, indices = np.ones((1, 1, 2, 2), np.float32), np.zeros((1, 1, 2, 2), np.int64)
    assert kernels.max_unpool2d(x, indices, 3, 2, 1).shape == (1, 1, 3, 3)
    assert kernels.max_unpool2d(x, indices, 2).shape == (1, 1, 4, 4)
    assert kernels.max_unpool2d(x, indices, 2, output_size=(5, 3)).shape == (1, 1, 5, 3)
    assert kernels.max_unpool2d(x, indices, 2, output_size=5).shape == (1, 1, 5, 5)
    with pytest.raises(ValueError, match="output_size must be within stride - 1 = 1 of 4, got 6"):
        kernels.max_unpool2d(x, indices, 2, output_size=(6, 4))
    with pytest.raises(TypeError, match="output_size must be an int or a sequence of 2"):
        kernels.max_unpool2d(x, indices, 2, output_size=(4, 4, 4))


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_any_number_of_threads_gives_the_same_bits(rng, layout):
    x = layout(rng.standard_normal((2, 40, 33, 35)).astype(np.float32))
    results = []
    before = medkern.get_num_threads()
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        y, indices = kernels.adaptive_max_pool2d(x, (10, 12), return_indices=True)
        dx = kernels.adaptive_max_pool_backward(y, indices, x.shape)
        average = kernels.adaptive_avg_pool2d(x, (10, 12))
        spread = kernels.adaptive_avg_pool_backward(average, x.shape)
        pooled, indices = kernels.max_pool2d(x, 3, 2, return_indices=True)
        unpooled = kernels.max_unpool2d(pooled, indices, 3, 2)
        again = kernels.max_unpool_backward(unpooled, indices)
        results.append([a.tobytes() for a in (y, dx, average, spread, unpooled, again)])
    medkern.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_nan_wins(isa):
    for layout in FORMATS:
        x = np.zeros((1, 20, 4, 4), np.float32)
        x[0, :, 1, 1] = np.nan
        y, indices = kernels.adaptive_max_pool2d(layout(x), 1, return_indices=True)
        assert np.isnan(y).all() and (indices == 5).all()
        assert np.isnan(kernels.adaptive_avg_pool2d(layout(x), 1)).all()


def test_none_keeps_a_size(rng):
    x = rng.standard_normal((1, 2, 4, 6))
    assert kernels.adaptive_avg_pool2d(x, (None, 3)).shape == (1, 2, 4, 3)
    np.testing.assert_array_equal(kernels.adaptive_max_pool2d(x, None), x)
    assert kernels.adaptive_avg_pool2d(channels_last(x), 2).strides[1] == 8


def test_bad_arguments_are_named():
    x = np.zeros((1, 1, 4, 4), np.float32)
    good = np.zeros((1, 1, 2, 2), np.int64)
    dy = np.zeros((1, 1, 2, 2), np.float32)
    for pool in (kernels.adaptive_avg_pool2d, kernels.adaptive_max_pool2d):
        with pytest.raises(ValueError, match="output_size must be from 1 to 2147483647, got 0"):
            pool(x, 0)
        with pytest.raises(TypeError, match="output_size must be an int or a sequence of 2"):
            pool(x, (1, 2, 3))
        with pytest.raises(ValueError, match="x must have 4 dimensions, got 3"):
            pool(x[0], 2)
        with pytest.raises(TypeError, match="x must be float32 or float64, got int64"):
            pool(x.astype(np.int64), 2)
        with pytest.raises(ValueError, match="the spatial size of x must be from 1 to 2147483647, got 0"):
            pool(x[..., :0], 2)
        with pytest.raises(ValueError, match="y must have the batch and channels of x"):
            pool(x, 2, out=np.empty((1, 2, 2, 2), np.float32))
    with pytest.raises(ValueError, match="dy must have 5 dimensions, got 4"):
        kernels.adaptive_avg_pool_backward(dy, (1, 1, 4, 4, 4))
    with pytest.raises(ValueError, match="dx must have the batch and channels of dy"):
        kernels.adaptive_avg_pool_backward(dy, (2, 1, 4, 4))
    with pytest.raises(ValueError, match="spatial_rank must be from 1 to 3, got -1"):
        kernels.adaptive_avg_pool_backward(dy, (4,))
    with pytest.raises(ValueError, match="indices must be from -1 to 15, got 16 at flat index 0"):
        kernels.adaptive_max_pool_backward(dy, good + 16, x.shape)
    with pytest.raises(TypeError, match="indices must be int64, got uint8"):
        kernels.adaptive_max_pool_backward(dy, good.astype(np.uint8), x.shape)
    with pytest.raises(ValueError, match=r"indices must have shape \(1, 1, 2, 2\)"):
        kernels.adaptive_max_pool_backward(dy, good[..., :1], x.shape)


def test_bad_unpool_arguments_are_named():
    x = np.zeros((1, 1, 2, 2), np.float32)
    good = np.zeros((1, 1, 2, 2), np.int64)
    with pytest.raises(ValueError, match="indices must be from -1 to 15, got 99 at flat index 3"):
        kernels.max_unpool2d(x, np.array([[[[0, 1], [2, 99]]]]), 2)
    with pytest.raises(ValueError, match="indices must be from -1 to 15, got -2"):
        kernels.max_unpool2d(x, good - 2, 2)
    with pytest.raises(TypeError, match="indices must be int64, got int32"):
        kernels.max_unpool2d(x, good.astype(np.int32), 2)
    with pytest.raises(ValueError, match=r"indices must have shape \(1, 1, 2, 2\)"):
        kernels.max_unpool2d(x, good[..., :1], 2)
    with pytest.raises(ValueError, match="x must have 4 dimensions, got 3"):
        kernels.max_unpool2d(x[0], good, 2)
    with pytest.raises(ValueError, match="kernel_size must be"):
        kernels.max_unpool2d(x, good, 0)
    with pytest.raises(MemoryError):
        kernels.max_unpool2d(np.zeros((1, 0, 2**40, 1), np.float32), good, 2**31 - 1)
    with pytest.raises(ValueError, match="dx must have the batch and channels of dy"):
        kernels.max_unpool_backward(np.zeros((2, 1, 4, 4), np.float32), good)
    with pytest.raises(ValueError, match="spatial_rank must be from 1 to 3, got -1"):
        kernels.max_unpool_backward(x[0, 0, 0], good)
