"""Functions of two arrays, comparison and choice, with broadcasting."""

import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import pointwise as reference

NAMES = ["add", "sub", "mul", "div", "maximum", "minimum"]
SHAPES = [
    ((2, 3, 4, 5), (2, 3, 4, 5)),
    ((2, 17, 3, 3), (1, 17, 1, 1)),
    ((1, 17, 1, 1), (2, 17, 3, 3)),
    ((2, 3, 4), (4,)),
    ((2, 3, 4), (3, 1)),
    ((3, 1, 5), (1, 4, 1)),
    ((2, 33, 2, 1, 3), (33, 1, 1, 1)),
    ((15,), ()),
    ((), ()),
    ((16, 0), (16, 1)),
    ((0, 3), (3,)),
    ((40000,), (1,)),
]


def rounded(values, dtype):
    with np.errstate(over="ignore"):
        return values.astype(dtype)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape_a,shape_b", SHAPES)
def test_arithmetic(isa, rng, shape_a, shape_b, dtype, layout):
    a, b = (rng.standard_normal(s).astype(dtype) for s in (shape_a, shape_b))
    a, b = (layout(x) if x.ndim >= 3 else x for x in (a, b))
    before = a.copy(), b.copy()
    for name in NAMES:
        y = getattr(kernels, name)(a, b)
        assert y.dtype == dtype
        # Rounded once: float32 results from float64 ones are the nearest for these operations.
        np.testing.assert_array_equal(y, rounded(getattr(reference, name)(a, b), dtype))
    np.testing.assert_array_equal(kernels.add(a, b, activation="relu"), np.maximum(kernels.add(a, b), 0))
    np.testing.assert_array_equal(a, before[0])
    np.testing.assert_array_equal(b, before[1])


@pytest.mark.parametrize("name", NAMES)
def test_special_values(isa, name):
    values = np.array([np.nan, np.inf, -np.inf, 0.0, 1.0, -2.0])
    a, b = np.repeat(values, 6), np.tile(values, 6)
    np.testing.assert_array_equal(getattr(kernels, name)(a, b), getattr(reference, name)(a, b))
    if name == "add":
        np.testing.assert_array_equal(
            kernels.add(a, b, activation="relu"), np.maximum(reference.add(a, b), 0)
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64, np.uint8, bool])
@pytest.mark.parametrize("op", list(reference.compare))
def test_compare(isa, rng, op, dtype):
    a = rng.integers(0, 3, (2, 17, 3)).astype(dtype)
    b = rng.integers(0, 3, (17, 1)).astype(dtype)
    for left, right in [(a, b), (a, a[::-1]), (a, dtype(1)), (a[..., ::2], b)]:
        y = kernels.compare(op, left, right)
        assert y.dtype == bool
        np.testing.assert_array_equal(y, reference.compare[op](left, right))


def test_nan_equals_nothing(isa):
    x = np.full(20, np.nan, np.float32)
    assert not kernels.compare("eq", x, x).any() and kernels.compare("ne", x, x).all()
    assert not kernels.compare("le", x, 1.0).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint8])
def test_where(isa, rng, dtype):
    a, b = (rng.integers(0, 100, (2, 5, 7)).astype(dtype) for _ in range(2))
    mask = rng.integers(0, 2, (2, 5, 7)).astype(bool)
    for m in (mask, mask.astype(np.uint8) * 3, mask[:, :1], mask[0, 0]):
        np.testing.assert_array_equal(kernels.where(m, a, b), np.where(m, a, b))
    np.testing.assert_array_equal(kernels.where(mask, 1, b), np.where(mask, 1, b))
    np.testing.assert_array_equal(kernels.where(mask, a[:1], 0), np.where(mask, a[:1], 0))
    np.testing.assert_array_equal(kernels.where(mask, a[0, 0], b[0, 0]), np.where(mask, a[0, 0], b[0, 0]))


def test_numbers_take_the_type_of_the_array(rng):
    x = rng.standard_normal((3, 4)).astype(np.float32)
    for number in (2, 0.1, np.float64(0.1), np.int64(3)):
        y = kernels.mul(x, number)
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, x * np.float32(number))
    np.testing.assert_array_equal(kernels.sub(1, x), 1 - x)
    np.testing.assert_array_equal(kernels.compare("lt", 0.0, x), x > 0)


