import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import reduce as reference

# shape, dim
CASES = [
    ((2, 3, 4, 5), None),
    ((2, 3, 4, 5), (0, 2, 3)),
    ((2, 33, 3, 5), (0, 2, 3)),
    ((1, 70, 3, 2), (2, 3)),
    ((2, 17, 4, 3), 1),
    ((2, 16, 4, 3), (1, -1)),
    ((3, 15, 2), 0),
    ((3, 15, 2), -1),
    ((5, 1, 2), 1),
    ((4, 3, 2), ()),
    ((2, 2, 9, 1100), (2, 3)),
    ((1, 3, 9000), 2),
    ((1, 1, 20011), None),
    ((3000, 8, 1), 0),
    ((0, 3, 2), 1),
    ((2, 0, 3), 0),
]
# Sums are 0, means and variances NaN; extremes are an error.
OVER_NOTHING = [((0, 3, 2), None), ((3, 0, 2), 1)]


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,dim", [*CASES, *OVER_NOTHING])
def test_sums(isa, rng, shape, dim, dtype, layout):
    x = layout((rng.standard_normal(shape) + 3).astype(dtype))
    before = x.copy()
    unit = np.finfo(dtype).eps / 2
    y = kernels.sum(x, dim)
    assert y.dtype == dtype
    # Accumulated in float64: one rounding to float32, some float64 roundings below.
    bound = unit * np.abs(reference.sum(x, dim)) + 2.0**-48 * reference.magnitude(x, dim)
    assert (np.abs(y - reference.sum(x, dim)) <= bound).all()
    np.testing.assert_allclose(kernels.mean(x, dim), reference.mean(x, dim), rtol=2 * unit + 2.0**-46)
    for correction in (0, 1):
        expected = reference.var(x, dim, correction)
        np.testing.assert_allclose(
            kernels.var(x, dim, correction=correction), expected, rtol=2 * unit + 2.0**-44, atol=1e-25
        )
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,dim", [case for case in CASES if 0 not in case[0] or case == ((0, 3, 2), 1)])
def test_extremes(isa, rng, shape, dim, dtype, layout):
    x = layout(rng.integers(-5, 6, shape).astype(dtype))  # many ties
    x[..., rng.integers(0, 2, shape[-1]).astype(bool) & (rng.random(shape[-1]) < 0.1)] = np.nan
    for name in ("max", "min"):
        expected = getattr(reference, "arg" + name)(x, dim)
        values, indices = getattr(kernels, name)(x, dim, return_indices=True)
        assert values.dtype == dtype and indices.dtype == np.int64
        np.testing.assert_array_equal(indices, expected)
        np.testing.assert_array_equal(values, reference.take(x, expected, dim))
        np.testing.assert_array_equal(kernels.reduce_take(x, indices, dim), values)
        np.testing.assert_array_equal(getattr(kernels, name)(x, dim), values)

        dy = rng.standard_normal(values.shape).astype(dtype)
        dx = kernels.reduce_put(dy, indices, shape, dim)
        assert dx.shape == shape
        np.testing.assert_array_equal(kernels.reduce_take(dx, indices, dim), dy)
        assert np.count_nonzero(dx) == np.count_nonzero(dy)


def test_extremes_of_infinite_values(isa):
    x = np.full((3, 40), -np.inf)
    values, indices = kernels.max(x, 1, return_indices=True)
    assert (values == -np.inf).all() and (indices == 0).all()
    x[:, 39] = np.nan
    x[:, 20] = np.nan
    values, indices = kernels.min(x, 1, return_indices=True)
    assert np.isnan(values).all() and (indices == 20).all()


def test_nan_and_infinity_pass(isa):
    x = np.ones((2, 40), np.float32)
    x[0, 7], x[1, 33] = np.nan, np.inf
    assert np.isnan(kernels.sum(x, 1)[0]) and kernels.sum(x, 1)[1] == np.inf
    assert np.isnan(kernels.var(x, 1)).all()


def test_a_long_float32_sum_is_rounded_once(isa, rng):
    x = rng.uniform(0, 1, 300000).astype(np.float32)
    exact = np.sum(x.astype(np.longdouble))
    assert kernels.sum(x) == np.float32(exact)
    # The variance of numbers far from zero: the mean is taken off before squaring.
    far = (1e6 + rng.standard_normal(50000)).astype(np.float64)
    np.testing.assert_allclose(kernels.var(far), np.var(far.astype(np.longdouble), ddof=1), rtol=1e-12)


