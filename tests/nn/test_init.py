import math

import numpy as np
import pytest

import medkern
from medkern.nn import init


@pytest.fixture(autouse=True)
def seed():
    medkern.random.manual_seed(5)


def empty(*shape, dtype=np.float32):
    return medkern.tensor(np.full(shape, np.nan, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constants(dtype):
    for function, value in [(init.zeros_, 0), (init.ones_, 1), (lambda t: init.constant_(t, 2.5), 2.5)]:
        x = empty(2, 3, dtype=dtype)
        assert function(x) is x and x.dtype == dtype and x._version == 1
        np.testing.assert_array_equal(x.numpy(), np.full((2, 3), value))


def check_uniform(x, low, high):
    """10000 draws: mean and spread lie within five standard deviations of theirs."""
    values = x.numpy().astype(np.float64)
    assert values.min() >= low and values.max() <= high
    width = high - low
    assert abs(values.mean() - (low + high) / 2) < 5 * width / math.sqrt(12 * x.size)
    assert abs(values.std() - width / math.sqrt(12)) < 5 * width * math.sqrt(1 / 180 / x.size)


def check_normal(x, mean, std):
    values = x.numpy().astype(np.float64)
    assert abs(values.mean() - mean) < 5 * std / math.sqrt(x.size)
    assert abs(values.std() - std) < 5 * std / math.sqrt(2 * x.size)
    assert np.abs(values - mean).max() > 3 * std  # which uniform numbers never are


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uniform_and_normal(dtype):
    x = empty(100, 100, dtype=dtype)
    check_uniform(init.uniform_(x, -1, 3), -1, 3)
    check_normal(init.normal_(x, 2, 0.5), 2, 0.5)
    with pytest.raises(ValueError, match="uniform_: a must not exceed b, got 2 and 1"):
        init.uniform_(x, 2, 1)
    with pytest.raises(ValueError, match="normal_: std must not be negative, got -1"):
        init.normal_(x, 0, -1)


def test_xavier():
    x = empty(50, 20, 2, 5)  # fan_in 200, fan_out 500
    bound = math.sqrt(6 / 700)
    check_uniform(init.xavier_uniform_(x), -bound, bound)
    check_uniform(init.xavier_uniform_(x, 2.0), -2 * bound, 2 * bound)
    check_normal(init.xavier_normal_(x, 3.0), 0, 3 * math.sqrt(2 / 700))


def test_kaiming():
    x = empty(50, 20, 2, 5)
    bound = math.sqrt(6 / 200)
    check_uniform(init.kaiming_uniform_(x), -bound, bound)
    bound = math.sqrt(3 / 500)
    check_uniform(init.kaiming_uniform_(x, mode="fan_out", nonlinearity="linear"), -bound, bound)
    check_normal(init.kaiming_normal_(x, nonlinearity="relu"), 0, math.sqrt(2 / 200))
    check_normal(init.kaiming_normal_(x, a=2.0), 0, math.sqrt(2 / 5 / 200))
    with pytest.raises(ValueError, match="kaiming_normal_: mode must be 'fan_in' or 'fan_out', got 'fan'"):
        init.kaiming_normal_(x, mode="fan")


@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 4), (3, 2, 2, 2)])
def test_orthogonal(shape):
    x = init.orthogonal_(empty(*shape, dtype=np.float64), gain=2.0)
    matrix = x.numpy().reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


@pytest.mark.parametrize(
    "function", [init.xavier_uniform_, init.xavier_normal_, init.kaiming_uniform_, init.orthogonal_]
)
def test_weights_need_two_axes(function):
    with pytest.raises(
        ValueError, match=rf"{function.__name__}: tensor must have at least 2 dimensions, got \(3,\)"
    ):
        function(empty(3))


def test_gains():
    assert init.calculate_gain("relu") == math.sqrt(2)
    assert init.calculate_gain("tanh") == 5 / 3
    assert init.calculate_gain("leaky_relu") == pytest.approx(math.sqrt(2 / 1.0001))
    assert init.calculate_gain("sigmoid") == init.calculate_gain("linear") == init.calculate_gain("conv") == 1
    with pytest.raises(ValueError, match=r"calculate_gain: nonlinearity must be one of .*, got 'swish'"):
        init.calculate_gain("swish")
