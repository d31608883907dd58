"""ResNet."""

from __future__ import annotations

from medkern import functional, nn
from medkern.models._network import Network, expect_images, expect_one_of, start_convolutions
from medkern.nn._checks import expect_positive
from medkern.tensor import Tensor

_FILTERS = (64, 128, 256, 512)
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_FIRST_WITH_BOTTLENECKS = 50


class _Block(nn.Module):
    """y = relu(layers(x) + x), where a 1x1 convolution brings x to the shape of y if it has another."""

    def __init__(self, in_channels: int, out_channels: int, stride: int):
        super().__init__()
        self.downsample = (
            None
            if stride == 1 and in_channels == out_channels
            else nn.Sequential(_conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
        )

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class BasicBlock(_Block):
    """Two 3x3 convolutions.

    Args:
        in_channels: channels of x.
        filters: channels of y.
        stride: of the first convolution.
    """

    expansion = 1

    def __init__(self, in_channels: int, filters: int, stride: int):
        super().__init__(in_channels, filters, stride)
        self.conv1 = _conv(in_channels, filters, 3, stride)
        self.bn1 = nn.BatchNorm2d(filters, activation="relu")
        self.conv2 = _conv(filters, filters, 3)
        self.bn2 = nn.BatchNorm2d(filters)
        self.conv1.precede(self.bn1)
        self.conv2.precede(self.bn2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, filters, H / stride, W / stride)."""
        return self._add(x, self.bn2(self.conv2(self.bn1(self.conv1(x)))))


class Bottleneck(_Block):
    """A 1x1 convolution to fewer channels, a 3x3 one, and a 1x1 one to four times as many.

    Args:
        in_channels: channels of x.
        filters: channels of the 3x3 convolution.
        stride: of the 3x3 convolution.
    """

    expansion = 4

    def __init__(self, in_channels: int, filters: int, stride: int):
        super().__init__(in_channels, self.expansion * filters, stride)
        self.conv1 = _conv(in_channels, filters, 1)
        self.bn1 = nn.BatchNorm2d(filters, activation="relu")
        self.conv2 = _conv(filters, filters, 3, stride)
        self.bn2 = nn.BatchNorm2d(filters, activation="relu")
        self.conv3 = _conv(filters, self.expansion * filters, 1)
        self.bn3 = nn.BatchNorm2d(self.expansion * filters)
        self.conv1.precede(self.bn1)
        self.conv2.precede(self.bn2)
        self.conv3.precede(self.bn3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to (N, 4 filters, H / stride, W / stride)."""
        return self._add(x, self.bn3(self.conv3(self.bn2(self.conv2(self.bn1(self.conv1(x)))))))


def _conv(in_channels: int, out_channels: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False)


class ResNet(Network):
    """ResNet-18 to 152; He, Zhang, Ren and Sun, 2016, with the stride in the 3x3 convolution of bottlenecks.

    Names of parameters are torchvision's, so that its weights fit. Weights of convolutions start as in He et
    al., 2015.

    Args:
        depth: layers with weights: 18 or 34 (two convolutions a block), 50, 101 or 152 (three).
        in_channels: channels of x.
        classes: the number of classes.

    Example:
        >>> net = medkern.models.ResNet(18, in_channels=1, classes=2)
        >>> net(medkern.tensor(np.zeros((1, 1, 32, 32), np.float32))).shape
        (1, 2)
    """

    def __init__(self, depth: int = 18, in_channels: int = 3, classes: int = 1000):
        super().__init__({"depth": depth, "in_channels": in_channels, "classes": classes})
        expect_one_of(self, "depth", depth, tuple(_BLOCKS))
        expect_positive(self, in_channels=in_channels, classes=classes)
        block = BasicBlock if depth < _FIRST_WITH_BOTTLENECKS else Bottleneck
        before = _FILTERS[0]
        self.conv1 = _conv(in_channels, before, 7, 2)
        self.bn1 = nn.BatchNorm2d(before, activation="relu")
        self.conv1.precede(self.bn1)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        stages: list[nn.Module] = []
        for filters, count in zip(_FILTERS, _BLOCKS[depth], strict=True):
            blocks = []
            for i in range(count):
                blocks.append(block(before, filters, 2 if stages and i == 0 else 1))
                before = block.expansion * filters
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(before, classes)
        start_convolutions(self, "fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to logits (N, classes)."""
        expect_images(self, x, self._config["in_channels"], 1)
        x = self.maxpool(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(functional.flatten(self.avgpool(x), 1))
