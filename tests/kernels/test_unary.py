"""Functions of one array: values against the C library in float64, rounding errors in float32."""

import math

import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import pointwise as reference

TINY = np.finfo(np.float32).tiny

# name, numbers given with x, points to test at (the function's domain), largest error in float32 in units
# in the last place of the true value
UNARY = [
    ("relu", (), "all", 0),
    ("leaky_relu", (0.2,), "all", 1.0),
    ("elu", (0.7,), "all", 3.0),
    ("sigmoid", (), "all", 2.5),
    ("tanh", (), "all", 2.4),
    ("silu", (), "moderate", 3.0),
    ("softplus", (), "all", 3.0),
    ("exp", (), "all", 1.1),
    ("expm1", (), "all", 1.7),
    ("log", (), "positive", 0.9),
    ("log1p", (), "positive", 1.3),
    ("erf", (), "all", 1.3),
    ("sqrt", (), "positive", 0.5001),
    ("abs", (), "all", 0),
    ("neg", (), "all", 0),
    ("square", (), "moderate", 0.5001),
    ("reciprocal", (), "positive", 0.5001),
    ("clamp", (-0.5, 2.0), "all", 0),
    ("pow", (2.7,), "positive", 0.5001),
    ("pow", (-1.0,), "positive", 0.5001),
    ("pow", (3.0,), "moderate", 1.5),
]
# CUDA's own functions may be less exact, as its programming guide states; pow has half a unit for an exponent
# that float32 doesn't hold.
ON_CUDA = {"log": 1.0, "erf": 2.0, "pow": 4.5}


def points(domain, rng):
    """Dense around 0 and 1, spread over all magnitudes, both signs where the function takes them."""
    spread = np.exp(rng.uniform(math.log(TINY), math.log(3e38), 60000))
    near = np.concatenate([rng.uniform(0, 1, 40000), rng.uniform(0, 20, 40000), rng.uniform(0, 110, 20000)])
    around_one = 1 + rng.uniform(-1e-3, 1e-3, 10000)
    x = np.concatenate([spread if domain != "moderate" else rng.uniform(0, 50, 100), near, around_one])
    if domain != "positive":
        x = np.concatenate([x, -x])
    return x.astype(np.float32)


@pytest.mark.parametrize("name,numbers,domain,limit", UNARY)
def test_rounding_error_in_float32(isa, rng, name, numbers, domain, limit):
    x = points(domain, rng)
    y = getattr(kernels, name)(x, *numbers)
    assert y.dtype == np.float32
    if name != "pow":  # whose exponent stays in float64
        numbers = [float(np.float32(n)) for n in numbers]
    expected = getattr(reference, name)(x, *numbers)
    with np.errstate(over="ignore"):
        rounded = expected.astype(np.float32)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(y[~finite], rounded[~finite])
    x, y, expected, rounded = x[finite], y[finite], expected[finite], rounded[finite]
    if isa == "cuda":
        limit = max(limit, ON_CUDA.get(name, 0))
    # Denormal numbers are flushed to 0, within silu before it multiplies by up to 88.
    allowed = limit * np.spacing(np.abs(rounded)).astype(np.float64) + 88 * TINY
    error = np.abs(y - expected)
    worst = np.argmax(error / allowed)
    assert (error <= allowed).all(), (x[worst], y[worst], expected[worst])


def test_gelu_error_is_small_beside_x(isa, rng):
    # 1 + erf cancels for negative x: the error is a few units of x, not of y.
    x = points("moderate", rng)
    error = np.abs(kernels.gelu(x) - reference.gelu(x))
    assert (error <= 3 * 2.0**-24 * np.abs(x)).all()


@pytest.mark.parametrize("name,numbers,domain", [case[:3] for case in UNARY] + [("gelu", (), "moderate")])
def test_float64(isa, rng, name, numbers, domain):
    x = points(domain, rng)[::20].astype(np.float64)
    y = getattr(kernels, name)(x, *numbers)
    assert y.dtype == np.float64
    expected = getattr(reference, name)(x, *numbers)
    np.testing.assert_allclose(y, expected, rtol=1e-14, atol=1e-15 if name == "gelu" else 1e-300)


SPECIAL = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, 1e-20, -1e-20])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name,numbers", [case[:2] for case in UNARY])
def test_special_values(isa, name, numbers, dtype):
    x = SPECIAL.astype(dtype)
    y = getattr(kernels, name)(np.tile(x, 5), *numbers)[: len(x)]
    if isa != "cuda":  # where denormal numbers count, on the CPU they are 0
        x = np.where(np.abs(x) < np.finfo(dtype).tiny, np.copysign(0, x), x)
    expected = getattr(reference, name)(x, *numbers)
    with np.errstate(over="ignore"):
        expected = expected.astype(dtype)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 16, 3), (1, 17, 2, 2), (2, 0, 3), (1, 33, 1, 1)])
