"""AlexNet."""

from __future__ import annotations

from medkern import functional, nn
from medkern.models._network import Network, expect_images
from medkern.nn._checks import expect_positive, expect_probability
from medkern.tensor import Tensor

_LEAST = 63  # pixels that leave one after all poolings


class AlexNet(Network):
    """AlexNet in the form of Krizhevsky, 2014: five convolutions, three linear layers.

    Names of parameters are torchvision's, so that its weights fit.

    Args:
        in_channels: channels of x.
        classes: the number of classes.
        dropout: its probability before the first two linear layers.

    Example:
        >>> medkern.models.AlexNet(classes=2).classifier[6].out_features
        2
    """

    def __init__(self, in_channels: int = 3, classes: int = 1000, dropout: float = 0.5):
        super().__init__({"in_channels": in_channels, "classes": classes, "dropout": dropout})
        expect_positive(self, in_channels=in_channels, classes=classes)
        expect_probability(self, "dropout", dropout)

        def conv(before: int, after: int, size: int, stride: int = 1) -> list[nn.Module]:
            padding = size // 2 if stride == 1 else 2
            made = nn.Conv2d(before, after, size, stride=stride, padding=padding, activation="relu")
            return [made, nn.Identity()]  # where torchvision has its ReLU

        self.features = nn.Sequential(
            *conv(in_channels, 64, 11, stride=4),
            nn.MaxPool2d(3, 2),
            *conv(64, 192, 5),
            nn.MaxPool2d(3, 2),
            *conv(192, 384, 3),
            *conv(384, 256, 3),
            *conv(256, 256, 3),
            nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W), both sizes at least 63, to logits (N, classes)."""
        expect_images(self, x, self._config["in_channels"], _LEAST)
        return self.classifier(functional.flatten(self.avgpool(self.features(x)), 1))
