import numpy as np
import pytest

import medkern
from arrays import FORMATS
from medkern import kernels

# Channels and positions around the vector width; the last is long enough for several chunks of a sum.
SHAPES = [(2, 4, 3), (3, 15, 5), (1, 16, 4, 4), (2, 17, 3, 5), (1, 34, 2, 3, 4), (2, 2, 70, 66)]


def forward(kind, x, weight, bias, activation):
    """y, and what the backward pass takes behind dy and x."""
    if kind == "batch":
        y, *stats = kernels.batch_norm(
            x, None, None, weight, bias, True, return_stats=True, activation=activation
        )
        return y, (*stats, weight)
    if kind == "instance":
        y, *stats = kernels.instance_norm(x, weight, bias, return_stats=True, activation=activation)
        return y, (*stats, weight)
    groups = x.shape[1] // 2 if x.shape[1] % 2 == 0 else 1
    y, *stats = kernels.group_norm(x, groups, weight, bias, return_stats=True, activation=activation)
    return y, (groups, *stats, weight)


BACKWARD = {
    "batch": kernels.batch_norm_backward,
    "instance": kernels.instance_norm_backward,
    "group": kernels.group_norm_backward,
}


@pytest.mark.parametrize("layout", FORMATS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", BACKWARD)
def test_relu_has_the_bits_of_the_two_steps(isa, rng, kind, shape, dtype, layout):
    # The norm alone is compared with the oracle in test_norm.py; fused, nothing may change.
    x = layout((1 + 2 * rng.standard_normal(shape)).astype(dtype))
    weight, bias = (rng.standard_normal(shape[1]).astype(dtype) for _ in range(2))
    dy = layout(rng.standard_normal(shape).astype(dtype))
    plain, stats = forward(kind, x, weight, bias, None)
    y, _ = forward(kind, x, weight, bias, "relu")
    np.testing.assert_array_equal(y, kernels.relu(plain))
    assert (y == 0).any() and (y > 0).any()
    found = BACKWARD[kind](dy, x, *stats, bias=bias, activation="relu")
    expected = BACKWARD[kind](layout(np.where(plain > 0, dy, dtype(0))), x, *stats)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("layout", FORMATS)
def test_relu_with_running_statistics(isa, rng, layout):
    shape = (2, 17, 3, 5)
    x, dy = (layout(rng.standard_normal(shape).astype(np.float32)) for _ in range(2))
    mean, weight, bias = (rng.standard_normal(17).astype(np.float32) for _ in range(3))
    var = np.abs(mean) + np.float32(0.1)
    plain, *stats = kernels.batch_norm(x, mean, var, weight, bias, return_stats=True)
    np.testing.assert_array_equal(
        kernels.batch_norm(x, mean, var, weight, bias, activation="relu"), kernels.relu(plain)
    )
    found = kernels.batch_norm_backward(dy, x, *stats, weight, False, bias=bias, activation="relu")
    passed = layout(np.where(plain > 0, dy, np.float32(0)))
    for one, other in zip(found, kernels.batch_norm_backward(passed, x, *stats, weight, False), strict=True):
        np.testing.assert_array_equal(one, other)


def test_nan_passes_relu(isa):
    x = np.ones((1, 2, 5), np.float32)
    x[0, 1, 2] = np.nan
    y = kernels.instance_norm(x, activation="relu")
    assert np.isnan(y[0, 1]).all() and (y[0, 0] == 0).all()


def test_any_number_of_threads_gives_the_same_bits(rng):
    x, dy = (rng.standard_normal((3, 24, 40, 41)).astype(np.float32) for _ in range(2))
    weight, bias = (rng.standard_normal(24).astype(np.float32) for _ in range(2))
    results = []
    before = medkern.get_num_threads()
    for threads in (1, 2, 3):
        medkern.set_num_threads(threads)
        y, stats = forward("batch", x, weight, bias, "relu")
        gradients = kernels.batch_norm_backward(dy, x, *stats, bias=bias, activation="relu")
        results.append([a.tobytes() for a in (y, *gradients)])
    medkern.set_num_threads(before)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize("kind", BACKWARD)
def test_unknown_activations_are_named(kind):
    x = np.ones((2, 2, 3), np.float32)
    with pytest.raises(ValueError, match=f"{kind}_norm: activation must be None or 'relu', got 'tanh'"):
        forward(kind, x, None, None, "tanh")


@pytest.mark.parametrize("layout", FORMATS[:2])
def test_results_larger_than_the_caches(isa, rng, layout):
    # They are written past the caches, those of one sample are not; the statistics are a sample's.
    x = layout(rng.standard_normal((2, 32, 280, 284), np.float32))
    assert 2 * x.nbytes > 36 << 20
    weight, bias = rng.standard_normal((2, 32), np.float32)
    y, mean, rstd = kernels.instance_norm(x, weight, bias, return_stats=True, activation="relu")
    one = kernels.instance_norm(x[:1], weight, bias, activation="relu")
    np.testing.assert_array_equal(y[:1], one)

    def backward(end):
        return kernels.instance_norm_backward(
            x[:end], x[:end], mean[:end], rstd[:end], weight, bias=bias, activation="relu"
        )[0]

    np.testing.assert_array_equal(backward(2)[:1], backward(1))
