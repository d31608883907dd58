import numpy as np
import pytest

import medkern
from medkern import kernels
from reference import embedding as reference

# shape of indices, V, D
CASES = [
    ((7,), 5, 1),
    ((2, 3), 4, 3),
    ((2, 3, 5), 9, 15),
    ((70,), 3, 16),
    ((1,), 1, 17),
    ((4, 33), 50, 130),
    ((), 4, 33),
    ((0, 3), 4, 2),
    ((3,), 4, 0),
]


@pytest.mark.parametrize("index_dtype", [np.int64, np.int32])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,rows,size", CASES)
def test_forward_and_backward(isa, rng, shape, rows, size, dtype, index_dtype):
    indices = np.asarray(rng.integers(0, rows, shape), index_dtype)
    weight = rng.standard_normal((rows, size)).astype(dtype)
    before = weight.copy()
    y = kernels.embedding(indices, weight)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, reference.embedding(indices, weight))
    np.testing.assert_array_equal(weight, before)

    # Small integers: every sum is exact in float32.
    dy = np.asarray(rng.integers(-8, 9, y.shape), dtype)
    for padding_idx in [None, rows - 1, -1, -rows]:
        dweight = kernels.embedding_backward(dy, indices, weight.shape, padding_idx)
        expected = reference.embedding_backward(dy, indices, weight.shape, padding_idx)
        assert dweight.dtype == dtype
        np.testing.assert_array_equal(dweight, expected)


def test_padding_idx_changes_nothing_forward(rng):
    indices, weight = np.array([0, 1, 2, 1]), rng.standard_normal((3, 5))
    np.testing.assert_array_equal(kernels.embedding(indices, weight, padding_idx=1), weight[indices])


def test_strided_arguments_are_read_right(isa, rng):
    indices = np.arange(24).reshape(2, 3, 4)[:, ::2, ::3] % 6
    weight = rng.standard_normal((6, 20))[:, ::2]
    np.testing.assert_array_equal(kernels.embedding(indices, weight), weight[indices])
    dy = rng.integers(-4, 5, (2, 2, 2, 20)).astype(np.float64)[..., ::2]
    np.testing.assert_array_equal(
        kernels.embedding_backward(dy, indices, (6, 10)),
        reference.embedding_backward(dy, indices, (6, 10)),
    )


def test_nan_and_infinity_pass(isa):
    weight = np.array([[np.nan, 1], [np.inf, -np.inf]], np.float32)
    np.testing.assert_array_equal(kernels.embedding(np.array([1, 0]), weight), weight[[1, 0]])
    dweight = kernels.embedding_backward(weight, np.array([1, 1]), (2, 2))
    assert np.isnan(dweight[1, 0]) and dweight[1, 1] == -np.inf and (dweight[0] == 0).all()


def test_same_bits_at_any_number_of_threads(rng):
    indices = rng.integers(0, 40, (9, 57))
    weight = rng.standard_normal((40, 200)).astype(np.float32)
    dy = rng.standard_normal((9, 57, 200)).astype(np.float32)
    before = medkern.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        y = kernels.embedding(indices, weight)
        results.append((y.tobytes(), kernels.embedding_backward(dy, indices, weight.shape).tobytes()))
    medkern.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_out_is_written(rng):
    indices, weight = np.array([1, 0]), rng.standard_normal((2, 3))
    out, dweight = np.empty((2, 3)), np.empty((2, 3))
    kernels.embedding(indices, weight, out=out)
    np.testing.assert_array_equal(out, weight[indices])
    kernels.embedding_backward(out, indices, (2, 3), out=dweight)
    np.testing.assert_array_equal(dweight, weight)


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(indices=np.array([0, 4])), ValueError, "indices must be from 0 to 3, got 4 at flat index 1"),
        (dict(indices=np.array([-1, 0])), ValueError, "indices must be from 0 to 3, got -1 at flat index 0"),
        (dict(indices=np.array([0.0, 1.0])), TypeError, "indices must be int64, got float64"),
        (dict(indices=np.zeros((1,) * 8, np.int64)), ValueError, "indices must have at most 7 dimensions"),
        (dict(weight=np.zeros(3)), ValueError, "weight must have 2 dimensions, got 1"),
        (dict(weight=np.zeros((4, 3), np.int64)), TypeError, "weight must be float32 or float64, got int64"),
        (dict(padding_idx=4), ValueError, "padding_idx must be from -4 to 3, got 4"),
        (dict(padding_idx=-5), ValueError, "padding_idx must be from -4 to 3, got -5"),
        (dict(out=np.zeros((2, 4))), ValueError, r"y must have shape \(2, 3\), got \(2, 4\)"),
        (dict(out=np.zeros((2, 3), np.float32)), TypeError, "y must be float64 as weight is"),
        (dict(out=np.zeros((2, 6))[:, ::2]), ValueError, "y must be contiguous"),
        (dict(indices="ab"), TypeError, "indices must be an array"),
    ],
)
def test_bad_arguments_are_named(options, error, message):
    arguments = dict(indices=np.array([0, 1]), weight=np.zeros((4, 3)))
    with pytest.raises(error, match=message):
        kernels.embedding(**{**arguments, **options})


def test_a_shared_result_is_refused():
    weight = np.zeros((4, 3))
    with pytest.raises(ValueError, match="y must not share memory with weight"):
        kernels.embedding(np.array([0, 1]), weight, out=weight[:2])


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(indices=np.array([0, 4])), ValueError, "indices must be from 0 to 3, got 4"),
        (dict(dy=np.zeros((2, 4))), ValueError, r"dy must have shape \(2, 3\), got \(2, 4\)"),
        (dict(dy=np.zeros((2, 3), np.int64)), TypeError, "dweight must be float32 or float64"),
        (dict(weight_shape=(4,)), ValueError, "dweight must have 2 dimensions"),
        (dict(weight_shape=(-4, 3)), ValueError, "negative size"),
        (dict(padding_idx=9), ValueError, "padding_idx must be from -4 to 3, got 9"),
        (dict(out=np.zeros((4, 3), np.float32)), TypeError, "dy must be float32 as dweight is"),
    ],
)
def test_bad_backward_arguments_are_named(options, error, message):
    arguments = dict(dy=np.zeros((2, 3)), indices=np.array([0, 1]), weight_shape=(4, 3))
    with pytest.raises(error, match=message):
        kernels.embedding_backward(**{**arguments, **options})


def test_a_shape_past_64_bits_is_refused():
    with pytest.raises(MemoryError):
        kernels.embedding_backward(np.zeros((2, 3)), np.array([0, 1]), (2**40, 2**40))
