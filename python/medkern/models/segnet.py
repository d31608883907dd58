"""SegNet."""

from __future__ import annotations

from collections.abc import Sequence

from medkern import functional, nn
from medkern.models._network import (
    ACTIVATIONS,
    Network,
    activate,
    expect_images,
    expect_one_of,
    start_convolutions,
)
from medkern.nn._checks import expect_positive
from medkern.tensor import Tensor


class SegNet(Network):
    """SegNet; Badrinarayanan, Kendall and Cipolla, 2017: the encoder of VGG-16 and its mirror image.

    Each 3x3 convolution is followed by a batch norm and ReLU. On the way up max unpooling puts every value
    where the maximum lay on the way down, so that edges stay sharp with nothing but indices to remember.

    Args:
        in_channels: channels of x.
        out_channels: channels of y: classes, or 1 for one mask.
        filters: channels of each level, the topmost first.
        convolutions: how many each level has, down and up.
        activation: "sigmoid", "softmax" (over the channels) or None for logits.

    Raises:
        ValueError: an option is unknown or a number out of range; names it.

    Example:
        >>> net = medkern.models.SegNet(1, 2, filters=(4, 8), convolutions=(1, 2))
        >>> net(medkern.tensor(np.zeros((1, 1, 8, 8), np.float32))).shape
        (1, 2, 8, 8)
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 1,
        *,
        filters: Sequence[int] = (64, 128, 256, 512, 512),
        convolutions: Sequence[int] = (2, 2, 3, 3, 3),
        activation: str | None = None,
    ):
        super().__init__(
            {
                "in_channels": in_channels,
                "out_channels": out_channels,
                "filters": list(filters),
                "convolutions": list(convolutions),
                "activation": activation,
            }
        )
        expect_positive(self, in_channels=in_channels, out_channels=out_channels)
        if not filters or len(filters) != len(convolutions):
            raise ValueError(
                f"SegNet: filters and convolutions must have one entry per level, got {tuple(filters)} and "
                f"{tuple(convolutions)}"
            )
        for level, count in zip(filters, convolutions, strict=True):
            expect_positive(self, filters=level, convolutions=count)
        expect_one_of(self, "activation", activation, ACTIVATIONS)
        down, up = [], []
        before = in_channels
        for level, count in zip(filters, convolutions, strict=True):
            down.append(nn.Sequential(*(_conv(before if i == 0 else level, level) for i in range(count))))
            before = level
        for i in reversed(range(len(filters))):
            level, count = filters[i], convolutions[i]
            layers: list[nn.Module] = [_conv(level, level) for _ in range(count - 1)]
            layers.append(_conv(level, filters[i - 1]) if i else nn.Conv2d(level, out_channels, 3, padding=1))
            up.append(nn.Sequential(*layers))
        self.down = nn.ModuleList(down)
        self.up = nn.ModuleList(up)
        start_convolutions(self, "fan_in")

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W), of any size with a pixel left at the bottom, to (N, out_channels, H, W)."""
        expect_images(self, x, self._config["in_channels"], 2 ** len(self.down))
        places = []
        for block in self.down:
            x = block(x)
            size = x.shape[2:]
            x, indices = functional.max_pool2d(x, 2, return_indices=True)
            places.append((indices, size))
        for block in self.up:
            indices, size = places.pop()
            x = block(functional.max_unpool2d(x, indices, 2, output_size=size))
        return activate(x, self._config["activation"])


def _conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
        nn.BatchNorm2d(out_channels, activation="relu"),
    )
