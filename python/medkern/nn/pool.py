"""Pooling layers. Each keeps the arguments of its operation in `medkern.functional`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from medkern import functional
from medkern.nn.module import Module
from medkern.tensor import Tensor

_Size = int | Sequence[int]


class _Options(Module):
    """Keeps the operation's arguments."""

    operation: ClassVar[Callable[..., Any]]

    def __init__(self, **options: Any):
        super().__init__()
        self.options = options

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


class _Pool(_Options):
    def forward(self, x: Tensor) -> Any:
        """(N, C, spatial...) to (N, C, fewer...)."""
        return type(self).operation(x, **self.options)


class _MaxPool(_Pool):
    def __init__(
        self,
        kernel_size: _Size,
        stride: _Size | None = None,
        padding: Any = 0,
        dilation: _Size = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ):
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            return_indices=return_indices,
            ceil_mode=ceil_mode,
        )


class MaxPool1d(_MaxPool):
    """Max pooling over (N, C, W); see `medkern.functional.max_pool1d`."""

    operation = staticmethod(functional.max_pool1d)


class MaxPool2d(_MaxPool):
    """Max pooling over (N, C, H, W); see `medkern.functional.max_pool2d`."""

    operation = staticmethod(functional.max_pool2d)


class MaxPool3d(_MaxPool):
    """Max pooling over (N, C, D, H, W); see `medkern.functional.max_pool3d`."""

    operation = staticmethod(functional.max_pool3d)


class _AvgPool(_Pool):
    def __init__(
        self,
        kernel_size: _Size,
        stride: _Size | None = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ):
        super().__init__(
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )


class AvgPool1d(_AvgPool):
    """Average pooling over (N, C, W); see `medkern.functional.avg_pool1d`."""

    operation = staticmethod(functional.avg_pool1d)


class AvgPool2d(_AvgPool):
    """Average pooling over (N, C, H, W); see `medkern.functional.avg_pool2d`."""

    operation = staticmethod(functional.avg_pool2d)


class AvgPool3d(_AvgPool):
    """Average pooling over (N, C, D, H, W); see `medkern.functional.avg_pool3d`."""

    operation = staticmethod(functional.avg_pool3d)


class _AdaptiveAvgPool(_Pool):
    def __init__(self, output_size: Any):
        super().__init__(output_size=output_size)


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Average pooling to a given size; see `medkern.functional.adaptive_avg_pool1d`."""

    operation = staticmethod(functional.adaptive_avg_pool1d)


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Average pooling to a given size, 1 for the mean of each channel."""

    operation = staticmethod(functional.adaptive_avg_pool2d)


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Average pooling to a given size; see `medkern.functional.adaptive_avg_pool3d`."""

    operation = staticmethod(functional.adaptive_avg_pool3d)


class _AdaptiveMaxPool(_Pool):
    def __init__(self, output_size: Any, return_indices: bool = False):
        super().__init__(output_size=output_size, return_indices=return_indices)


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Max pooling to a given size; see `medkern.functional.adaptive_max_pool1d`."""

    operation = staticmethod(functional.adaptive_max_pool1d)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Max pooling to a given size, 1 for the maximum of each channel."""

    operation = staticmethod(functional.adaptive_max_pool2d)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Max pooling to a given size; see `medkern.functional.adaptive_max_pool3d`."""

    operation = staticmethod(functional.adaptive_max_pool3d)


class _MaxUnpool(_Options):
    def __init__(self, kernel_size: _Size, stride: _Size | None = None, padding: Any = 0):
        super().__init__(kernel_size=kernel_size, stride=stride, padding=padding)

    def forward(self, x: Tensor, indices: Tensor, output_size: Any = None) -> Tensor:
        """Puts x where `indices`, from a pooling layer with `return_indices`, says; the rest is zero."""
        return type(self).operation(x, indices, output_size=output_size, **self.options)


class MaxUnpool1d(_MaxUnpool):
    """The inverse of max pooling over (N, C, W); see `medkern.functional.max_unpool1d`."""

    operation = staticmethod(functional.max_unpool1d)


class MaxUnpool2d(_MaxUnpool):
    """The inverse of max pooling over (N, C, H, W); see `medkern.functional.max_unpool2d`."""

    operation = staticmethod(functional.max_unpool2d)


class MaxUnpool3d(_MaxUnpool):
    """The inverse of max pooling over (N, C, D, H, W); see `medkern.functional.max_unpool3d`."""

    operation = staticmethod(functional.max_unpool3d)
