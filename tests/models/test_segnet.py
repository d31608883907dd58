import json

import numpy as np
import pytest

import medkern
from medkern import losses, models, optim


def test_it_is_vgg16_and_its_mirror_image():
    net = models.SegNet(filters=(64, 128), convolutions=(2, 2))
    shapes = [p.shape for name, p in net.named_parameters() if p.ndim == 4]
    assert [(a, b) for b, a, *_ in shapes] == [
        (3, 64),
        (64, 64),
        (64, 128),
        (128, 128),
        (128, 128),
        (128, 64),
        (64, 64),
        (64, 1),
    ]


def test_a_value_returns_to_where_it_was_the_largest(rng):
    # One level of the identity: what is left is max pooling and unpooling.
    net = models.SegNet(1, 1, filters=(1,), convolutions=(1,)).eval()
    identity = np.zeros((1, 1, 3, 3), np.float32)
    identity[0, 0, 1, 1] = 1
    net.down[0][0][0].weight.copy_(identity)
    net.up[0][0].weight.copy_(identity)
    x = rng.uniform(1, 2, (1, 1, 6, 8)).astype(np.float32)
    y = net(medkern.tensor(x)).numpy()[0, 0]
    blocks = x[0, 0].reshape(3, 2, 4, 2)
    largest = blocks == blocks.max(axis=(1, 3), keepdims=True)
    expected = np.where(largest, blocks, 0).reshape(6, 8)
    np.testing.assert_allclose(y, expected, rtol=1e-4)  # the batch norm divides by sqrt(1 + 1e-5)


@pytest.mark.parametrize("size", [(8, 12), (9, 15)])
def test_training_lowers_the_loss_at_any_size(rng, size):
    medkern.random.manual_seed(0)
    net = models.SegNet(2, 3, filters=(4, 6), convolutions=(1, 2))
    x = medkern.tensor(rng.normal(size=(2, 2, *size)).astype(np.float32))
    labels = rng.integers(0, 3, (2, *size))
    optimizer = optim.SGD(net.parameters(), lr=0.05)
    seen = []
    for _ in range(2):
        optimizer.zero_grad()
        y = net(x)
        assert y.shape == (2, 3, *size)
        loss = losses.CrossEntropyLoss()(y, labels)
        loss.backward()
        optimizer.step()
        seen.append(loss.item())
    assert seen[1] < seen[0]
    again = models.build(json.loads(json.dumps(models.config(net))))
    again.load_state_dict(net.state_dict())
    np.testing.assert_array_equal(again.eval()(x).numpy(), net.eval()(x).numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"filters": (4, 8)},
            r"SegNet: filters and convolutions must have one entry per level, got \(4, 8\)",
        ),
        ({"filters": (), "convolutions": ()}, "SegNet: filters and convolutions must have one entry"),
        ({"filters": (4,), "convolutions": (0,)}, "SegNet: convolutions must be positive, got 0"),
        ({"activation": "tanh"}, "SegNet: activation must be one of .*, got 'tanh'"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        models.SegNet(**options)
