import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.testing import gradcheck


@pytest.mark.parametrize("return_indices", [False, True])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_max_pool_gradient(rng, rank, return_indices):
    # A shuffled range: no ties, and all differences far larger than the step.
    shape = (2, 3) + (5,) * rank
    x = rng.permutation(np.prod(shape)).reshape(shape).astype(np.float64)
    pool = [functional.max_pool1d, functional.max_pool2d, functional.max_pool3d][rank - 1]
    gradcheck(lambda x: pool(x, 3, 2, 1, return_indices=return_indices), [x])


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