def test_any_layout(isa, rng, shape, dtype, layout):
    x = layout(rng.standard_normal(shape).astype(dtype))
    before = x.copy()
    y = kernels.silu(x)
    np.testing.assert_allclose(y, reference.silu(x), rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(x, before)
    assert y.shape == shape and y.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name,numbers", [case[:2] for case in UNARY] + [("gelu", ())])
def test_backward(isa, rng, name, numbers, dtype):
    x = rng.uniform(0.1, 3, (3, 23)).astype(dtype)
    if not any(case[0] == name and case[2] == "positive" for case in UNARY):
        x = x - 1.5
    x = x.astype(dtype)
    dy = rng.standard_normal(x.shape).astype(dtype)
    saves_result = name in ("relu", "sigmoid", "tanh", "exp", "expm1", "sqrt", "reciprocal")
    saved = getattr(reference, name)(x, *numbers).astype(dtype) if saves_result else x
    dx = kernels.unary_backward(name, dy, saved, *numbers)
    step = 1e-6
    above, below = (getattr(reference, name)(x.astype(np.float64) + s, *numbers) for s in (step, -step))
    expected = dy * (above - below) / (2 * step)
    # The finite difference has about 1e-9; float32 a few units in the last place.
    tolerance = 1e-7 if dtype == np.float64 else 4e-6
    np.testing.assert_allclose(dx, expected, rtol=tolerance, atol=tolerance)


def test_result_may_be_the_input(rng):
    x = rng.standard_normal((2, 3, 40))
    expected = kernels.exp(x)
    kernels.exp(x, out=x)
    np.testing.assert_array_equal(x, expected)
    dy = rng.standard_normal(x.shape)
    expected = kernels.unary_backward("exp", dy, x)
    kernels.unary_backward("exp", dy, x, out=dy)
    np.testing.assert_array_equal(dy, expected)


def test_format_follows_x(rng):
    x = channels_last(rng.standard_normal((2, 8, 4, 4)))
    assert kernels.relu(x).strides == x.strides
    # A part of channels-last memory gives a channels-last result.
    assert kernels.relu(x[:, 2:5]).strides[1] == 8
    assert kernels.relu(np.ascontiguousarray(x)).flags.c_contiguous


def test_same_bits_at_any_number_of_threads(rng):
    x = rng.standard_normal((3, 70001)).astype(np.float32)
    threads = medkern.get_num_threads()
    results = []
    for count in (1, 2, 3):
        medkern.set_num_threads(count)
        results.append(kernels.tanh(x))
    medkern.set_num_threads(threads)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])
    np.testing.assert_array_equal(kernels.tanh(x[1:2]), results[0][1:2])


def test_bad_arguments_are_named():
    x = np.zeros((2, 20), np.float32)
    with pytest.raises(TypeError, match="relu: x must be float32 or float64, got int64"):
        kernels.relu(np.zeros(3, np.int64))
    with pytest.raises(TypeError, match="x must be an array"):
        kernels.relu("image")
    with pytest.raises(ValueError, match=r"exp: y must have shape \(2, 20\), got \(2, 19\)"):
        kernels.exp(x, out=np.zeros((2, 19), np.float32))
    with pytest.raises(TypeError, match="exp: y must be float32 as x is, got float64"):
        kernels.exp(x, out=np.zeros((2, 20)))
    with pytest.raises(ValueError, match="y must not share memory with x"):
        kernels.exp(x[:, 1:], out=x[:, :-1])
    with pytest.raises(ValueError, match="elements of y share memory"):
        kernels.exp(np.zeros((2, 3)), out=np.lib.stride_tricks.as_strided(np.zeros(3), (2, 3), (0, 8)))
    with pytest.raises(ValueError, match="clamp: min must not be larger than max, got 2 and 1"):
        kernels.clamp(x, 2, 1)
    with pytest.raises(ValueError, match="min must not be larger than max, got nan"):
        kernels.clamp(x, math.nan)
    with pytest.raises(ValueError, match=r"relu: saved must have shape \(2, 20\), got \(20,\)"):
        kernels.unary_backward("relu", x, x[0])
    with pytest.raises(TypeError, match="relu: saved must be float32 as dy is"):
        kernels.unary_backward("relu", x, x.astype(np.float64))
    with pytest.raises(ValueError, match=r"op must be one of relu, .*, got 'cosh'"):
        kernels.unary_backward("cosh", x, x)


def test_results_larger_than_the_caches(isa, rng):
    # They are written past the caches: whole vectors, but for an unaligned array and a remainder.
    x = rng.standard_normal(5_000_000 + 13, np.float32)
    assert 2 * x.nbytes > 36 << 20
    for part in (x, x[1:]):
        y = kernels.relu(part)
        np.testing.assert_array_equal(y, np.maximum(part, 0))
        np.testing.assert_array_equal(kernels.unary_backward("relu", part, y), y)
        np.testing.assert_array_equal(kernels.add(part, part), 2 * part)
        np.testing.assert_array_equal(kernels.relu(part, out=part), y)
