"""The generator and the discriminator of DCGAN."""

from __future__ import annotations

from medkern import functional, nn
from medkern.models._network import Network, expect_images, expect_one_of
from medkern.nn import init
from medkern.nn._checks import expect_positive
from medkern.nn.conv import Convolution
from medkern.tensor import Tensor

_SIZE = 64
_STD = 0.02
_NORMS = (None, "batch", "instance", "spectral")


class DCGANGenerator(Network):
    """Images of 64x64 from random numbers; Radford, Metz and Chintala, 2016.

    A transposed 4x4 convolution to 4x4 pixels with 8 * filters channels, then four of stride 2, each with
    half the channels of the one before; batch norm and ReLU after all but the last, tanh after that. Weights
    start normal with standard deviation 0.02.

    Args:
        latent: how many random numbers make an image.
        channels: of the images.
        filters: channels before the last convolution.

    Raises:
        ValueError: a number is not positive.

    Example:
        >>> net = medkern.models.DCGANGenerator(16, filters=4)
        >>> net(medkern.random.normal((2, 16))).shape
        (2, 1, 64, 64)
    """

    def __init__(self, latent: int = 100, channels: int = 1, *, filters: int = 64):
        super().__init__({"latent": latent, "channels": channels, "filters": filters})
        expect_positive(self, latent=latent, channels=channels, filters=filters)
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, 8 * filters, 4, bias=False)]
        for factor in (8, 4, 2):
            layers.append(nn.BatchNorm2d(factor * filters, activation="relu"))
            layers.append(
                nn.ConvTranspose2d(
                    factor * filters, factor // 2 * filters, 4, stride=2, padding=1, bias=False
                )
            )
        layers.append(nn.BatchNorm2d(filters, activation="relu"))
        layers.append(nn.ConvTranspose2d(filters, channels, 4, stride=2, padding=1))
        self.layers = nn.Sequential(*layers)
        _start(self)

    def forward(self, z: Tensor) -> Tensor:
        """Normal random numbers (N, latent) to images (N, channels, 64, 64) from -1 to 1."""
        latent = self._config["latent"]
        if z.ndim != 2 or z.shape[1] != latent:
            raise ValueError(f"DCGANGenerator: z must have shape (N, {latent}), got {z.shape}")
        return functional.tanh(self.layers(functional.reshape(z, (len(z), latent, 1, 1))))


class DCGANDiscriminator(Network):
    """Tells real images of 64x64 from made ones; Radford, Metz and Chintala, 2016.

    Four 4x4 convolutions of stride 2 with filters, 2, 4 and 8 * filters channels, leaky ReLU of slope 0.2
    after each, and one from 4x4 pixels to a logit. Weights start normal with standard deviation 0.02.

    Args:
        channels: of the images.
        filters: channels after the first convolution.
        norm: "batch" after the second to the fourth convolution, as in the paper, "instance" there,
            "spectral" of every weight, or None. Gradient penalties are about single images, which "batch"
            mixes.

    Raises:
        ValueError: a number is not positive or `norm` is unknown.
    """

    def __init__(self, channels: int = 1, *, filters: int = 64, norm: str | None = "batch"):
        super().__init__({"channels": channels, "filters": filters, "norm": norm})
        expect_positive(self, channels=channels, filters=filters)
        expect_one_of(self, "norm", norm, _NORMS)
        layers: list[nn.Module] = []
        before = channels
        for factor in (1, 2, 4, 8):
            layers.append(nn.Conv2d(before, factor * filters, 4, stride=2, padding=1))
            before = factor * filters
            if factor > 1 and norm == "batch":
                layers.append(nn.BatchNorm2d(before))
            elif factor > 1 and norm == "instance":
                layers.append(nn.InstanceNorm2d(before, affine=True))
            layers.append(nn.LeakyReLU(0.2))
        layers.append(nn.Conv2d(before, 1, 4))
        self.layers = nn.Sequential(*layers)
        _start(self)
        if norm == "spectral":
            for layer in self.layers:
                if isinstance(layer, Convolution):
                    nn.spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, channels, 64, 64) to logits (N,), large for real ones."""
        expect_images(self, x, self._config["channels"], _SIZE)
        if x.shape[2:] != (_SIZE, _SIZE):
            raise ValueError(f"DCGANDiscriminator: x must be {_SIZE} x {_SIZE} pixels, got {x.shape}")
        return functional.reshape(self.layers(x), (len(x),))


def _start(network: nn.Module) -> None:
    """Weights of convolutions normal, biases 0."""
    for module in network.modules():
        if isinstance(module, Convolution):
            init.normal_(module.weight, std=_STD)
            if module.bias is not None:
                init.zeros_(module.bias)
