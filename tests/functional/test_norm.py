import numpy as np
import pytest

import medkern
from arrays import channels_last
from medkern import functional
from medkern.autograd import grad
from medkern.testing import gradcheck


@pytest.fixture
def arrays(rng):
    return [rng.standard_normal(shape) for shape in ((2, 4, 3, 2), (4,), (4,))]


def test_batch_norm_gradient(arrays):
    gradcheck(lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True), arrays)


def test_batch_norm_gradient_with_running_statistics(arrays):
    mean, var = (medkern.tensor(np.linspace(start, 2, 4)) for start in (-1, 0.5))
    gradcheck(lambda x, w, b: functional.batch_norm(x, mean, var, w, b), arrays)


def test_instance_norm_gradient(arrays):
    gradcheck(functional.instance_norm, arrays)


def test_group_norm_gradient(arrays):
    gradcheck(lambda x, w, b: functional.group_norm(x, 2, w, b), arrays)


@pytest.mark.parametrize(
    "norm",
    [
        lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True, activation="relu"),
        lambda x, w, b: functional.instance_norm(x, w, b, activation="relu"),
        lambda x, w, b: functional.group_norm(x, 2, w, b, activation="relu"),
    ],
)
def test_gradient_with_relu(arrays, norm):
    assert (norm(*[medkern.tensor(a) for a in arrays]).numpy() == 0).any()
    gradcheck(norm, arrays)


def test_layer_norm_gradient(rng):
    arrays = [rng.standard_normal(shape) for shape in ((3, 2, 5), (2, 5), (2, 5))]
    gradcheck(lambda x, w, b: functional.layer_norm(x, (2, 5), w, b), arrays)


@pytest.mark.parametrize(
    "norm",
    [
        lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True),
        lambda x, w, b: functional.batch_norm(x, None, None, w, b, training=True, activation="relu"),
        lambda x, w, b: functional.batch_norm(
            x, medkern.tensor(np.linspace(-1, 1, 4)), medkern.tensor(np.linspace(0.5, 2, 4)), w, b
        ),
        functional.instance_norm,
        lambda x, w, b: functional.group_norm(x, 2, w, b, activation="relu"),
        lambda x, w, b: functional.layer_norm(functional.permute(x, (0, 2, 3, 1)), 4, w, b),
        lambda x, w, b: functional.group_norm(x, 2),
    ],
)
def test_gradients_of_gradients(arrays, norm):
    """And the gradients that can be differentiated are those of the kernel."""
    tensors = [medkern.tensor(a, requires_grad=True) for a in arrays]
    y = norm(*tensors)
    dy = medkern.tensor(np.random.default_rng(1).standard_normal(y.shape))
    once = grad(y, tensors, [dy], retain_graph=True)
    twice = grad(y, tensors, [dy], create_graph=True)
    for a, b in zip(once, twice, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-10, atol=1e-12)
    wanted = [a for a, g in zip(arrays, once, strict=True) if g is not None]
    gradcheck(
        lambda *x: functional.square(norm(*x, *[medkern.tensor(a) for a in arrays[len(wanted) :]])),
        wanted,
        create_graph=True,
    )


def test_gradients_without_weight_and_bias(arrays):
    for function in (
        lambda x: functional.batch_norm(x, None, None, training=True),
        functional.instance_norm,
        lambda x: functional.group_norm(x, 2),
        lambda x: functional.layer_norm(x, 2),
    ):
        gradcheck(function, arrays[:1])


def test_channels_last_gives_the_same_gradients(arrays):
    x, weight, _ = arrays
    grads = []
    for layout in (np.ascontiguousarray, channels_last):
        leaf = medkern.Tensor(medkern._C.Array(layout(x)), requires_grad=True)
        y = functional.batch_norm(leaf, None, None, medkern.tensor(weight), training=True)
        y.backward(medkern.tensor(np.arange(y.size, dtype=np.float64).reshape(y.shape)))
        grads.append(leaf.grad.numpy())
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-12, atol=1e-12)


def test_running_statistics_follow_the_batches(rng):
    mean, var = medkern.tensor(np.zeros(3)), medkern.tensor(np.ones(3))
    expected_mean, expected_var = np.zeros(3), np.ones(3)
    for _ in range(3):
        x = rng.standard_normal((5, 3, 4))
        functional.batch_norm(medkern.tensor(x), mean, var, training=True, momentum=0.2)
        expected_mean = 0.8 * expected_mean + 0.2 * x.mean((0, 2))
        expected_var = 0.8 * expected_var + 0.2 * x.var((0, 2), ddof=1)
    np.testing.assert_allclose(mean.numpy(), expected_mean, rtol=1e-12)
    np.testing.assert_allclose(var.numpy(), expected_var, rtol=1e-12)


def test_a_changed_input_is_refused(arrays):
    x = medkern.tensor(arrays[0])
    weight = medkern.tensor(arrays[1], requires_grad=True)
    y = functional.batch_norm(x, None, None, weight, training=True)
    x.copy_(np.zeros(x.shape))
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward(medkern.tensor(np.ones(y.shape)))
