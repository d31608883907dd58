import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import softmax as reference

# Axes around the vector width, longer than a tile (64), than a chunk of a strip (256) and of a row (4096).
CASES = [
    ((1,), 0),
    ((7,), -1),
    ((3, 15), 1),
    ((40, 3), 1),
    ((2, 16, 5), 1),
    ((37, 5), 1),
    ((9, 31), -1),
    ((2, 17, 3, 5), 1),
    ((2, 5, 3, 17), -1),
    ((2, 3, 4, 33), 2),
    ((1, 4, 2, 3, 9), 1),
    ((33, 64), 1),
    ((3, 65), 1),
    ((2, 5000), 1),
    ((300, 18), 0),
    # On CUDA rows of vectors go by threads, groups of 8, warps and blocks of them.
    ((41, 2), 1),
    ((9, 12), 1),
    ((5, 28), 1),
    ((9, 132), 1),
    ((2, 1027), 1),
]
# exp and log of float32 err by up to 1.3 units in the last place (2^-23) and their arguments are rounded:
# x - max, up to 16 here, by 2^-21. Sums average their errors out.
TOLERANCE = {np.float32: 2e-6, np.float64: 1e-13}


def check(found, expected, dtype):
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def layouts(shape):
    return FORMATS if len(shape) > 2 else [np.ascontiguousarray, FORMATS[2]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape,dim", CASES)
def test_softmax_and_log_softmax(isa, rng, shape, dim, dtype):
    for layout in layouts(shape):
        x = layout((2 * rng.standard_normal(shape)).astype(dtype))
        before = x.copy()
        y = kernels.softmax(x, dim)
        check(y, reference.softmax(x, dim), dtype)
        log_y = kernels.log_softmax(x, dim)
        check(log_y, reference.log_softmax(x, dim), dtype)
        np.testing.assert_array_equal(x, before)

        dy = layout(rng.uniform(-1, 1, shape).astype(dtype))
        wide_y, wide_log_y, wide_dy = (np.asarray(v, np.float64) for v in (y, log_y, dy))
        dx = kernels.softmax_backward(dy, y, dim)
        check(dx, reference.softmax_backward(wide_dy, wide_y, dim), dtype)
        dx = kernels.log_softmax_backward(dy, log_y, dim)
        expected = reference.log_softmax_backward(wide_dy, wide_log_y, dim)
        check(dx, expected, dtype)


def test_results_have_the_memory_format_of_x(rng):
    x = rng.standard_normal((2, 3, 8, 8))
    for function in (kernels.softmax, kernels.log_softmax):
        assert function(x, 1).flags.c_contiguous
        assert function(channels_last(x), 1).strides[1] == 8
    y = kernels.softmax(channels_last(x), 1)
    dx = kernels.softmax_backward(x, y, 1)  # dy of the other format
    assert dx.strides[1] == 8
    np.testing.assert_array_equal(dx, kernels.softmax_backward(channels_last(x), y, 1))


@pytest.mark.parametrize("axis", [3, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_neither_overflow_nor_lose_digits(isa, rng, axis, dtype):
    near = rng.integers(-8, 9, (2, axis, 5)).astype(dtype)  # exact also next to 1e6
    for x, dim in ((near, 1), (np.ascontiguousarray(near.transpose(0, 2, 1)), 2)):
        expected = kernels.log_softmax(x, dim)
        for offset in (1e6, -1e6):
            np.testing.assert_array_equal(kernels.log_softmax(x + dtype(offset), dim), expected)
    y = kernels.log_softmax(np.array([[0, 1000]] * 2 + [[-1e30, 1e30]], dtype), 1)
    np.testing.assert_allclose(y, np.array([[-1000, 0]] * 2 + [[-2e30, 0]]), rtol=1e-6)


@pytest.mark.parametrize("axis", [4, 80])
def test_nan_and_infinity(isa, axis):
    x = np.zeros((4, axis), np.float32)
    x[0, 1], x[1, 1], x[2, 1] = np.nan, np.inf, -np.inf
    for layout in (x, np.ascontiguousarray(x.T)):
        dim = 1 if layout is x else 0
        y = kernels.softmax(layout, dim)
        y = y if dim == 1 else y.T
        assert np.isnan(y[0]).all() and np.isnan(y[1]).all()
        assert y[2, 1] == 0 and np.allclose(np.delete(y[2], 1), 1 / (axis - 1))
        assert np.allclose(y[3], 1 / axis)
    assert np.isnan(kernels.softmax(np.full((2, axis), -np.inf), 1)).all()


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 4, 4), (2, 3, 0)])
def test_empty_arrays(isa, shape):
    x = np.zeros(shape, np.float32)
    y = kernels.softmax(x, -1)
    assert y.shape == shape
    assert kernels.softmax_backward(y, y, 0).shape == shape


