import numpy as np
import pytest

import medkern
from medkern import functional, kernels
from medkern.testing import gradcheck

# name, numbers, range of the points
UNARY = [
    ("leaky_relu", (0.2,), (-2, 2)),
    ("elu", (0.7,), (-2, 2)),
    ("relu", (), (-2, 2)),
    ("sigmoid", (), (-3, 3)),
    ("tanh", (), (-2, 2)),
    ("silu", (), (-3, 3)),
    ("gelu", (), (-3, 3)),
    ("softplus", (), (-3, 3)),
    ("exp", (), (-2, 2)),
    ("expm1", (), (-2, 2)),
    ("log", (), (0.3, 3)),
    ("log1p", (), (-0.5, 3)),
    ("erf", (), (-2, 2)),
    ("sqrt", (), (0.3, 3)),
    ("abs", (), (-2, 2)),
    ("neg", (), (-2, 2)),
    ("square", (), (-2, 2)),
    ("reciprocal", (), (0.3, 3)),
    ("clamp", (-1.0, 0.7), (-2, 2)),
    ("pow", (3.0,), (-2, 2)),
    ("pow", (2.0,), (-2, 2)),
    ("pow", (-1.7,), (0.3, 3)),
    ("pow", (0.0,), (-2, 2)),
]


@pytest.mark.parametrize("name,numbers,limits", UNARY)
def test_unary(rng, name, numbers, limits):
    function = getattr(functional, name)
    x = rng.uniform(*limits, (3, 4))
    # Away from kinks, whose one-sided slopes no difference gives.
    for kink in (0.0, -1.0, 0.7):
        x = np.where(np.abs(x - kink) < 1e-2, kink + 0.05, x)
    y = function(medkern.tensor(x), *numbers)
    np.testing.assert_array_equal(y.numpy(), getattr(kernels, name)(x, *numbers))
    gradcheck(lambda x: function(x, *numbers), [x])
    if name not in ("relu", "leaky_relu", "abs", "neg", "clamp"):
        gradcheck(lambda x: function(x, *numbers), [x], create_graph=True)


def test_gradients_at_kinks():
    def slope(function, value):
        x = medkern.tensor([value], requires_grad=True)
        function(x).backward()
        return x.grad.item()

    assert slope(functional.relu, 0.0) == 0
    assert slope(functional.abs, 0.0) == 0
    assert slope(lambda x: functional.clamp(x, 0, 1), 1.0) == 1
    assert slope(lambda x: functional.clamp(x, 0, 1), 1.5) == 0
    assert slope(lambda x: functional.maximum(x, 0.0), 0.0) == 0.5


def test_a_third_derivative():
    x = medkern.tensor([0.3], dtype="float64", requires_grad=True)
    y = functional.sigmoid(x)
    for _ in range(3):
        (y,) = medkern.autograd.grad(y, [x], create_graph=True)
    s = 1 / (1 + np.exp(-0.3))
    np.testing.assert_allclose(y.item(), s * (1 - s) * (1 - 6 * s + 6 * s * s), rtol=1e-12)


SHAPES = [((2, 3), (2, 3)), ((2, 3, 2), (3, 1)), ((3, 1), (1, 4)), ((), (2, 2)), ((1,), (3, 1))]


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "maximum", "minimum"])
@pytest.mark.parametrize("shape_a,shape_b", SHAPES)
def test_binary(rng, name, shape_a, shape_b):
    function = getattr(functional, name)
    a, b = rng.uniform(0.5, 2, shape_a), rng.uniform(2.5, 3, shape_b)
    if name in ("maximum", "minimum"):
        b = b - 1.5
    y = function(medkern.tensor(a), medkern.tensor(b))
    np.testing.assert_array_equal(y.numpy(), getattr(kernels, name)(a, b))
    gradcheck(function, [a, b], create_graph=name in ("mul", "div"))


def test_numbers_and_arrays_are_constants(rng):
    x = medkern.tensor(rng.uniform(1, 2, (2, 3)), requires_grad=True)
    y = functional.sub(functional.mul(x, 3), np.ones((1, 3)))
    functional.div(1.0, y).backward(medkern.tensor(np.ones((2, 3))))
    values = 3 * x.numpy() - 1
    np.testing.assert_allclose(x.grad.numpy(), -3 / values**2, rtol=1e-13)
    with pytest.raises(TypeError, match="must be an array"):
        functional.add(1.0, 2.0)


def test_where(rng):
    a, b = rng.standard_normal((2, 3, 4))
    mask = rng.integers(0, 2, (3, 4)).astype(bool)
    y = functional.where(mask, medkern.tensor(a), medkern.tensor(b))
    np.testing.assert_array_equal(y.numpy(), np.where(mask, a, b))
    gradcheck(lambda a, b: functional.where(mask, a, b), [a, b[:1]], create_graph=True)
    gradcheck(lambda a: functional.where(medkern.tensor(mask), a, 0.0), [a])


def test_gradients_keep_the_memory_format(rng):
    memory = rng.standard_normal((2, 4, 4, 8)).transpose(0, 3, 1, 2)
    x = medkern.autograd.Tensor(medkern._C.Array(memory), requires_grad=True)
    y = functional.mean(functional.mul(functional.relu(x), 2.0), (2, 3))
    functional.sum(y).backward()
    assert x.grad.array.is_channels_last and not x.grad.array.is_contiguous
