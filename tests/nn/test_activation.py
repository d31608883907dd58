import numpy as np
import pytest

import medkern
from medkern import functional, nn


def make_input(rng):
    return medkern.tensor(rng.normal(size=(2, 3, 5)).astype(np.float32))


ACTIVATIONS = [
    (nn.ReLU(), functional.relu, {}),
    (nn.LeakyReLU(0.2), functional.leaky_relu, {"negative_slope": 0.2}),
    (nn.ELU(0.5), functional.elu, {"alpha": 0.5}),
    (nn.Sigmoid(), functional.sigmoid, {}),
    (nn.Tanh(), functional.tanh, {}),
    (nn.SiLU(), functional.silu, {}),
    (nn.GELU(), functional.gelu, {}),
    (nn.Softplus(), functional.softplus, {}),
    (nn.Softmax(1), functional.softmax, {"dim": 1}),
    (nn.LogSoftmax(-1), functional.log_softmax, {"dim": -1}),
]


@pytest.mark.parametrize(("net", "operation", "options"), ACTIVATIONS)
def test_activations(rng, net, operation, options):
    x = make_input(rng)
    np.testing.assert_array_equal(net(x).numpy(), operation(x, **options).numpy())
    assert repr(net).startswith(type(net).__name__)


def test_defaults_of_activations(rng):
    x = make_input(rng)
    np.testing.assert_array_equal(nn.LeakyReLU()(x).numpy(), functional.leaky_relu(x, 0.01).numpy())
    np.testing.assert_array_equal(nn.ELU()(x).numpy(), functional.elu(x, 1.0).numpy())
