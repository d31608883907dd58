"""Convolution layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from medkern import functional
from medkern.functional.conv import conv_before_norm
from medkern.kernels._activation import activation_number
from medkern.nn import init
from medkern.nn._checks import expect_divisible, expect_positive, sizes_of
from medkern.nn.module import Module, Parameter
from medkern.tensor import Tensor


class Convolution(Module):
    """What all convolutions share: hyper-parameters and parameters."""

    rank: ClassVar[int]
    transposed: ClassVar[bool] = False
    operation: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        padding: Any,
        dilation: int | Sequence[int],
        groups: int,
        bias: bool,
    ):
        super().__init__()
        expect_positive(self, in_channels=in_channels, out_channels=out_channels, groups=groups)
        expect_divisible(self, "in_channels", in_channels, "groups", groups)
        expect_divisible(self, "out_channels", out_channels, "groups", groups)
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = sizes_of(self, "kernel_size", kernel_size, self.rank)
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        first, second = (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        self.weight = Parameter(np.empty((first, second // groups, *self.kernel_size), np.float32))
        self.bias = Parameter(np.empty(out_channels, np.float32)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters."""
        init.fan_in_uniform_(self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`; those at their defaults are left out."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        defaults = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1}
        for name, default in defaults.items():
            if getattr(self, name, default) != default:
                text += f", {name}={getattr(self, name)}"
        if self.bias is None:
            text += ", bias=False"
        activation = getattr(self, "activation", None)
        return text if activation is None else text + f", activation={activation!r}"


class _DirectConv(Convolution):
    _per_sample: bool | None = None  # of the statistics of a norm that comes next

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Any = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        activation: str | None = None,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        activation_number(type(self).__name__, activation)
        self.activation = activation

    def precede(self, norm: Module) -> None:
        """Tells that every result goes to `norm` next, which then finds it measured on CUDA in training.

        It may be any module; what isn't a norm is no news.
        """
        per_sample = getattr(norm, "per_sample", None)
        self._per_sample = None if self.activation is not None else per_sample

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, spatial...) to (N, out_channels, spatial...)."""
        if self._per_sample is not None and self.training and isinstance(x, Tensor) and x.is_cuda:
            return conv_before_norm(
                x,
                self.rank,
                self.weight,
                self.bias,
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
                per_sample=self._per_sample,
            )
        return type(self).operation(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            self.activation,
        )


class _TransposedConv(Convolution):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: Any = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
    ):
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
        self.output_padding = output_padding

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, spatial...) to (N, out_channels, spatial...)."""
        return type(self).operation(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.output_padding,
            self.groups,
            self.dilation,
        )


class Conv1d(_DirectConv):
    """Convolution over (N, C, W); the arguments of `Conv2d`."""

    rank = 1
    operation = staticmethod(functional.conv1d)


class Conv2d(_DirectConv):
    """Convolution over (N, C, H, W); see `medkern.functional.conv2d`.

    Weight and bias start uniform in +-1 / sqrt(in_channels / groups * kernel_height * kernel_width).

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        kernel_size: an int, or one per axis.
        stride: step of the window, an int or one per axis.
        padding: zeros around x: an int, one per axis, (before, after) pairs, "same" or "valid".
        dilation: step between the window's elements, an int or one per axis.
        groups: number of groups of channels that don't see each other.
        bias: whether there is a bias.
        activation: "relu" applies it to y in the same pass; None doesn't.

    Attributes:
        weight: (out_channels, in_channels / groups, *kernel_size).
        bias: (out_channels,) or None.

    Raises:
        ValueError: a size is not positive, `groups` doesn't divide the channels, or `activation` is unknown.

    Example:
        >>> medkern.nn.Conv2d(1, 8, 3, padding=1)
        Conv2d(1, 8, kernel_size=(3, 3), padding=1)
    """

    rank = 2
    operation = staticmethod(functional.conv2d)


class Conv3d(_DirectConv):
    """Convolution over (N, C, D, H, W); the arguments of `Conv2d`."""

    rank = 3
    operation = staticmethod(functional.conv3d)


class ConvTranspose1d(_TransposedConv):
    """Transposed convolution over (N, C, W); the arguments of `ConvTranspose2d`."""

    rank = 1
    operation = staticmethod(functional.conv_transpose1d)


class ConvTranspose2d(_TransposedConv):
    """Transposed convolution over (N, C, H, W); see `medkern.functional.conv_transpose2d`.

    Weight and bias start uniform in +-1 / sqrt(out_channels / groups * kernel_height * kernel_width).

    Args:
        in_channels: channels of x.
        out_channels: channels of y.
        kernel_size: an int, or one per axis.
        stride: factor by which y is larger than x, an int or one per axis.
        padding: what is cut from the sides of y, as in `Conv2d`.
        output_padding: added to the size of y at the end of each axis, less than the stride.
        groups: number of groups of channels that don't see each other.
        bias: whether there is a bias.
        dilation: step between the window's elements, an int or one per axis.

    Attributes:
        weight: (in_channels, out_channels / groups, *kernel_size).
        bias: (out_channels,) or None.

    Raises:
        ValueError: a size is not positive, or `groups` doesn't divide the channels.
    """

    rank = 2
    operation = staticmethod(functional.conv_transpose2d)


class ConvTranspose3d(_TransposedConv):
    """Transposed convolution over (N, C, D, H, W); the arguments of `ConvTranspose2d`."""

    rank = 3
    operation = staticmethod(functional.conv_transpose3d)
