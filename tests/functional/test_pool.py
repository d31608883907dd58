import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.functional import pool
from medkern.testing import gradcheck


@pytest.mark.parametrize("return_indices", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool_gradient(rng, rank, return_indices):
    # A shuffled range: no ties, and all differences far larger than the step.
    shape = (2, 3) + (5,) * rank
    x = rng.permutation(np.prod(shape)).reshape(shape).astype(np.float64)
    max_pool = [functional.max_pool1d, functional.max_pool2d, functional.max_pool3d][rank - 1]
    gradcheck(lambda x: max_pool(x, 3, 2, 1, return_indices=return_indices), [x])


def test_max_pool_gives_indices_on_request():
    x = medkern.tensor(np.arange(16.0, dtype=np.float32).reshape(1, 1, 4, 4))
    y, indices = functional.max_pool2d(x, 2, return_indices=True)
    np.testing.assert_array_equal(y.numpy()[0, 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(indices.numpy()[0, 0], [[5, 7], [13, 15]])


def test_a_second_derivative_is_refused():
    x = medkern.tensor(np.zeros((1, 1, 2, 2)), requires_grad=True)
    y = functional.max_pool2d(x, 2)
    with pytest.raises(RuntimeError, match="MaxPool can be differentiated once only"):
        y.backward(medkern.tensor(np.ones((1, 1, 1, 1))), create_graph=True)


AVERAGE = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
ADAPTIVE_AVERAGE = {
    1: functional.adaptive_avg_pool1d,
    2: functional.adaptive_avg_pool2d,
    3: functional.adaptive_avg_pool3d,
}
ADAPTIVE_MAX = {
    1: functional.adaptive_max_pool1d,
    2: functional.adaptive_max_pool2d,
    3: functional.adaptive_max_pool3d,
}
UNPOOL = {1: functional.max_unpool1d, 2: functional.max_unpool2d, 3: functional.max_unpool3d}


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_average_gradients(rng, rank):
    x = rng.standard_normal((1, 2) + (4,) * rank)
    gradcheck(lambda x: AVERAGE[rank](x, 3, 2, 1, count_include_pad=False), [x])
    gradcheck(lambda x: ADAPTIVE_AVERAGE[rank](x, 3), [x])


def test_the_gradients_of_averages_can_be_differentiated(rng):
    window = dict(kernel_size=3, stride=2, padding=1, ceil_mode=False, count_include_pad=True)
    dy = rng.standard_normal((1, 2, 2, 3))
    gradcheck(lambda dy: pool.AvgPoolBackward.apply(dy, input_shape=(1, 2, 4, 5), **window), [dy])
    gradcheck(lambda dy: pool.AdaptiveAvgPoolBackward.apply(dy, input_shape=(1, 2, 4, 5)), [dy])


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_adaptive_max_and_unpool_gradients(rng, rank):
    shape = (2, 3) + (4,) * rank
    x = rng.permutation(np.prod(shape)).reshape(shape).astype(np.float64)
    gradcheck(lambda x: ADAPTIVE_MAX[rank](x, 3), [x])
    y, indices = ADAPTIVE_MAX[rank](medkern.tensor(x), 2, return_indices=True)
    gradcheck(lambda y: UNPOOL[rank](y, indices, 2), [y.numpy()])


def test_the_rank_is_checked():
    x = medkern.tensor(np.zeros((1, 1, 4, 4)))
    indices = medkern.tensor(np.zeros((1, 1, 4, 4), np.int64))
    for call in (
        lambda: functional.max_pool1d(x, 2),
        lambda: functional.avg_pool3d(x, 2),
        lambda: functional.adaptive_avg_pool1d(x, 2),
        lambda: functional.adaptive_max_pool3d(x, 2),
        lambda: functional.max_unpool1d(x, indices, 2),
    ):
        with pytest.raises(ValueError, match=r"x must have [35] dimensions, got 4"):
            call()
