"""Layers that a norm follows measure their results for it, on CUDA in training."""

import ctypes
import os

import numpy as np
import pytest

import medkern
from medkern import functional, models, nn
from medkern.autograd import recording
from medkern.nn.conv import Convolution

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif("MEDKERN_CUDA_EMULATOR" not in os.environ, reason="the emulator counts"),
]


@pytest.fixture(autouse=True)
def on_cuda():
    with medkern.device("cuda"):
        yield
    medkern.cuda.synchronize()


@pytest.fixture
def passes(sooner):
    """How often a norm has read its input for statistics."""
    count = ctypes.CDLL(os.environ["MEDKERN_CUDA_EMULATOR"]).medkern_emulator_launches
    return lambda: count(b"norm_moments")


def blind(model):
    """Makes convolutions forget what follows."""
    for module in model.modules():
        if isinstance(module, Convolution):
            module._per_sample = None
    return model


def step(model, x):
    """The result and all gradients of a training step."""
    y = model(medkern.tensor(x))
    functional.mean(functional.square(y.to("float32"))).backward()
    return [y.to("float32").numpy()] + [p.grad.numpy() for p in model.parameters()]


def unet(norm, **options):
    return models.UNet(5, 2, filters=(6, 8), norm=norm, activation=None, **options)


MODELS = {
    "unet_batch": (lambda: unet("batch"), (2, 5, 16, 12)),
    "unet_instance": (lambda: unet("instance"), (2, 5, 16, 16)),
    "unet_group": (lambda: unet("group"), (1, 5, 16, 16)),
    "unet_3d": (lambda: unet("batch", spatial_dims=3), (1, 5, 4, 4, 6)),
    "sequential": (
        lambda: nn.Sequential(nn.Conv2d(5, 6, 3), nn.BatchNorm2d(6), nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)),
        (2, 5, 9, 8),
    ),
}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_reads_nothing_for_statistics(rng, passes, name, autocast):
    make, shape = MODELS[name]
    x = rng.standard_normal(shape, np.float32)
    model, other = make(), blind(make())
    other.load_state_dict(model.state_dict())
    before = passes()
    with medkern.autocast(autocast):
        found = step(model, x)
        assert passes() == before
        expected = step(other, x)
    assert passes() > before
    for one, two in zip(found, expected, strict=True):
        # Statistics differ by float32 sums; bfloat16 results may then fall to a neighbor, here and there.
        atol = (2.0**-5 if autocast else 1e-4) * (np.abs(two).max() + 1e-3)
        np.testing.assert_allclose(one, two, rtol=0, atol=atol)
    for one, two in zip(model.buffers(), other.buffers(), strict=True):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=2.0**-7 if autocast else 1e-5, atol=1e-5)


def test_resnet_reads_only_what_is_split_along_its_sum(passes):
    measured = []

    def watch(function, inputs, options, results):
        if function.__name__ == "ConvWithMoments":
            measured.append(len(results) == 2)

    model = models.ResNet(18, in_channels=1, classes=2)
    before = passes()
    with recording(watch):
        model(medkern.zeros((2, 1, 32, 32)))
    # Not the first, of one channel; the four of 64 channels; of others those whose sums are short.
    assert len(measured) == 20 and not measured[0] and all(measured[1:6])
    assert passes() - before == measured.count(False)


def test_in_evaluation_nothing_is_measured(rng, passes):
    model = unet("batch").eval()
    x = medkern.tensor(rng.standard_normal((1, 5, 8, 8), np.float32))
    found = model(x).numpy()
    np.testing.assert_array_equal(found, blind(model)(x).numpy())


def test_a_layer_that_is_replaced():
    layers = nn.Sequential(nn.Conv2d(5, 6, 3), nn.BatchNorm2d(6), nn.ReLU())
    assert layers[0]._per_sample is False
    layers[1] = nn.InstanceNorm2d(6)
    assert layers[0]._per_sample is True
    layers[1] = nn.Identity()
    assert layers[0]._per_sample is None
    layers[1] = nn.GroupNorm(2, 6)
    layers[0] = nn.Conv2d(5, 6, 1, activation="relu")
    assert layers[0]._per_sample is None
    layers[0] = nn.Conv2d(5, 6, 1)
    assert layers[0]._per_sample is True


def test_moments_go_with_the_values(rng, passes):
    conv, norm = nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6)
    conv.precede(norm)
    x = medkern.tensor(rng.standard_normal((1, 8, 9, 8), np.float32))
    y = conv(x)
    assert y.moments is not None and y.sample_moments is None
    assert functional.instance_norm(y).shape == y.shape  # samples of 72 pixels
    assert functional.relu(y).moments is None
    before = passes()
    y.copy_(np.ones(y.shape, np.float32))
    assert y.moments is None
    np.testing.assert_array_equal(norm(y).numpy(), 0)
    assert passes() == before + 1
    y = conv(x)
    norm(y)
    assert y.moments is None  # their memory is not kept for the gradient


def test_the_gradient_of_the_gradient(rng):
    conv, norm = nn.Conv2d(6, 4, 1), nn.InstanceNorm2d(4)

    def penalty():
        x = medkern.tensor(
            np.random.default_rng(1).standard_normal((1, 6, 8, 8), np.float32), requires_grad=True
        )
        y = functional.sum(functional.square(norm(conv(x))) * x[:, :4])
        (dx,) = medkern.autograd.grad(y, [x], create_graph=True)
        conv.zero_grad()
        functional.sum(functional.square(dx)).backward()
        return conv.weight.grad.numpy()

    expected = penalty()
    conv.precede(norm)
    np.testing.assert_allclose(penalty(), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
