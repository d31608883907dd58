import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.testing import gradcheck


@pytest.mark.parametrize("batch", [(), (2,)])
def test_matmul_gradient(rng, batch):
    a, b = rng.standard_normal((*batch, 3, 4)), rng.standard_normal((*batch, 4, 2))
    gradcheck(functional.matmul, [a, b], create_graph=True)


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_gradient(rng, leading, with_bias):
    inputs = [rng.standard_normal((*leading, 4)), rng.standard_normal((3, 4))]
    if with_bias:
        inputs.append(rng.standard_normal(3))
    gradcheck(functional.linear, inputs, create_graph=True)


def test_linear_takes_single_precision():
    x, weight = np.ones((2, 3), np.float32), np.full((4, 3), 2, np.float32)
    y = functional.linear(medkern.tensor(x), medkern.tensor(weight))
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y.numpy(), np.full((2, 4), 6))


def test_errors_of_the_kernels_pass():
    with pytest.raises(ValueError, match="a has 3 columns, b has 2 rows"):
        functional.matmul(medkern.tensor(np.zeros((2, 3))), medkern.tensor(np.zeros((2, 3))))
