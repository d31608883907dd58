"""Registration of two images by a displacement field."""

from __future__ import annotations

from collections.abc import Sequence

from medkern import functional, nn
from medkern.models._network import Network, expect_one_of, start_convolutions
from medkern.models.unet import UNet
from medkern.nn import init
from medkern.tensor import Tensor

_LINEAR = {4: "bilinear", 5: "trilinear"}
_START = 0.03  # deviation of the last convolution's first weights: fields begin near 0


class Registration(Network):
    """Finds displacements that warp a moving image to a fixed one: VoxelMorph, Balakrishnan et al., 2019.

    A `UNet` sees both images side by side and gives a displacement for every element; the moving image is
    read there by linear interpolation (`functional.warp`). With `integration` the U-Net gives a velocity,
    whose flow over one unit of time is the displacement: such fields hardly fold (Dalca et al., 2019).

    Args:
        in_channels: channels of each of the two images.
        spatial_dims: 2 or 3.
        filters: see `UNet`.
        norm: see `UNet`; with none, training takes several times as long to find the first displacements.
        integration: how often the field is doubled by following itself, from the velocity divided by
            2^integration; 0 takes the U-Net's field as it is.
        half: whether the field is found at half the resolution, behind a convolution of stride 2, and then
            enlarged linearly: smoother, and in 3-D several times less work.

    Raises:
        ValueError: an option is unknown or a number out of range; names it.

    Example:
        >>> net = medkern.models.Registration(filters=(8, 16))
        >>> net(medkern.tensor(np.zeros((1, 2, 16, 16), np.float32))).shape
        (1, 3, 16, 16)
    """

    def __init__(
        self,
        in_channels: int = 1,
        *,
        spatial_dims: int = 2,
        filters: Sequence[int] = (16, 32, 32, 32),
        norm: str | None = "instance",
        integration: int = 5,
        half: bool = False,
    ):
        super().__init__(
            {
                "in_channels": in_channels,
                "spatial_dims": spatial_dims,
                "filters": list(filters),
                "norm": norm,
                "integration": integration,
                "half": half,
            }
        )
        expect_one_of(self, "spatial_dims", spatial_dims, (2, 3))
        expect_one_of(self, "half", half, (False, True))
        expect_one_of(self, "integration", integration, range(11))
        channels = 2 * in_channels
        self.stem: nn.Module = nn.Identity()
        if half and len(filters):  # the U-Net says what is wrong without
            conv = nn.Conv2d if spatial_dims == 2 else nn.Conv3d
            self.stem = conv(channels, filters[0], 3, stride=2, padding=1, activation="relu")
            start_convolutions(self.stem, "fan_in")
            channels = filters[0]
        self.unet = UNet(
            channels,
            spatial_dims,
            spatial_dims=spatial_dims,
            filters=filters,
            norm=norm,
            activation=None,
        )
        head = self.unet.head
        init.normal_(head.weight, 0, _START)
        if head.bias is not None:
            init.zeros_(head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """From the channels of the moving and then of the fixed image to the warped ones and the field.

        Args:
            x: (N, 2 in_channels, spatial); each spatial size a multiple of 2^(depth - 1), or 2^depth with
                `half`.

        Returns:
            (N, in_channels + spatial_dims, spatial): the moving image warped to the fixed one, and behind it
            the displacements in elements, in the order of the axes: warped at o is moving at o + field[o].

        Raises:
            ValueError: the shape doesn't fit.
        """
        if self._config["half"] and any(size % 2 for size in x.shape[2:]):
            raise ValueError(f"Registration: with half every spatial size must be even, got {x.shape}")
        field = self.unet(self.stem(x)) * 0.5 ** self._config["integration"]
        for _ in range(self._config["integration"]):
            field = field + functional.warp(field, field)
        if self._config["half"]:
            field = 2 * functional.interpolate(field, size=x.shape[2:], mode=_LINEAR[x.ndim])
        moving = functional.getitem(x, (slice(None), slice(None, self._config["in_channels"])))
        return functional.concat([functional.warp(moving, field), field], 1)