def run_with_threads(compute):
    threads = medkern.get_num_threads()
    try:
        runs = []
        for count in (1, 2, 3):
            medkern.set_num_threads(count)
            runs.append(compute())
    finally:
        medkern.set_num_threads(threads)
    for run in runs[1:]:
        for one, other in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("shape", [(3, 5, 60, 61), (50, 1000)])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_same_bits_at_any_thread_count_and_alone(isa, rng, shape, layout):
    x = layout(rng.standard_normal(shape).astype(np.float32))
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    options = dict(reduction="none", label_smoothing=0.1)

    def compute():
        y = kernels.log_softmax(x, 1)
        loss, total = kernels.cross_entropy(x, target, label_smoothing=0.1, return_total_weight=True)
        dx = kernels.cross_entropy_backward(np.float32(1), x, target, total, label_smoothing=0.1)
        return y, kernels.log_softmax_backward(x, y, 1), loss, dx

    run_with_threads(compute)
    one = layout(x[1:2])
    np.testing.assert_array_equal(kernels.softmax(one, 1), kernels.softmax(x, 1)[1:2])
    np.testing.assert_array_equal(
        kernels.cross_entropy(one, target[1:2], **options),
        kernels.cross_entropy(x, target, **options)[1:2],
    )


LOGITS = [(5, 3), (2, 4, 17), (2, 1, 3), (2, 3, 6, 7), (1, 17, 2, 3, 3), (37, 70), (3, 300)]
# And for what CUDA has of its own: see CASES.
LOGITS += [(41, 2), (9, 12), (5, 28), (2, 70, 5), (2, 1027), (2, 1028)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", LOGITS)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_cross_entropy(isa, rng, shape, reduction, label_smoothing, dtype):
    for number, layout in enumerate(layouts(shape)):
        x = layout((2 * rng.standard_normal(shape)).astype(dtype))
        target_dtype = [np.int64, np.int32, np.uint8][number]
        if shape[1] > 255:
            target_dtype = np.int64
        target = rng.integers(0, shape[1], (shape[0], *shape[2:])).astype(target_dtype)
        ignore_index = 255 if target_dtype == np.uint8 else -100
        target.flat[:: 1 + target.size // 3] = ignore_index
        weight = rng.uniform(0.5, 2, shape[1]).astype(dtype) if number != 1 else None
        before = x.copy(), target.copy()
        options = (ignore_index, reduction, label_smoothing)
        loss, total = kernels.cross_entropy(x, target, weight, *options, return_total_weight=True)
        wide = np.ones(shape[1]) if weight is None else weight.astype(np.float64)
        expected = reference.cross_entropy(x, target, wide, *options)
        assert loss.dtype == dtype and loss.shape == np.shape(expected)
        # Terms of a sum are positive: relative to the sum itself their errors don't grow.
        np.testing.assert_allclose(loss, expected, rtol=2 * TOLERANCE[dtype], atol=2 * TOLERANCE[dtype])

        dloss = rng.uniform(0.5, 1, loss.shape).astype(dtype)
        dx = kernels.cross_entropy_backward(dloss, x, target, total, weight, *options)
        check(
            dx,
            reference.cross_entropy_backward(dloss.astype(np.float64), x, target, wide, *options),
            dtype,
        )
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(target, before[1])


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 70)])
def test_a_mean_over_nothing_is_zero(isa, rng, shape):
    x = rng.standard_normal(shape).astype(np.float32)
    target = np.full((shape[0], *shape[2:]), -100)
    cases = [
        (x, target, None),
        (x[:0], target[:0], None),
        (x, np.zeros_like(target), np.zeros(shape[1], np.float32)),
    ]
    for logits, t, weight in cases:
        loss, total = kernels.cross_entropy(logits, t, weight, return_total_weight=True)
        assert loss == 0 and total == 0
        dx = kernels.cross_entropy_backward(np.float32(1), logits, t, total, weight)
        assert dx.shape == logits.shape and (dx == 0).all()


def test_ignored_elements_count_for_nothing_even_as_nan(isa):
    x = np.zeros((4, 3), np.float32)
    x[1] = np.nan
    target = np.array([0, 7, 2, 1])
    loss, total = kernels.cross_entropy(x, target, ignore_index=7, return_total_weight=True)
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)
    dx = kernels.cross_entropy_backward(np.float32(1), x, target, total, ignore_index=7)
    assert (dx[1] == 0).all() and np.isfinite(dx).all()


X = np.zeros((2, 3, 4), np.float32)
T = np.zeros((2, 4), np.int64)


