import numpy as np
import pytest

import medkern
from medkern import functional
from medkern.testing import gradcheck


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("function", [functional.softmax, functional.log_softmax])
def test_softmax_gradients(rng, function, dim):
    gradcheck(lambda x: function(x, dim), [rng.standard_normal((2, 3, 4))])


@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2, 2), (2, 66)])
def test_cross_entropy_gradient(rng, shape, reduction, label_smoothing):
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    target.flat[0] = -1
    weight = medkern.tensor(rng.uniform(0.5, 2, shape[1]))
    gradcheck(
        lambda x: functional.cross_entropy(x, target, weight, -1, reduction, label_smoothing),
        [rng.standard_normal(shape)],
    )


def test_cross_entropy_is_the_mean_of_negative_log_softmax(rng):
    x = medkern.tensor(rng.standard_normal((5, 3)))
    target = rng.integers(0, 3, 5)
    loss = functional.cross_entropy(x, medkern.tensor(target))
    log_p = functional.log_softmax(x, 1).numpy()
    np.testing.assert_allclose(loss.item(), -log_p[np.arange(5), target].mean(), rtol=1e-12)


def test_a_constant_with_a_gradient_is_refused():
    x, weight = medkern.tensor(np.zeros((2, 3))), medkern.tensor(np.ones(3), requires_grad=True)
    with pytest.raises(ValueError, match="weight must not require a gradient"):
        functional.cross_entropy(x, np.zeros(2, np.int64), weight)
