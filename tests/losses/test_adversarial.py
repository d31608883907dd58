import math

import numpy as np
import pytest

import medkern
from medkern import functional, losses, nn
from medkern.autograd import grad
from medkern.testing import gradcheck

REAL = np.array([2.0, -0.5])
MADE = np.array([-3.0, 0.25])


def softplus(x):
    return math.log1p(math.exp(x))


# By hand, from the formulas.
EXPECTED = {
    "bce": (
        (softplus(-2) + softplus(0.5) + softplus(-3) + softplus(0.25)) / 2,
        (softplus(3) + softplus(-0.25)) / 2,
    ),
    "least_squares": ((1 + 2.25 + 9 + 0.0625) / 4, (16 + 0.5625) / 4),
    "hinge": ((0 + 1.5) / 2 + (0 + 1.25) / 2, 1.375),
    "wasserstein": (-1.375 - 0.75, 1.375),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_losses_by_hand(kind):
    loss = losses.AdversarialLoss(kind)
    of_discriminator, of_generator = EXPECTED[kind]
    real, made = medkern.tensor(REAL), medkern.tensor(MADE)
    assert loss.discriminator(real, made).item() == pytest.approx(of_discriminator, rel=1e-12)
    assert loss.generator(made).item() == pytest.approx(of_generator, rel=1e-12)
    gradcheck(loss.discriminator, [REAL, MADE])
    gradcheck(loss.generator, [MADE])
    assert repr(loss) == f"AdversarialLoss({kind!r})"


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match=r"kind must be one of bce, .*, got 'minimax'"):
        losses.AdversarialLoss("minimax")


def test_r1_of_a_linear_discriminator_is_half_its_squared_weight(rng):
    weight = rng.standard_normal((1, 6))
    x = medkern.tensor(rng.standard_normal((3, 6)))
    penalty = losses.r1_penalty(lambda x: functional.linear(x, medkern.tensor(weight)), x)
    assert penalty.item() == pytest.approx(np.square(weight).sum() / 2, rel=1e-12)


def test_the_gradient_penalty_of_a_linear_discriminator(rng):
    weight = rng.standard_normal((1, 6))
    real, made = (medkern.tensor(rng.standard_normal((3, 6))) for _ in range(2))
    w = medkern.tensor(weight, requires_grad=True)
    penalty = losses.gradient_penalty(lambda x: functional.linear(x, w), real, made)
    length = np.linalg.norm(weight)
    assert penalty.item() == pytest.approx((length - 1) ** 2, rel=1e-6)
    (slope,) = grad(penalty, [w])
    np.testing.assert_allclose(slope.numpy(), 2 * (length - 1) * weight / length, rtol=1e-6)


def test_images_are_mixed_by_numbers_of_the_seed(rng):
    real, made = (medkern.tensor(rng.standard_normal((2, 4))) for _ in range(2))
    seen = []

    def discriminator(x):
        seen.append(x.numpy())
        return functional.square(x)

    medkern.random.manual_seed(4)
    losses.gradient_penalty(discriminator, real, made)
    medkern.random.manual_seed(4)
    e = medkern.random.uniform((2, 1), dtype="float64").numpy()
    np.testing.assert_allclose(seen[0], e * real.numpy() + (1 - e) * made.numpy(), rtol=1e-12)
    assert 0 < e[0] < 1 and e[0] != e[1]


def discriminator(norm):
    """What a DCGAN has: strided convolutions, norms, leaky ReLU, a linear layer."""
    layers = [nn.Conv2d(1, 3, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(3, 4, 4, stride=2, padding=1)]
    layers += {"batch": [nn.BatchNorm2d(4)], "instance": [nn.InstanceNorm2d(4, affine=True)], None: []}[norm]
    net = nn.Sequential(*layers, nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(16, 1))
    if norm is None:
        for layer in (net[0], net[2], net[-1]):
            nn.spectral_norm(layer)
            layer.eval()  # u and v stay where they are
    return net.to("float64")


@pytest.mark.parametrize("norm", ["batch", "instance", None])
@pytest.mark.parametrize("kind", ["r1", "wgan"])
def test_gradients_of_penalties_by_differences(norm, kind, rng):
    medkern.random.manual_seed(3)
    net = discriminator(norm)
    parameters = dict(net.named_parameters())
    real, made = (medkern.tensor(rng.standard_normal((2, 1, 8, 8))) for _ in range(2))

    def penalty():
        medkern.random.manual_seed(5)
        if kind == "r1":
            return losses.r1_penalty(net, real)
        return losses.gradient_penalty(net, real, made)

    penalty().backward()
    largest = 0.0
    for name, parameter in parameters.items():
        if parameter.grad is None:
            continue  # a bias of the last layer moves no slope
        values = parameter.numpy()
        for index in list(np.ndindex(values.shape))[:: max(1, values.size // 5)]:
            before = values[index]
            differences = []
            for step in (1e-5, -1e-5):
                changed = values.copy()
                changed[index] = before + step
                parameter.copy_(changed)
                differences.append(penalty().item())
            values = values.copy()
            values[index] = before
            parameter.copy_(values)
            numeric = (differences[0] - differences[1]) / 2e-5
            assert parameter.grad.numpy()[index] == pytest.approx(numeric, rel=1e-4, abs=1e-7), name
            largest = max(largest, abs(numeric))
    assert largest > 1e-3


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"made must have the shape of real \(2, 3\), got \(1, 3\)"):
        losses.gradient_penalty(functional.square, medkern.zeros((2, 3)), medkern.zeros((1, 3)))
    constant = medkern.tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match="must depend on its input"):
        losses.r1_penalty(lambda x: constant, medkern.zeros((1, 3)))