def test_keepdim_and_out(rng):
    x = rng.standard_normal((2, 3, 4))
    for dim in (None, 1, (0, 2)):
        for name in ("sum", "mean", "var", "max", "min"):
            function = getattr(kernels, name)
            expected = function(x, dim)
            kept = function(x, dim, keepdim=True)
            assert kept.shape == np.sum(x, axis=dim, keepdims=True).shape
            np.testing.assert_array_equal(kept.ravel(), expected.ravel())
            out = np.zeros((*kept.shape[:-1], 2 * kept.shape[-1]))[..., ::2]
            function(x, dim, keepdim=True, out=out)
            np.testing.assert_array_equal(out, kept)
    values, indices = kernels.max(x, (0, 2), keepdim=True, return_indices=True)
    np.testing.assert_array_equal(kernels.reduce_take(x, indices, (0, 2), keepdim=True), values)
    dx = kernels.reduce_put(values, indices, x.shape, (0, 2), keepdim=True)
    assert np.count_nonzero(dx) == 3


def test_format_follows_x(rng):
    x = channels_last(rng.standard_normal((2, 8, 4, 4)))
    assert kernels.sum(x, 0, keepdim=True).strides[1] == 8


@pytest.mark.parametrize("layout", FORMATS)
def test_same_bits_at_any_number_of_threads_and_alone_or_in_a_batch(rng, layout):
    x = layout(rng.standard_normal((4, 24, 40, 50)).astype(np.float32))
    threads = medkern.get_num_threads()
    results = []
    for count in (1, 2, 3):
        medkern.set_num_threads(count)
        results.append([kernels.sum(x), kernels.var(x, (0, 2, 3)), kernels.mean(x, (1, 2, 3))])
    medkern.set_num_threads(threads)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(kernels.mean(x[2:3], (1, 2, 3)), results[0][2][2:3])


def test_bad_arguments_are_named():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"sum: dim must be from -2 to 1 for x of shape \(2, 3\), got 2"):
        kernels.sum(x, 2)
    with pytest.raises(ValueError, match="mean: dim must be from -2 to 1 "):
        kernels.mean(x, (-3,))
    with pytest.raises(ValueError, match="got 2147483647"):
        kernels.mean(x, 2**40)
    with pytest.raises(ValueError, match="var: dim -1 is given twice"):
        kernels.var(x, (1, -1))
    with pytest.raises(TypeError, match="dim must be"):
        kernels.sum(x, 0.5)
    with pytest.raises(TypeError, match="dim must be"):
        kernels.sum(x, tuple(range(9)))
    with pytest.raises(TypeError, match="sum: x must be float32 or float64, got int64"):
        kernels.sum(np.zeros(3, np.int64))
    with pytest.raises(ValueError, match=r"max: x of shape \(0, 3\) has no elements to choose from"):
        kernels.max(np.zeros((0, 3)), 0)
    with pytest.raises(ValueError, match=r"sum: y must have shape \(2,\)"):
        kernels.sum(x, 1, out=np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="sum: y must not share memory with x"):
        kernels.sum(x, 1, keepdim=True, out=x[:, :1])
    good = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="reduce_take: indices must be from 0 to 2, got 3"):
        kernels.reduce_take(x, good + 3, 1)
    with pytest.raises(TypeError, match="reduce_take: indices must be int64, got float32"):
        kernels.reduce_take(x, x[:, 0], 1)
    with pytest.raises(ValueError, match=r"reduce_take: indices must have shape \(2,\), got \(1,\)"):
        kernels.reduce_take(x, good[:1], 1)
    with pytest.raises(ValueError, match="reduce_put: indices must be from 0 to 2, got -1"):
        kernels.reduce_put(x[:, 0], good - 1, (2, 3), 1)
    with pytest.raises(ValueError, match=r"reduce_put: dy must have shape \(2,\), got \(3,\)"):
        kernels.reduce_put(x[0], good, (2, 3), 1)


def test_over_no_elements(isa):
    x = np.zeros((3, 0, 2), np.float32)
    for dim, shape in [(1, (3, 2)), (None, ())]:
        assert kernels.sum(x, dim).shape == shape and (kernels.sum(x, dim) == 0).all()
        assert np.isnan(kernels.mean(x, dim)).all() and np.isnan(kernels.var(x, dim)).all()
