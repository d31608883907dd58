import itertools
import json

import numpy as np
import pytest

import medkern
from medkern import functional, models, nn

MIB = 2**20


def test_unet_by_hand():
    """The network of the original paper's size: 64 to 1024 filters, on 256 x 256."""
    net = models.UNet()
    summary = net.summary((1, 1, 256, 256))
    rows = {(layer.path, layer.kind): layer for layer in summary.layers}

    first = rows["down.0.conv1", "Conv2d"]
    assert first.shape == (1, 64, 256, 256)
    assert first.parameters == 64 * 9 + 64
    assert first.flops == 256 * 256 * 64 * (2 * 9 + 1)  # nine products, nine sums, one ReLU
    assert first.bytes == 16 * MIB
    second = rows["down.0.conv2", "Conv2d"]
    assert second.parameters == 64 * 64 * 9 + 64
    assert second.flops == 256 * 256 * 64 * (2 * 64 * 9 + 1)

    up = rows["rise.0", "ConvTranspose2d"]
    assert up.shape == (1, 512, 32, 32)
    assert up.parameters == 1024 * 512 * 4 + 512
    assert up.flops == 2 * 16 * 16 * 1024 * 512 * 4
    assert up.bytes == 512 * 32 * 32 * 4

    concats = [layer for layer in summary.layers if layer.kind == "concat"]
    assert [layer.shape[1] for layer in concats] == [1024, 512, 256, 128]
    assert all(layer.flops == 0 and layer.parameters == 0 for layer in concats)
    pools = [layer for layer in summary.layers if layer.kind == "max_pool"]
    assert len(pools) == 4 and pools[0].shape == (1, 64, 128, 128)
    assert pools[0].flops == 4 * 64 * 128 * 128
    assert pools[0].bytes == 64 * 128 * 128 * (4 + 1)  # the one-byte index of each maximum
    assert summary.layers[-1].kind == "sigmoid" and summary.layers[-1].flops == 256 * 256

    # Channels through each convolution, and the parameters of all.
    channels = [1, 64, 128, 256, 512, 1024]
    total = sum(9 * a * b + b + 9 * b * b + b for a, b in itertools.pairwise(channels))
    for a, b in ((1024, 512), (512, 256), (256, 128), (128, 64)):
        total += 4 * a * b + b + 9 * 2 * b * b + b + 9 * b * b + b
    total += 64 + 1
    assert summary.parameters == summary.trainable == total == sum(p.size for p in net.parameters())
    assert summary.weight_bytes == 4 * total
    assert summary.flops == sum(layer.flops for layer in summary.layers)
    assert summary.bytes == sum(layer.bytes for layer in summary.layers)


def test_the_model_stays_as_it_was():
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4))
    net[1].eval()
    state = {name: value.numpy().copy() for name, value in net.state_dict().items()}
    before = medkern.random.get_state()
    net.summary(np.zeros((5, 3), np.float32))
    assert net.training and net[0].training and not net[1].training
    assert all("forward" not in vars(part) for part in net.modules())
    assert all(np.array_equal(value.numpy(), state[name]) for name, value in net.state_dict().items())
    assert medkern.random.get_state() == before
    assert net(medkern.tensor(np.ones((5, 3), np.float32))).numpy().shape == (5, 4)  # computes again
    with pytest.raises(ValueError):
        net.summary((5, 4))
    assert all("forward" not in vars(part) for part in net.modules())
    assert net(medkern.tensor(np.ones((5, 3), np.float32))).numpy().shape == (5, 4)


def test_the_table_and_the_data():
    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.Identity(), nn.ReLU()
    )
    net[0].requires_grad_(False)
    summary = net.summary((2, 1, 16, 16))
    assert str(summary).splitlines() == [
        "Sequential of (2, 1, 16, 16)",
        "layer  kind         output          parameters   flops  memory",
        "--------------------------------------------------------------",
        "0      Conv2d       (2, 8, 16, 16)          72  73.7 k  16 KiB",
        "1      BatchNorm2d  (2, 8, 16, 16)          16  8.19 k  16 KiB",
        "3      ReLU         (2, 8, 16, 16)           0   4.1 k  16 KiB",
        "--------------------------------------------------------------",
        "parameters  88 (16 trainable, 72 frozen), 17 in buffers, 424 B",
        "flops       86 k",
        "memory      48 KiB of results of layers",
    ]
    data = json.loads(json.dumps(summary.as_dict()))
    assert data["model"] == "Sequential" and data["inputs"] == [[2, 1, 16, 16]]
    assert data["layers"][0] == {
        "path": "0",
        "kind": "Conv2d",
        "shape": [2, 8, 16, 16],
        "parameters": 72,
        "flops": 2 * 9 * 4096,
        "bytes": 4 * 4096,
    }
    assert data["flops"] == 4096 * (18 + 2 + 1)


class Shared(nn.Module):
    """One layer used twice, a parameter of its own, and an operation between."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 3)
        self.scale = nn.Parameter(np.ones(3, np.float32))

    def forward(self, x, y):
        return functional.mul(functional.add(self.layer(self.layer(x)), y), self.scale)


def test_a_shared_layer_is_counted_once():
    summary = Shared().summary(np.zeros((2, 3), np.float32), medkern.zeros((2, 3)))
    assert [(layer.path, layer.parameters, layer.flops) for layer in summary.layers] == [
        ("layer", 12, 36),
        ("layer", 0, 36),
        ("", 3, 12),  # a sum and a product
    ]
    assert summary.parameters == 15


def test_other_layers():
    lstm = nn.LSTM(5, 4, batch_first=True).summary((2, 7, 5))
    assert lstm.flops == 2 * 14 * 16 * (5 + 4) and lstm.layers[0].shape == (2, 7, 4)
    cell = nn.GRUCell(4, 4).summary((4, 4), (4, 4))
    assert cell.flops == 2 * 4 * 12 * (4 + 4)
    resize = nn.Upsample(scale_factor=2, mode="bilinear").summary((1, 1, 3, 3))
    assert resize.flops == 2 * 4 * 36 and resize.parameters == 0
    assert nn.Softmax(1).summary((2, 5)).flops == 30
    assert nn.GroupNorm(2, 4, activation="relu").summary((1, 4, 3, 3)).flops == 7 * 36
    assert nn.AdaptiveAvgPool2d(1).summary((1, 4, 3, 3)).flops == 36
    product = type("Product", (nn.Module,), {"forward": lambda self, a, b: functional.matmul(a, b)})()
    assert product.summary((2, 3), (3, 5)).flops == 2 * 2 * 3 * 5


class Reads(nn.Module):
    def forward(self, x):
        return functional.mul(x, float(functional.sum(x)))


def test_a_model_that_reads_values_is_refused():
    with pytest.raises((ValueError, BufferError), match="outline"):
        Reads().summary((2, 3))
