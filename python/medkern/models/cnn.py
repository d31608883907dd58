"""Small convolutional classifiers."""

from __future__ import annotations

from collections.abc import Sequence

from medkern import functional, nn
from medkern.models._network import Network, expect_one_of
from medkern.nn._checks import expect_positive, expect_probability, sizes_of
from medkern.tensor import Tensor


class CNN(Network):
    """3x3 convolutions with ReLU, each followed by 2x2 max pooling, then linear layers with ReLU.

    With the defaults: Conv(32), pool, Conv(64), pool, Linear(128), Linear(classes).

    Args:
        image_size: (H, W) of the images, or one int for both.
        in_channels: channels of x.
        classes: the number of classes.
        filters: channels of each convolution.
        hidden: features of each linear layer but the last.
        padding: of each convolution: 1 keeps the size, 0 shrinks it by 2.
        poolings: how many convolutions, from the first on, have a pooling; None for all.
        dropout: its probability before each linear layer.
        norm: "batch" for a batch norm before each ReLU, or None. A linear layer after large images has tens
            of thousands of inputs, none below 0: a step of Adam moves all of its weights together, and units
            die. A batch norm keeps them alive.

    Raises:
        ValueError: an option is out of range, or the images are too small for so many layers.

    Example:
        >>> net = medkern.models.CNN(28, classes=10)
        >>> net(medkern.tensor(np.zeros((1, 1, 28, 28), np.float32))).shape
        (1, 10)
    """

    def __init__(
        self,
        image_size: int | Sequence[int],
        in_channels: int = 1,
        classes: int = 2,
        *,
        filters: Sequence[int] = (32, 64),
        hidden: Sequence[int] = (128,),
        padding: int = 1,
        poolings: int | None = None,
        dropout: float = 0.0,
        norm: str | None = None,
    ):
        size = sizes_of(self, "image_size", image_size, 2)
        super().__init__(
            {
                "image_size": list(size),
                "in_channels": in_channels,
                "classes": classes,
                "filters": list(filters),
                "hidden": list(hidden),
                "padding": padding,
                "poolings": poolings,
                "dropout": dropout,
                "norm": norm,
            }
        )
        expect_positive(self, in_channels=in_channels, classes=classes)
        expect_probability(self, "dropout", dropout)
        expect_one_of(self, "norm", norm, (None, "batch"))
        if padding not in (0, 1):
            raise ValueError(f"CNN: padding must be 0 or 1, got {padding!r}")
        layers: list[nn.Module] = []
        before = in_channels
        for i, count in enumerate(filters):
            expect_positive(self, filters=count)
            if norm is None:
                layers.append(nn.Conv2d(before, count, 3, padding=padding, activation="relu"))
            else:
                layers.append(nn.Conv2d(before, count, 3, padding=padding, bias=False))
                layers.append(nn.BatchNorm2d(count, activation="relu"))
            size = tuple(length + 2 * padding - 2 for length in size)
            if poolings is None or i < poolings:
                layers.append(nn.MaxPool2d(2))
                size = tuple(length // 2 for length in size)
            before = count
        if min(size) < 1:
            raise ValueError(
                f"CNN: image_size {image_size} leaves no pixel after {len(filters)} convolutions"
            )
        self.features = nn.Sequential(*layers)
        before *= size[0] * size[1]
        layers = []
        for count in hidden:
            expect_positive(self, hidden=count)
            layers += [nn.Dropout(dropout), nn.Linear(before, count, bias=norm is None)]
            layers.append(nn.ReLU() if norm is None else nn.BatchNorm1d(count, activation="relu"))
            before = count
        self.classifier = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(before, classes))

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) to logits (N, classes)."""
        expected = (self._config["in_channels"], *self._config["image_size"])
        if x.ndim != 4 or x.shape[1:] != expected:
            raise ValueError(f"CNN: x must have shape (N, {', '.join(map(str, expected))}), got {x.shape}")
        return self.classifier(functional.flatten(self.features(x), 1))
