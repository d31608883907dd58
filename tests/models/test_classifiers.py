import json

import numpy as np
import pytest

import medkern
from medkern import losses, models, optim


@pytest.fixture(autouse=True)
def seed():
    medkern.random.manual_seed(3)


# Published for 1000 classes and images of three channels.
@pytest.mark.parametrize(
    ("depth", "count"), [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032)], ids=lambda value: str(value)
)
def test_resnet_has_as_many_parameters_as_published(depth, count):
    assert sum(p.size for p in models.ResNet(depth).parameters()) == count


def test_alexnet_has_as_many_parameters_as_published():
    assert sum(p.size for p in models.AlexNet().parameters()) == 61_100_840


@pytest.mark.parametrize(
    ("depth", "batch_norm", "count"),
    [(11, False, 132_863_336), (16, False, 138_357_544), (16, True, 138_365_992)],
)
def test_vgg_has_as_many_parameters_as_published(depth, batch_norm, count):
    # Three classes instead of 1000, and the difference reckoned.
    net = models.VGG(depth, classes=3, batch_norm=batch_norm)
    assert sum(p.size for p in net.parameters()) + 997 * 4097 == count


SMALL = [
    (models.CNN, dict(image_size=(12, 16), in_channels=2, classes=3, filters=(4, 8), hidden=(5,)), (12, 16)),
    (models.CNN, dict(image_size=16, in_channels=2, classes=3, padding=0, poolings=1, hidden=()), (16, 16)),
    (models.ResNet, dict(depth=18, in_channels=2, classes=3), (24, 32)),
    (models.ResNet, dict(depth=50, in_channels=2, classes=3), (64, 80)),
]


@pytest.mark.parametrize(("network", "options", "size"), SMALL)
def test_training_lowers_the_loss_and_the_description_makes_it_again(rng, network, options, size):
    net = network(**options)
    x = medkern.tensor(rng.normal(size=(4, 2, *size)).astype(np.float32))
    labels = rng.integers(0, 3, 4)
    # Short steps: batch norms of a few pixels make gradients of a thousand, which hold for a small way only.
    lr = 1e-4
    optimizer = optim.SGD(net.parameters(), lr=lr)
    criterion = losses.CrossEntropyLoss()
    seen, expected = [], []
    for _ in range(3):
        y = net(x)
        assert y.shape == (4, 3)
        optimizer.zero_grad()
        loss = criterion(y, labels)
        loss.backward()
        assert all(p.grad is not None for p in net.parameters())
        norm = optim.clip_grad_norm_(net.parameters(), 1.0).item()
        optimizer.step()
        seen.append(loss.item())
        expected.append(lr * norm * min(norm, 1))
    np.testing.assert_allclose(-np.diff(seen), expected[:-1], rtol=0.2)  # of second order: up to a tenth
    again = models.build(json.loads(json.dumps(models.config(net))))
    again.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(again.eval()(x).numpy(), net.eval()(x).numpy())
    np.testing.assert_allclose(
        medkern.compile(net, x.numpy())(x.numpy()).numpy(), net(x).numpy(), rtol=1e-4, atol=1e-5
    )


def test_cnn_is_the_classic_classifier():
    # Conv(32), pool, Conv(64), pool, Dense(128), softmax over two classes, on 128 x 128 x 3.
    count = (9 * 3 * 32 + 32) + (9 * 32 * 64 + 64) + (64 * 32 * 32 * 128 + 128) + (128 * 2 + 2)
    assert sum(p.size for p in models.CNN(128, 3, 2).parameters()) == count


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.ResNet(20), r"ResNet: depth must be one of \(18, 34, 50, 101, 152\), got 20"),
        (lambda: models.VGG(12), r"VGG: depth must be one of \(11, 13, 16, 19\), got 12"),
        (lambda: models.AlexNet(classes=0), "AlexNet: classes must be positive, got 0"),
        (lambda: models.AlexNet(dropout=2), r"AlexNet: dropout must lie in \[0, 1\], got 2"),
        (lambda: models.CNN(4, filters=(1, 1, 1)), "CNN: image_size 4 leaves no pixel after 3 convolutions"),
        (lambda: models.CNN((4, 5, 6)), "CNN: image_size must be an int or 2 ints, got"),
        (lambda: models.CNN(8, padding=2), "CNN: padding must be 0 or 1, got 2"),
    ],
)
def test_options_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_x_is_checked():
    def check(net, shape, message):
        with pytest.raises(ValueError, match=message):
            net(medkern.tensor(np.zeros(shape, np.float32)))

    net = models.ResNet(18, classes=2)
    check(net, (1, 1, 32, 32), r"ResNet: x must have shape \(N, 3, H, W\), got \(1, 1, 32, 32\)")
    check(net, (1, 3, 32), r"ResNet: x must have shape \(N, 3, H, W\), got \(1, 3, 32\)")
    check(models.AlexNet(classes=2), (1, 3, 62, 80), "AlexNet: x must be at least 63 x 63 pixels, got")
    check(models.CNN(8), (1, 1, 8, 9), r"CNN: x must have shape \(N, 1, 8, 8\), got \(1, 1, 8, 9\)")


def test_a_norm_goes_before_each_relu_of_the_small_classifier():
    net = models.CNN(16, 3, 4, filters=(4, 8), hidden=(6,), norm="batch")
    kinds = [type(module).__name__ for module in net.features]
    assert kinds == ["Conv2d", "BatchNorm2d", "MaxPool2d"] * 2
    kinds = [type(module).__name__ for module in net.classifier]
    assert kinds == ["Dropout", "Linear", "BatchNorm1d", "Dropout", "Linear"]
    assert net.features[0].bias is None and net.features[1].activation == "relu"
    assert models.config(models.build(models.config(net))) == models.config(net)
    with pytest.raises(ValueError, match="CNN: norm must be one of"):
        models.CNN(16, norm="group")
