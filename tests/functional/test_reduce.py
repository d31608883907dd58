import numpy as np
import pytest

import medkern
from medkern import functional, kernels
from medkern.testing import gradcheck

DIMS = [None, 0, (0, 2), -1, ()]


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", ["sum", "mean", "var", "max", "min"])
def test_reductions(rng, name, dim, keepdim):
    if name == "var" and dim == ():
        dim = 1
    function = getattr(functional, name)
    x = rng.permutation(24).reshape(2, 3, 4) / 7.0  # no ties
    y = function(medkern.tensor(x), dim, keepdim)
    np.testing.assert_array_equal(y.numpy(), getattr(kernels, name)(x, dim, keepdim))
    gradcheck(lambda x: function(x, dim, keepdim), [x])
    if name == "var":
        gradcheck(lambda x: function(x, dim, keepdim), [x], create_graph=True)


def test_second_derivatives_of_linear_reductions(rng):
    x = rng.permutation(12).reshape(3, 4) / 7.0
    for name in ("sum", "mean", "max"):
        function = getattr(functional, name)
        gradcheck(lambda x, f=function: functional.square(f(x, 1)), [x], create_graph=True)


def test_of_equal_elements_the_first_gets_the_gradient():
    x = medkern.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 0.0]], requires_grad=True)
    values, indices = functional.max(x, 1, return_indices=True)
    assert indices.numpy().tolist() == [1, 0] and not indices.requires_grad
    functional.sum(values).backward()
    np.testing.assert_array_equal(x.grad.numpy(), [[0, 1, 0], [1, 0, 0]])


def test_expand(rng):
    x = rng.standard_normal((3, 1))
    y = functional.expand(medkern.tensor(x), (2, -1, 4))
    np.testing.assert_array_equal(y.numpy(), np.broadcast_to(x, (2, 3, 4)))
    gradcheck(lambda x: functional.expand(x, (2, 3, 4)), [x])
    for shape in ((2, 4), (3,), (-1, 3, 1), (3, -2)):
        with pytest.raises(ValueError, match=r"expand: a tensor of shape \(3, 1\) does not stretch to"):
            functional.expand(medkern.tensor(x), shape)