def test_results_may_replace_an_operand(rng):
    a, b = rng.standard_normal((2, 3, 50))
    expected = a - b
    kernels.sub(a, b, out=b)
    np.testing.assert_array_equal(b, expected)
    kernels.add(a, 1.0, out=a[:, :])
    mask = rng.integers(0, 2, a.shape).astype(bool)
    expected = np.where(mask, a, b)
    kernels.where(mask, a, b, out=a)
    np.testing.assert_array_equal(a, expected)


def test_format_follows_the_operand_with_the_shape_of_the_result(rng):
    x = channels_last(rng.standard_normal((2, 8, 4, 4)))
    bias = rng.standard_normal((1, 8, 1, 1))
    assert kernels.add(x, bias).strides == x.strides
    assert kernels.add(bias, x).strides == x.strides
    dense = np.ascontiguousarray(x)
    assert kernels.add(dense, x).flags.c_contiguous
    assert kernels.add(x, dense).strides == x.strides
    np.testing.assert_array_equal(kernels.add(dense, x), 2 * x)


def test_same_bits_at_any_number_of_threads(rng):
    a = rng.standard_normal((5, 300, 40)).astype(np.float32)
    b = rng.standard_normal((300, 1)).astype(np.float32)
    threads = medkern.get_num_threads()
    results = []
    for count in (1, 2, 3):
        medkern.set_num_threads(count)
        results.append(kernels.div(a, b))
    medkern.set_num_threads(threads)
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_bad_arguments_are_named():
    x = np.zeros((2, 20), np.float32)
    with pytest.raises(ValueError, match=r"b of shape \(3,\) does not broadcast with a of shape \(2, 20\)"):
        kernels.add(x, np.zeros(3, np.float32))
    with pytest.raises(TypeError, match="add: b must be float32 as a is, got float64"):
        kernels.add(x, np.zeros(20))
    with pytest.raises(TypeError, match="mul: a must be float32 or float64, got int64"):
        kernels.mul(np.zeros(3, np.int64), 2)
    with pytest.raises(TypeError, match="must be an array"):
        kernels.add(1.0, 2.0)
    with pytest.raises(TypeError, match="b must be an array"):
        kernels.add(x, "one")
    with pytest.raises(ValueError, match="add: activation must be None or 'relu', got 'tanh'"):
        kernels.add(x, x, activation="tanh")
    with pytest.raises(ValueError, match=r"sub: y must have shape \(2, 20\)"):
        kernels.sub(x, x, out=np.zeros((1, 2, 20), np.float32))
    with pytest.raises(ValueError, match="sub: y must not share memory with a"):
        kernels.sub(x[:, 1:], 1, out=x[:, :-1])
    with pytest.raises(ValueError, match="y must not share memory with b"):
        kernels.sub(x, x[0], out=x)
    with pytest.raises(TypeError, match="eq: b must be uint8 as a is, got int32"):
        kernels.compare("eq", np.zeros(3, np.uint8), np.zeros(3, np.int32))
    with pytest.raises(TypeError, match="beside an integer array must be an int"):
        kernels.compare("eq", np.zeros(3, np.uint8), 0.5)
    for number in (256, -1, 2**70):
        with pytest.raises(ValueError, match=f"the number {number} does not fit"):
            kernels.compare("lt", np.zeros(3, np.uint8), number)
    with pytest.raises(TypeError, match="gt: y must be uint8, got float32"):
        kernels.compare("gt", x, x, out=x.copy())
    with pytest.raises(ValueError, match="op must be one of eq, ne, lt, le, gt, ge, got 'like'"):
        kernels.compare("like", x, x)
    with pytest.raises(TypeError, match="where: mask must be uint8, got float32"):
        kernels.where(x, x, x)
    with pytest.raises(ValueError, match=r"where: b of shape \(3,\) does not broadcast with mask"):
        kernels.where(x > 0, x, np.zeros(3, np.float32))
