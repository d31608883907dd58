import numpy as np
import pytest

import medkern
from medkern import functional, nn
from medkern.autograd import grad, recording


def names_of(run):
    """The operations that are applied meanwhile."""
    names = []
    with recording(lambda function, *_: names.append(function.__name__)):
        run()
    return names


@pytest.fixture
def net():
    medkern.random.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(8, 1))


def test_grad_computes_for_its_inputs_only(net, rng):
    x = medkern.tensor(rng.standard_normal((2, 1, 4, 4)).astype(np.float32), requires_grad=True)
    y = functional.sum(net(x))
    names = names_of(lambda: grad(y, [x], retain_graph=True))
    assert "ConvBackwardInput" in names
    assert not {"ConvBackwardWeight", "LinearBackwardWeight", "BiasBackward"} & set(names)
    names = names_of(lambda: grad(y, [net[3].weight], retain_graph=True))
    assert names == ["Expand", "LinearBackwardWeight"] or "ConvBackwardInput" not in names
    wanted = [x, *net.parameters()]
    several = grad(y, wanted, retain_graph=True)
    for leaf, together in zip(wanted, several, strict=True):
        (alone,) = grad(y, [leaf], retain_graph=True)
        np.testing.assert_array_equal(alone.numpy(), together.numpy())
    y.backward()  # afterwards every leaf gets its gradient again
    for leaf, together in zip(wanted, several, strict=True):
        np.testing.assert_array_equal(leaf.grad.numpy(), together.numpy())


def test_grad_of_what_does_not_depend_on_the_input(net, rng):
    a = medkern.tensor([2.0], requires_grad=True)
    b = medkern.tensor([3.0], requires_grad=True)
    assert grad(functional.square(a), [b]) == [None]
    first, second = grad([functional.square(a), functional.mul(a, b)], [a, b])
    assert first.item() == 7.0 and second.item() == 2.0
    assert grad(a, [a])[0].item() == 1.0 and grad(a, [b]) == [None]


def test_what_cannot_be_differentiated_twice_may_lie_beside_the_way():
    a = medkern.tensor([[2.0, 1.0]], requires_grad=True)
    b = medkern.tensor([[3.0, 1.0]], requires_grad=True)
    y = functional.sum(functional.mul(functional.softmax(a, 1), functional.square(b)))
    (slope,) = grad(y, [b], create_graph=True, retain_graph=True)
    assert slope.requires_grad
    with pytest.raises(RuntimeError, match=r"Softmax can be differentiated once only"):
        grad(y, [a], create_graph=True)
