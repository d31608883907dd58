import numpy as np
import pytest

import medkern
from arrays import FORMATS, channels_last
from medkern import kernels
from reference import norm as reference

# Channels around the vector width, positions around it, 1-D to 3-D; the last are long enough for several
# chunks of a sum (128 pixels channels-last, 4096 numbers contiguous).
SHAPES = [
    (2, 4, 3),
    (3, 15, 5),
    (2, 16, 4, 4),
    (2, 17, 3, 5),
    (1, 34, 2, 3, 4),
    (4, 1, 17),
    (2, 3, 33, 33),
    (2, 2, 70, 66),
]
BATCH_SHAPES = [*SHAPES, (5, 3), (300, 17), (2, 3, 1, 1), (70, 2, 5)]
UNIT = {np.float32: 2.0**-24, np.float64: 2.0**-53}
# Each result goes through fewer than ten roundings, and the sums behind it are of at most 4096 / 64 terms per
# lane (a handful in the mean): 16 roundings of the terms' magnitude are ample, and a wrong formula misses by
# orders of magnitude more. In float64 the oracle's own sums err as much as ours.
ROUNDINGS = {np.float32: 16, np.float64: 256}


def assert_close(found, expected, scale, dtype):
    assert found.dtype == dtype and found.shape == expected.shape
    error = np.abs(found - expected)
    limit = ROUNDINGS[dtype] * UNIT[dtype] * scale
    assert np.all(error <= limit), f"error {np.max(error / np.maximum(limit, 1e-300))} times the limit"


def channel(values, rank):
    return values.reshape(1, -1, *[1] * (rank - 2)).astype(np.float64)


def parameters(rng, shape, dtype):
    return rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)


def other_axes(rank):
    return (0, *range(2, rank))


