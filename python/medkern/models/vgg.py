"""VGG."""

from __future__ import annotations

from medkern import functional, nn
from medkern.models._network import Network, expect_images, expect_one_of, start_convolutions
from medkern.nn import init
from medkern.nn._checks import expect_positive, expect_probability
from medkern.tensor import Tensor

_FILTERS = (64, 128, 256, 512, 512)  # of each level; max pooling by 2 ends it
_CONVOLUTIONS = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
_LEAST = 2 ** len(_FILTERS)  # pixels that leave one after all poolings


class VGG(Network):
    """VGG-11 to 19; Simonyan and Zisserman, 2015.

    Names of parameters are torchvision's, so that its weights fit. Weights start as in He et al., 2015
    (those of linear layers normal with standard deviation 0.01), biases as 0.

    Args:
        depth: layers with weights: 11, 13, 16 or 19.
        in_channels: channels of x.
        classes: the number of classes.
        batch_norm: whether each convolution is followed by a batch norm.
        dropout: its probability after the first two linear layers.

    Example:
        >>> medkern.models.VGG(11, classes=2).classifier[6].out_features
        2
    """

    def __init__(
        self,
        depth: int = 16,
        in_channels: int = 3,
        classes: int = 1000,
        batch_norm: bool = False,
        dropout: float = 0.5,
    ):
        super().__init__(
            {
                "depth": depth,
                "in_channels": in_channels,
                "classes": classes,
                "batch_norm": batch_norm,
                "dropout": dropout,
            }
        )
        expect_one_of(self, "depth", depth, tuple(_CONVOLUTIONS))
        expect_positive(self, in_channels=in_channels, classes=classes)
        expect_probability(self, "dropout", dropout)
        layers: list[nn.Module] = []
        before = in_channels
        for filters, count in zip(_FILTERS, _CONVOLUTIONS[depth], strict=True):
            for _ in range(count):
                # An Identity stands where torchvision has its ReLU.
                if batch_norm:
                    layers += [nn.Conv2d(before, filters, 3, padding=1)]
                    layers += [nn.BatchNorm2d(filters, activation="relu"), nn.Identity()]
                else:
                    layers += [nn.Conv2d(before, filters, 3, padding=1, activation="relu"), nn.Identity()]
                before = filters
            layers += [nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        self.classifier = nn.Sequential(
            nn.Linear(before * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, classes),
        )
        start_convolutions(self, "fan_out")
        for layer in self.classifier:
            if isinstance(layer, nn.Linear):
                init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W), both sizes at least 32, to logits (N, classes)."""
        expect_images(self, x, self._config["in_channels"], _LEAST)
        return self.classifier(functional.flatten(self.avgpool(self.features(x)), 1))
