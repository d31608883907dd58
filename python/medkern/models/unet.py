"""U-Net."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medkern import functional, nn
from medkern.models._network import ACTIVATIONS, Network, activate, expect_one_of, start_convolutions
from medkern.nn import init
from medkern.nn._checks import expect_positive, expect_probability
from medkern.tensor import Tensor

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_POOL = {2: functional.max_pool2d, 3: functional.max_pool3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}
_BATCH = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_MOST_GROUPS = 8  # of group norm; fewer where this doesn't divide the channels

_NORMS = (None, "batch", "instance", "group")
_UPS = ("transposed", "resize")


class DoubleConv(nn.Module):
    """Two 3x3 convolutions of the same size, each followed by the norm, if any, and ReLU.

    Args:
        in_channels: channels of x.
        out_channels: channels after each convolution.
        spatial_dims: 2 or 3.
        norm: None, "batch", "instance" or "group".
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int, norm: str | None):
        super().__init__()
        # Batch and instance norm take the mean away, so that a bias before them does nothing.
        bias = norm not in ("batch", "instance")
        activation = "relu" if norm is None else None  # else the norm has it
        conv = _CONV[spatial_dims]
        self.conv1 = conv(in_channels, out_channels, 3, padding=1, bias=bias, activation=activation)
        self.norm1 = _norm(norm, out_channels, spatial_dims)
        self.conv2 = conv(out_channels, out_channels, 3, padding=1, bias=bias, activation=activation)
        self.norm2 = _norm(norm, out_channels, spatial_dims)
        self.conv1.precede(self.norm1)
        self.conv2.precede(self.norm2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, spatial...) to (N, out_channels, spatial...)."""
        return self.norm2(self.conv2(self.norm1(self.conv1(x))))


def _norm(norm: str | None, channels: int, spatial_dims: int) -> nn.Module:
    if norm == "batch":
        return _BATCH[spatial_dims](channels, activation="relu")
    if norm == "instance":
        return _INSTANCE[spatial_dims](channels, affine=True, activation="relu")
    if norm == "group":
        return nn.GroupNorm(math.gcd(channels, _MOST_GROUPS), channels, activation="relu")
    return nn.Identity()


class AttentionGate(nn.Module):
    """Weighs the features of a level by what the level below has found; Oktay et al., 2018.

        y = x up(sigmoid(psi(relu(theta x + phi g))))

    theta is a 2x2 convolution of stride 2 without bias, phi and psi are 1x1 convolutions, psi to one channel,
    and up is linear interpolation to the size of x.

    Args:
        channels: of x and y; half as many lie between.
        gate_channels: of g.
        spatial_dims: 2 or 3.
    """

    def __init__(self, channels: int, gate_channels: int, spatial_dims: int):
        super().__init__()
        conv, between = _CONV[spatial_dims], max(1, channels // 2)
        self.theta = conv(channels, between, 2, stride=2, bias=False)
        self.phi = conv(gate_channels, between, 1)
        self.psi = conv(between, 1, 1)
        self._mode = _LINEAR[spatial_dims]

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        """From x (N, channels, spatial...) and g, half as large along each axis, to y, shaped like x."""
        weight = functional.sigmoid(self.psi(functional.relu(self.theta(x) + self.phi(gate))))
        return x * functional.interpolate(weight, scale_factor=2, mode=self._mode)


class UNet(Network):
    """U-Net in 2-D or 3-D; Ronneberger, Fischer and Brox, 2015, with convolutions that keep the size.

    Level i has two 3x3 convolutions + ReLU with filters[i] channels; max pooling by 2 leads down, a 2x2
    transposed convolution up, and the features of the same level on the way down are concatenated to those
    on the way up. A 1x1 convolution and the activation end it. Weights start normal as in He et al., 2015,
    biases as 0, the last convolution as `nn.Conv2d` does.

    Args:
        in_channels: channels of x, such as the number of MRI sequences.
        out_channels: channels of y: classes, or 1 for one mask.
        spatial_dims: 2 for (N, C, H, W), 3 for (N, C, D, H, W).
        filters: channels of each level, the topmost first; their number is the depth.
        norm: after each 3x3 convolution: None, "batch", "instance" or "group".
        up: "transposed", or "resize" for a 1x1 convolution and linear interpolation.
        activation: "sigmoid", "softmax" (over the channels) or None for logits.
        dropout: probability of dropout at the end of the way down.
        attention: whether an `AttentionGate` weighs the features before they are concatenated, which makes
            it the attention U-Net of Oktay et al., 2018.
        residual: whether x is added to the last convolution's result, so that the network has to find only
            what is wrong with x, such as artifacts of a reconstruction (Jin et al., 2017). That convolution
            starts as 0, so that the result starts as x; needs as many out_channels as in_channels.

    Raises:
        ValueError: an option is unknown or a number out of range; names it.

    Example:
        >>> net = medkern.models.UNet(filters=(8, 16, 32))
        >>> net(medkern.tensor(np.zeros((1, 1, 16, 16), np.float32))).shape
        (1, 1, 16, 16)
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        *,
        spatial_dims: int = 2,
        filters: Sequence[int] = (64, 128, 256, 512, 1024),
        norm: str | None = None,
        up: str = "transposed",
        activation: str | None = "sigmoid",
        dropout: float = 0.0,
        attention: bool = False,
        residual: bool = False,
    ):
        filters = tuple(filters)
        super().__init__(
            {
                "in_channels": in_channels,
                "out_channels": out_channels,
                "spatial_dims": spatial_dims,
                "filters": list(filters),
                "norm": norm,
                "up": up,
                "activation": activation,
                "dropout": dropout,
                "attention": attention,
                "residual": residual,
            }
        )
        expect_positive(self, in_channels=in_channels, out_channels=out_channels)
        if len(filters) < 2:
            raise ValueError(f"UNet: filters must have at least 2 levels, got {filters}")
        for count in filters:
            expect_positive(self, filters=count)
        for name, value, known in (
            ("spatial_dims", spatial_dims, (2, 3)),
            ("norm", norm, _NORMS),
            ("up", up, _UPS),
            ("activation", activation, ACTIVATIONS),
            ("attention", attention, (False, True)),
            ("residual", residual, (False, True)),
        ):
            expect_one_of(self, name, value, known)
        expect_probability(self, "dropout", dropout)
        if residual and in_channels != out_channels:
            raise ValueError(
                f"UNet: residual needs as many out_channels as in_channels, got {out_channels} and "
                f"{in_channels}"
            )
        channels = (in_channels, *filters)
        self.down = nn.ModuleList(
            DoubleConv(a, b, spatial_dims, norm) for a, b in zip(channels, filters, strict=False)
        )
        self.dropout = nn.Dropout(dropout)
        steps = list(zip(filters[:0:-1], filters[-2::-1], strict=True))  # (from, to), the deepest first
        self.rise = nn.ModuleList(_rise(up, a, b, spatial_dims) for a, b in steps)
        self.up = nn.ModuleList(DoubleConv(2 * b, b, spatial_dims, norm) for _, b in steps)
        self.gates = nn.ModuleList(AttentionGate(b, a, spatial_dims) for a, b in steps if attention)
        start_convolutions(self, "fan_in")
        self.head = _CONV[spatial_dims](filters[0], out_channels, 1)
        if residual:
            for parameter in self.head.parameters():
                init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, spatial...) to (N, out_channels, spatial...).

        Args:
            x: the images; each spatial size a multiple of 2^(depth - 1).

        Returns:
            Probabilities, or logits if there is no activation.

        Raises:
            ValueError: the shape doesn't fit.
        """
        self._check(x)
        pool = _POOL[self._config["spatial_dims"]]
        skips, given = [], x
        for level, block in enumerate(self.down):
            if level:
                skips.append(x)
                x = pool(x, 2)
            x = block(x)
        x = self.dropout(x)
        for i, (rise, block) in enumerate(zip(self.rise, self.up, strict=True)):
            skip = skips.pop()
            if self._config["attention"]:
                skip = self.gates[i](skip, x)
            x = block(functional.concat([skip, rise(x)], 1))
        x = self.head(x)
        if self._config["residual"]:
            x = functional.add(x, given)
        return activate(x, self._config["activation"])

    def _check(self, x: Tensor) -> None:
        rank, channels = self._config["spatial_dims"], self._config["in_channels"]
        if x.ndim != rank + 2 or x.shape[1] != channels:
            axes = ", ".join("DHW"[-rank:])
            raise ValueError(f"UNet: x must have shape (N, {channels}, {axes}), got {x.shape}")
        divisor = 2 ** (len(self._config["filters"]) - 1)
        for size in x.shape[2:]:
            if size < 1 or size % divisor:
                raise ValueError(
                    f"UNet: every spatial size must be a multiple of {divisor} (2^{len(self.down) - 1}, one "
                    f"halving per pooling), got {size} in {x.shape}"
                )


def _rise(up: str, in_channels: int, out_channels: int, spatial_dims: int) -> nn.Module:
    if up == "transposed":
        return _TRANSPOSED[spatial_dims](in_channels, out_channels, 2, stride=2)
    # The two commute, and this way round the convolution has 4 or 8 times less to do.
    return nn.Sequential(
        _CONV[spatial_dims](in_channels, out_channels, 1),
        nn.Upsample(scale_factor=2, mode=_LINEAR[spatial_dims]),
    )