@pytest.mark.parametrize(
    "arguments,error,message",
    [
        ((X, 3), ValueError, "dim must be from -3 to 2, got 3"),
        ((X, -4), ValueError, "dim must be from -3 to 2, got -4"),
        ((np.float32(1), 0), ValueError, "x must have at least 1 dimension, got 0"),
        ((T, 0), TypeError, "x must be float32 or float64, got int64"),
    ],
)
def test_bad_softmax_arguments_are_named(arguments, error, message):
    for function, name in ((kernels.softmax, "softmax"), (kernels.log_softmax, "log_softmax")):
        with pytest.raises(error, match=f"^{name}: {message}"):
            function(*arguments)


def test_bad_softmax_arrays_are_named():
    with pytest.raises(ValueError, match="y must have shape"):
        kernels.softmax(X, 1, out=X[:1].copy())
    with pytest.raises(ValueError, match="y must have the memory layout of x"):
        kernels.softmax(X, 1, out=channels_last(X))
    with pytest.raises(ValueError, match="y must not share memory with x"):
        kernels.softmax(X, 1, out=X)
    with pytest.raises(ValueError, match="dy must have shape"):
        kernels.softmax_backward(X[:1], X, 1)
    with pytest.raises(TypeError, match="dy must be float32"):
        kernels.softmax_backward(X.astype(np.float64), X, 1)


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(target=T + 3), ValueError, r"target must be from 0 to 2 or ignore_index \(-100\), got 3 at"),
        (dict(target=T - 1), ValueError, "got -1 at flat index 0"),
        (dict(target=(T + 9).astype(np.uint8)), ValueError, "got 9 at flat index 0"),
        (dict(target=(T + 9).astype(np.int32)), ValueError, "got 9 at flat index 0"),
        (dict(target=T.astype(np.float32)), TypeError, "target must be int64, int32 or uint8, got float32"),
        (dict(target=T[:, :3]), ValueError, r"target must have shape \(2, 4\), got \(2, 3\)"),
        (dict(logits=X[0, 0]), ValueError, "logits must have at least 2 dimensions, got 1"),
        (dict(logits=X[:, :0]), ValueError, "logits must have at least one class"),
        (dict(logits=T[:, None]), TypeError, "logits must be float32 or float64, got int64"),
        (dict(weight=np.ones(2, np.float32)), ValueError, r"weight must have shape \(3,\), got \(2,\)"),
        (dict(weight=np.ones(3)), TypeError, "weight must be float32 as logits is, got float64"),
        (dict(reduction="max"), ValueError, "reduction must be 'none', 'sum' or 'mean', got 'max'"),
        (dict(label_smoothing=1.5), ValueError, "label_smoothing must be from 0 to 1, got 1.5"),
        (dict(out=np.zeros(1, np.float32)), ValueError, r"loss must have shape \(\), got \(1,\)"),
    ],
)
def test_bad_cross_entropy_arguments_are_named(options, error, message):
    arguments = dict(logits=X, target=T) | options
    with pytest.raises(error, match=message):
        kernels.cross_entropy(**arguments)


def test_bad_cross_entropy_backward_arguments_are_named():
    total = np.array(8.0)
    with pytest.raises(ValueError, match=r"dloss must have shape \(\), got \(2, 4\)"):
        kernels.cross_entropy_backward(np.zeros((2, 4), np.float32), X, T, total)
    with pytest.raises(ValueError, match="target must be from 0 to 2"):
        kernels.cross_entropy_backward(np.float32(1), X, T + 3, total)
    with pytest.raises(TypeError, match="total_weight must be float64, got float32"):
        kernels.cross_entropy_backward(np.float32(1), X, T, np.float32(8))
    with pytest.raises(ValueError, match="dlogits must have shape"):
        kernels.cross_entropy_backward(np.float32(1), X, T, total, out=X[:1].copy())


@pytest.mark.parametrize("axis", [64, 20])
def test_results_larger_than_the_caches(isa, rng, axis):
    # They are written past the caches, those of a half are not.
    x = rng.standard_normal((5_000_000 // axis, axis), np.float32)
    assert 2 * x.nbytes > 36 << 20
    half = len(x) // 2
    dy = x[::-1].copy()
    for logarithmic, function in ((False, kernels.softmax), (True, kernels.log_softmax)):
        backward = kernels.log_softmax_backward if logarithmic else kernels.softmax_backward
        y = function(x, 1)
        np.testing.assert_array_equal(y[:half], function(x[:half], 1))
        np.testing.assert_array_equal(backward(dy, y, 1)[:half], backward(dy[:half], y[:half], 1))