def check_statistics(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float64
        np.testing.assert_allclose(one.ravel(), other.ravel(), rtol=1e-6, atol=1e-6)


def check_gradients(found, expected, dtype, parameter_shape):
    for one, (values, scale), shape in zip(
        found, expected, [expected[0][0].shape, parameter_shape, parameter_shape], strict=True
    ):
        assert_close(one, values.reshape(shape), scale.reshape(shape), dtype)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", BATCH_SHAPES)
def test_batch_norm(isa, rng, shape, dtype, layout):
    rank, c = len(shape), shape[1]
    x = layout((3 + 2 * rng.standard_normal(shape)).astype(dtype))
    weight, bias = parameters(rng, c, dtype)
    running_mean, running_var = parameters(rng, c, dtype)
    running_var = np.abs(running_var) + dtype(0.1)
    before = [a.copy() for a in (x, weight, bias, running_mean, running_var)]
    y, mean, rstd = kernels.batch_norm(
        x, running_mean, running_var, weight, bias, True, 0.3, 1e-3, return_stats=True
    )
    stats = reference.statistics(x, other_axes(rank), 1e-3)
    check_statistics((mean, rstd), stats)
    assert_close(y, *reference.normalize(x, *stats, channel(weight, rank), channel(bias, rank)), dtype)
    for now, then in zip((x, weight, bias), before, strict=False):
        np.testing.assert_array_equal(now, then)
    unbiased = np.asarray(x, np.float64).var(other_axes(rank), ddof=1)
    assert_close(
        running_mean,
        0.7 * before[3].astype(np.float64) + 0.3 * stats[0].ravel(),
        np.abs(before[3]) + 0.3 * np.abs(np.asarray(x, np.float64)).mean(other_axes(rank)),
        dtype,
    )
    assert_close(
        running_var, 0.7 * before[4].astype(np.float64) + 0.3 * unbiased, before[4] + unbiased, dtype
    )

    dy = layout(rng.standard_normal(shape).astype(dtype))
    found = kernels.batch_norm_backward(dy, x, mean, rstd, weight)
    expected = reference.gradients(dy, x, *stats, channel(weight, rank), other_axes(rank), other_axes(rank))
    check_gradients(found, expected, dtype, (c,))
    np.testing.assert_array_equal(x, before[0])


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(2, 17, 3, 5), (1, 3, 40), (1, 16, 1, 1)])
def test_batch_norm_with_running_statistics(isa, rng, shape, dtype, layout):
    rank, c = len(shape), shape[1]
    x = layout(rng.standard_normal(shape).astype(dtype))
    weight, bias = parameters(rng, c, dtype)
    running_mean, running_var = parameters(rng, c, dtype)
    running_var = np.abs(running_var) + dtype(0.1)
    running_mean.flags.writeable = running_var.flags.writeable = False
    y, mean, rstd = kernels.batch_norm(x, running_mean, running_var, weight, bias, return_stats=True)
    stats = (
        channel(running_mean, rank),
        1 / np.sqrt(channel(running_var, rank) + 1e-5),
    )
    assert_close(y, *reference.normalize(x, *stats, channel(weight, rank), channel(bias, rank)), dtype)

    dy = layout(rng.standard_normal(shape).astype(dtype))
    found = kernels.batch_norm_backward(dy, x, mean, rstd, weight, training=False)
    axes = other_axes(rank)
    expected = reference.gradients(dy, x, *stats, channel(weight, rank), axes, axes, True)
    check_gradients(found, expected, dtype, (c,))
    # x has no part in dx, not even as NaN.
    dx = kernels.batch_norm_backward(dy, np.full_like(x, np.nan), mean, rstd, weight, training=False)[0]
    np.testing.assert_array_equal(dx, found[0])


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_instance_norm(isa, rng, shape, dtype, layout):
    rank, c = len(shape), shape[1]
    axes = tuple(range(2, rank))
    x = layout((3 + 2 * rng.standard_normal(shape)).astype(dtype))
    before = x.copy()
    weight, bias = parameters(rng, c, dtype)
    y, mean, rstd = kernels.instance_norm(x, weight, bias, return_stats=True)
    stats = reference.statistics(x, axes, 1e-5)
    assert mean.shape == rstd.shape == shape[:2]
    check_statistics((mean, rstd), stats)
    assert_close(y, *reference.normalize(x, *stats, channel(weight, rank), channel(bias, rank)), dtype)

    dy = layout(rng.standard_normal(shape).astype(dtype))
    found = kernels.instance_norm_backward(dy, x, mean, rstd, weight)
    expected = reference.gradients(dy, x, *stats, channel(weight, rank), axes, other_axes(rank))
    check_gradients(found, expected, dtype, (c,))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape,groups",
    [
        ((2, 4, 3), 2),
        ((3, 15, 5), 5),
        ((2, 16, 4, 4), 1),
        ((2, 18, 3, 5), 6),
        ((1, 34, 2, 3, 4), 2),
        ((2, 4, 70, 33), 2),
        ((2, 17, 1, 1), 1),
        ((3, 6), 2),
    ],
)
def test_group_norm(isa, rng, shape, groups, dtype, layout):
    rank, c = len(shape), shape[1]
    x = layout((3 + 2 * rng.standard_normal(shape)).astype(dtype))
    before = x.copy()
    weight, bias = parameters(rng, c, dtype)
    y, mean, rstd = kernels.group_norm(x, groups, weight, bias, return_stats=True)

    split = (shape[0], groups, c // groups, *shape[2:])
    axes = tuple(range(2, len(split)))
    per_channel = (1, groups, c // groups, *[1] * (rank - 2))
    w, b = (v.astype(np.float64).reshape(per_channel) for v in (weight, bias))
    xg = np.asarray(x, np.float64).reshape(split)
    stats = reference.statistics(xg, axes, 1e-5)
    assert mean.shape == rstd.shape == (shape[0], groups)
    check_statistics((mean, rstd), stats)
    values, scale = reference.normalize(xg, *stats, w, b)
    assert_close(y, values.reshape(shape), scale.reshape(shape), dtype)

    dy = layout(rng.standard_normal(shape).astype(dtype))
    found = kernels.group_norm_backward(dy, x, groups, mean, rstd, weight)
    dyg = np.asarray(dy, np.float64).reshape(split)
    (dx, dx_scale), *rest = reference.gradients(dyg, xg, *stats, w, axes, (0, *range(3, len(split))))
    check_gradients(found, [(dx.reshape(shape), dx_scale.reshape(shape)), *rest], dtype, (c,))
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape,rank",
    [
        ((3, 1), 1),
        ((2, 3, 16), 1),
        ((150, 33), 1),
        ((2, 15, 17), 2),
        ((3, 2, 5000), 1),
        ((2, 1030), 1),
        ((7,), 1),
    ],
)
def test_layer_norm(isa, rng, shape, rank, dtype, affine):
    x = (3 + 2 * rng.standard_normal(shape)).astype(dtype)
    before = x.copy()
    lead, normalized = shape[: len(shape) - rank], shape[len(shape) - rank :]
    weight, bias = parameters(rng, normalized, dtype) if affine else (None, None)
    y, mean, rstd = kernels.layer_norm(x, normalized, weight, bias, return_stats=True)
    axes = tuple(range(len(lead), len(shape)))
    stats = reference.statistics(x, axes, 1e-5)
    assert mean.shape == rstd.shape == lead
    check_statistics((mean, rstd), stats)
    w = np.ones(normalized) if weight is None else weight.astype(np.float64)
    b = np.zeros(normalized) if bias is None else bias.astype(np.float64)
    assert_close(y, *reference.normalize(x, *stats, w, b), dtype)

    dy = rng.standard_normal(shape).astype(dtype)
    found = kernels.layer_norm_backward(dy, x, normalized, mean, rstd, weight)
    expected = reference.gradients(dy, x, *stats, w, axes, tuple(range(len(lead))))
    check_gradients(found, expected, dtype, normalized)
    np.testing.assert_array_equal(x, before)


def test_layer_norm_copies_other_layouts(rng):
    x = rng.standard_normal((2, 3, 4, 5)).astype(np.float32)
    expected = kernels.layer_norm(x, (4, 5))
    for layout in FORMATS:
        np.testing.assert_array_equal(kernels.layer_norm(layout(x), (4, 5)), expected)


def test_results_have_the_memory_format_of_x(rng):
    x = rng.standard_normal((2, 3, 8, 8))
    for apply in (
        lambda x: kernels.batch_norm(x, None, None, training=True),
        kernels.instance_norm,
        lambda x: kernels.group_norm(x, 3),
    ):
        assert apply(x).flags.c_contiguous
        assert apply(channels_last(x)).strides[1] == 8
    _, mean, rstd = kernels.instance_norm(x, return_stats=True)
    dx = kernels.instance_norm_backward(x, channels_last(x), mean, rstd)[0]  # dy of the other format
    assert dx.strides[1] == 8
    np.testing.assert_allclose(dx, kernels.instance_norm_backward(x, x, mean, rstd)[0], atol=1e-12)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_a_mean_far_larger_than_the_spread(isa, rng, layout):
    # 1e4 has a spacing of 2^-10 in float32: the data itself is coarse, but its statistics and the result are
    # those of that data, with no digits lost to a rounded mean or to cancellation.
    x = layout((1e4 + 0.01 * rng.standard_normal((4, 16, 24, 25))).astype(np.float32))
    y, mean, rstd = kernels.batch_norm(x, None, None, training=True, eps=1e-12, return_stats=True)
    stats = reference.statistics(x, (0, 2, 3), 1e-12)
    np.testing.assert_allclose(mean, stats[0].ravel(), rtol=1e-10)
    np.testing.assert_allclose(rstd, stats[1].ravel(), rtol=2e-6)
    assert_close(y, *reference.normalize(x, *stats, 1.0, 0.0), np.float32)
    dy = layout(rng.standard_normal(x.shape).astype(np.float32))
    dx = kernels.batch_norm_backward(dy, x, mean, rstd)[0]
    expected = reference.gradients(dy, x, *stats, 1.0, (0, 2, 3), (0, 2, 3))
    assert_close(dx, *expected[0], np.float32)

    rows = np.asarray(x).reshape(64, 600)
    stats = reference.statistics(rows, (1,), 1e-12)
    assert_close(
        kernels.layer_norm(rows, 600, eps=1e-12), *reference.normalize(rows, *stats, 1.0, 0.0), np.float32
    )


def results_of_everything(x, dy):
    yield from kernels.batch_norm(x, None, None, training=True, return_stats=True)
    _, mean, rstd = kernels.batch_norm(x, None, None, training=True, return_stats=True)
    yield from kernels.batch_norm_backward(dy, x, mean, rstd)
    yield from results_per_sample(x, dy)


def results_per_sample(x, dy):
    c = x.shape[1]
    y, mean, rstd = kernels.instance_norm(x, return_stats=True)
    yield from (y, mean, rstd, kernels.instance_norm_backward(dy, x, mean, rstd)[0])
    y, mean, rstd = kernels.group_norm(x, c // 2, return_stats=True)
    yield from (y, mean, rstd, kernels.group_norm_backward(dy, x, c // 2, mean, rstd)[0])
    y, mean, rstd = kernels.layer_norm(x, x.shape[2:], return_stats=True)
    yield from (y, mean, rstd, kernels.layer_norm_backward(dy, x, x.shape[2:], mean, rstd)[0])


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_same_bits_at_any_thread_count(rng, layout):
    x, dy = (layout(rng.standard_normal((3, 20, 40, 41)).astype(np.float32)) for _ in range(2))
    threads = medkern.get_num_threads()
    try:
        runs = []
        for count in (1, 2, 3):
            medkern.set_num_threads(count)
            runs.append(list(results_of_everything(x, dy)))
    finally:
        medkern.set_num_threads(threads)
    for run in runs[1:]:
        for one, other in zip(runs[0], run, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_same_bits_alone_and_in_a_batch(isa, rng, layout):
    x, dy = (layout(rng.standard_normal((3, 20, 30, 31)).astype(np.float32)) for _ in range(2))
    together = list(results_per_sample(x, dy))
    alone = list(results_per_sample(layout(x[1:2]), layout(dy[1:2])))
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one[1:2], other)
    mean, var = np.zeros(20, np.float32), np.ones(20, np.float32)
    np.testing.assert_array_equal(
        kernels.batch_norm(x, mean, var)[1:2], kernels.batch_norm(layout(x[1:2]), mean, var)
    )


@pytest.mark.parametrize("layout", [np.ascontiguousarray, channels_last])
def test_nan_and_infinity_stay_in_their_channel(isa, rng, layout):
    x = rng.standard_normal((2, 20, 4, 4)).astype(np.float32)
    x[0, 3, 1, 1] = np.nan
    x[1, 17, 2, 2] = np.inf
    x = layout(x)
    y = kernels.batch_norm(x, None, None, training=True)
    bad = [3, 17]
    assert np.isnan(y[:, bad]).all()
    assert np.isfinite(np.delete(y, bad, 1)).all()
    y = kernels.instance_norm(x)
    assert np.isnan(y[0, 3]).all() and np.isnan(y[1, 17]).all()
    assert np.isfinite(y[1, 3]).all() and np.isfinite(y[0, 17]).all()


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (0, 3)])
def test_empty_arrays(isa, shape):
    x = np.zeros(shape, np.float32)
    running_mean, running_var = np.full(shape[1], 2, np.float32), np.full(shape[1], 3, np.float32)
    y, mean, rstd = kernels.batch_norm(x, running_mean, running_var, training=True, return_stats=True)
    assert y.shape == shape and (mean == 0).all() and np.isfinite(rstd).all()
    assert (running_mean == 2).all() and (running_var == 3).all()
    for gradient in kernels.batch_norm_backward(x, x, mean, rstd):
        assert (gradient == 0).all()
    assert kernels.batch_norm(x, running_mean, running_var).shape == shape
    y, mean, rstd = kernels.group_norm(x, 1, return_stats=True)
    assert y.shape == shape and mean.shape == (shape[0], 1)
    for gradient in kernels.group_norm_backward(x, x, 1, mean, rstd):
        assert (gradient == 0).all()
    if len(shape) > 2:
        y, mean, rstd = kernels.instance_norm(x, return_stats=True)
        for gradient in kernels.instance_norm_backward(x, x, mean, rstd):
            assert (gradient == 0).all()
    y, mean, rstd = kernels.layer_norm(x, shape[1:], return_stats=True)
    for gradient in kernels.layer_norm_backward(x, x, shape[1:], mean, rstd):
        assert (gradient == 0).all()


def test_out_is_written(rng):
    x = rng.standard_normal((2, 4, 6, 6)).astype(np.float32)
    for apply in (
        lambda out: kernels.batch_norm(x, None, None, training=True, out=out),
        lambda out: kernels.instance_norm(x, out=out),
        lambda out: kernels.group_norm(x, 2, out=out),
        lambda out: kernels.layer_norm(x, 6, out=out),
    ):
        out = np.empty_like(x)
        apply(out)
        np.testing.assert_array_equal(out, apply(None))


X = np.zeros((2, 4, 3, 3), np.float32)
FOUR = np.ones(4, np.float32)


@pytest.mark.parametrize(
    "options,error,message",
    [
        (dict(x=X[:, :, 0, 0][0]), ValueError, "x must have 2 to 5 dimensions, got 1"),
        (dict(x=np.zeros((1,) * 6)), ValueError, "x must have 2 to 5 dimensions, got 6"),
        (dict(x=X.astype(np.int64)), TypeError, "x must be float32 or float64, got int64"),
        (dict(x=X[:1, :, :1, :1]), ValueError, "more than one value per channel, got x"),
        (dict(weight=FOUR[:3]), ValueError, r"weight must have shape \(4,\), got \(3,\)"),
        (dict(bias=FOUR[None]), ValueError, r"bias must have shape \(4,\), got \(1, 4\)"),
        (dict(weight=FOUR.astype(np.float64)), TypeError, "weight must be float32"),
        (dict(running_var=None), ValueError, "running_mean and running_var must be given both"),
        (dict(running_mean=FOUR[:2].copy()), ValueError, "running_mean must have shape"),
        (dict(running_mean=np.ones(8, np.float32)[::2]), ValueError, "running_mean must be contiguous"),
        (dict(running_mean=FOUR[::-1]), ValueError, "running_mean must be aligned"),
        (dict(running_mean=np.broadcast_to(np.float32(1), 4)), ValueError, "running_mean is read-only"),
        (dict(momentum=1.5), ValueError, "momentum must be from 0 to 1, got 1.5"),
        (dict(eps=0.0), ValueError, "eps must be above 0 and finite, got 0"),
        (dict(eps=float("nan")), ValueError, "eps must be above 0"),
        (dict(out=np.empty((2, 4, 3, 2), np.float32)), ValueError, "y must have shape"),
        (dict(out=channels_last(X)), ValueError, "y must have the memory layout of x"),
        (dict(out=X), ValueError, "y must not share memory with x"),
    ],
)
def test_bad_batch_norm_arguments_are_named(options, error, message):
    arguments = dict(x=X, running_mean=FOUR.copy(), running_var=FOUR.copy(), training=True) | options
    with pytest.raises(error, match=message):
        kernels.batch_norm(**arguments)


def test_other_bad_arguments_are_named():
    with pytest.raises(ValueError, match="must be given when training is False"):
        kernels.batch_norm(X, None, None)
    with pytest.raises(ValueError, match="running_var must not share memory with running_mean"):
        kernels.batch_norm(X, FOUR, FOUR, training=True)
    with pytest.raises(ValueError, match="num_groups must divide the 4 channels of x, got 3"):
        kernels.group_norm(X, 3)
    with pytest.raises(ValueError, match="num_groups must be at least 1, got 0"):
        kernels.group_norm(X, 0)
    with pytest.raises(ValueError, match="x must have 3 to 5 dimensions, got 2"):
        kernels.instance_norm(X[:, :, 0, 0])
    with pytest.raises(ValueError, match="more than one value per channel and sample"):
        kernels.instance_norm(X[..., :1, :1])
    with pytest.raises(ValueError, match=r"x must end in normalized_shape \(4,\), got shape \(2, 4, 3, 3\)"):
        kernels.layer_norm(X, 4)
    with pytest.raises(ValueError, match="normalized_shape must have from 1 to 8 sizes, got 0"):
        kernels.layer_norm(X, ())
    with pytest.raises(ValueError, match=r"weight must have shape \(3, 3\), got \(3,\)"):
        kernels.layer_norm(X, (3, 3), FOUR[:3])
    with pytest.raises(TypeError, match="normalized_shape must be an int or a sequence"):
        kernels.layer_norm(X, 3.5)


def test_bad_backward_arguments_are_named():
    mean, rstd = np.zeros(4), np.ones(4)
    with pytest.raises(ValueError, match="dy must have shape"):
        kernels.batch_norm_backward(X[:1], X, mean, rstd)
    with pytest.raises(TypeError, match="dy must be float32"):
        kernels.batch_norm_backward(X.astype(np.float64), X, mean, rstd)
    with pytest.raises(ValueError, match=r"mean must have shape \(4,\)"):
        kernels.batch_norm_backward(X, X, mean[:3], rstd)
    with pytest.raises(TypeError, match="rstd must be float64, got float32"):
        kernels.batch_norm_backward(X, X, mean, FOUR)
    with pytest.raises(ValueError, match=r"mean must have shape \(2, 2\)"):
        kernels.group_norm_backward(X, X, 2, mean, rstd)
    with pytest.raises(ValueError, match=r"mean must have shape \(2, 4\)"):
        kernels.instance_norm_backward(X, X, mean, rstd)
    with pytest.raises(ValueError, match=r"rstd must have shape \(2, 4, 3\)"):
        kernels.layer_norm_backward(X, X, 3, np.zeros((2, 4, 3)), rstd)
    with pytest.raises(ValueError, match="weight must have shape"):
        kernels.batch_norm_backward(X, X, mean, rstd, FOUR[:1])
