"""Normalisation layers."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from medkern import _C, functional
from medkern.kernels._activation import activation_number
from medkern.nn import init
from medkern.nn._checks import expect_divisible, expect_positive, expect_rank
from medkern.nn.module import Module, Parameter
from medkern.tensor import Tensor, tensor


class _Norm(Module):
    """A layer with an optional weight, which starts as 1, and an optional bias, which starts as 0."""

    per_sample: ClassVar[bool | None] = None  # whether statistics are of samples, where not of rows
    weight: Parameter | None
    bias: Parameter | None
    activation: str | None

    def _set_activation(self, activation: str | None) -> None:
        activation_number(type(self).__name__, activation)
        self.activation = activation

    def _with_activation(self, arguments: str) -> str:
        return arguments if self.activation is None else f"{arguments}, activation={self.activation!r}"

    def _make_parameters(self, shape: tuple[int, ...], weight: bool, bias: bool) -> None:
        self.weight = Parameter(np.ones(shape, np.float32)) if weight else None
        self.bias = Parameter(np.zeros(shape, np.float32)) if bias else None

    def reset_parameters(self) -> None:
        """Makes the weight 1 and the bias 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _BatchNorm(_Norm):
    per_sample = False
    ranks: ClassVar[tuple[int, ...]]
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        activation: str | None = None,
    ):
        super().__init__()
        self._set_activation(activation)
        expect_positive(self, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self._make_parameters((num_features,), affine, affine)
        tracked = track_running_stats
        self.register_buffer("running_mean", tensor(np.zeros(num_features, np.float32)) if tracked else None)
        self.register_buffer("running_var", tensor(np.ones(num_features, np.float32)) if tracked else None)
        batches = tensor(0) if tracked else None
        self.register_buffer("num_batches_tracked", batches)
        # Its array, version and value.
        self._seen: tuple[Any, int, int] = (None if batches is None else batches.array), 0, 0

    def reset_running_stats(self) -> None:
        """Forgets all batches seen."""
        for buffer in self.buffers():
            (init.ones_ if buffer is self.running_var else init.zeros_)(buffer)

    def reset_parameters(self) -> None:
        """Makes the weight 1 and the bias 0 and forgets all batches seen."""
        super().reset_parameters()
        self.reset_running_stats()

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each channel of (N, C, ...); in training also updates the running statistics."""
        expect_rank(self, x, *self.ranks)
        momentum = self.momentum or 0.0
        if self.training and self.num_batches_tracked is not None:
            seen = self._count_batch(self.num_batches_tracked)
            if self.momentum is None:
                momentum = 1 / seen
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=momentum,
            eps=self.eps,
            activation=self.activation,
        )

    def _count_batch(self, buffer: Tensor) -> int:
        """One batch more. The number is kept here as well: to read it would wait for a CUDA device."""
        array, version, seen = self._seen
        if array is not buffer.array or version != buffer._version:  # it was loaded or moved
            seen = int(buffer.item())
        if buffer.is_cuda:  # from now on the host's: a device would take a launch for every batch
            buffer.array = _C.Array(np.asarray(seen + 1, buffer.dtype), "cpu")
        else:
            init.constant_(buffer, seen + 1)
        self._seen = buffer.array, buffer._version, seen + 1
        return seen + 1

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return self._with_activation(
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.weight is not None}, track_running_stats={self.running_mean is not None}"
        )


class BatchNorm1d(_BatchNorm):
    """Batch norm of (N, C) or (N, C, W); the arguments of `BatchNorm2d`."""

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """y = (x - mean) / sqrt(var + eps) * weight + bias per channel of (N, C, H, W).

    In training the statistics are the batch's, and the running ones move towards them; in evaluation they
    are the running ones.

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: running = (1 - momentum) running + momentum batch; None for the plain average of all
            batches.
        affine: whether there are weight and bias.
        track_running_stats: whether there are running statistics; without them the batch's are always used.
        activation: "relu" applies it to y in the same pass; None doesn't.

    Attributes:
        weight: (num_features,), starts as 1.
        bias: (num_features,), starts as 0.
        running_mean: (num_features,), a buffer that starts as 0.
        running_var: (num_features,), a buffer that starts as 1.
        num_batches_tracked: number of batches seen in training, a buffer.

    Raises:
        ValueError: num_features is not positive or `activation` is unknown.
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch norm of (N, C, D, H, W); the arguments of `BatchNorm2d`."""

    ranks = (5,)


class _InstanceNorm(_Norm):
    per_sample = True
    ranks: ClassVar[tuple[int, ...]]

    def __init__(
        self, num_features: int, eps: float = 1e-5, affine: bool = False, activation: str | None = None
    ):
        super().__init__()
        self._set_activation(activation)
        expect_positive(self, num_features=num_features)
        self.num_features = num_features
        self.eps = eps
        self._make_parameters((num_features,), affine, affine)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises each channel of each sample of (N, C, spatial...)."""
        expect_rank(self, x, *self.ranks)
        return functional.instance_norm(x, self.weight, self.bias, self.eps, self.activation)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return self._with_activation(f"{self.num_features}, eps={self.eps}, affine={self.weight is not None}")


class InstanceNorm1d(_InstanceNorm):
    """Instance norm of (N, C, W); the arguments of `InstanceNorm2d`."""

    ranks = (3,)


class InstanceNorm2d(_InstanceNorm):
    """y = (x - mean) / sqrt(var + eps) * weight + bias per sample and channel of (N, C, H, W).

    Args:
        num_features: number of channels.
        eps: added to the variance.
        affine: whether there are weight, which starts as 1, and bias, which starts as 0.
        activation: "relu" applies it to y in the same pass; None doesn't.

    Raises:
        ValueError: num_features is not positive or `activation` is unknown.
    """

    ranks = (4,)


class InstanceNorm3d(_InstanceNorm):
    """Instance norm of (N, C, D, H, W); the arguments of `InstanceNorm2d`."""

    ranks = (5,)


class GroupNorm(_Norm):
    """Normalises each group of channels of each sample of (N, C, ...); see `medkern.functional.group_norm`.

    Args:
        num_groups: number of groups.
        num_channels: number of channels, a multiple of it.
        eps: added to the variance.
        affine: whether there are a weight and a bias per channel.
        activation: "relu" applies it to y in the same pass; None doesn't.

    Raises:
        ValueError: a number is not positive, `num_groups` doesn't divide `num_channels` or `activation` is
            unknown.
    """

    per_sample = True

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        activation: str | None = None,
    ):
        super().__init__()
        self._set_activation(activation)
        expect_positive(self, num_groups=num_groups, num_channels=num_channels)
        expect_divisible(self, "num_channels", num_channels, "num_groups", num_groups)
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self._make_parameters((num_channels,), affine, affine)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (N, C, ...)."""
        return functional.group_norm(x, self.num_groups, self.weight, self.bias, self.eps, self.activation)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return self._with_activation(
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.weight is not None}"
        )


class LayerNorm(_Norm):
    """Normalises over the last axes; see `medkern.functional.layer_norm`.

    Args:
        normalized_shape: size of the last axis, or of the last axes together.
        eps: added to the variance.
        elementwise_affine: whether there are a weight and a bias of this shape.
        bias: whether there is a bias, if `elementwise_affine`.

    Raises:
        ValueError: a size is not positive.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ):
        super().__init__()
        if isinstance(normalized_shape, numbers.Integral):
            normalized_shape = (int(normalized_shape),)
        self.normalized_shape = tuple(normalized_shape)  # type: ignore[arg-type]
        if not self.normalized_shape:
            raise ValueError("LayerNorm: normalized_shape must have at least one size, got ()")
        for size in self.normalized_shape:
            expect_positive(self, normalized_shape=size)
        self.eps = eps
        self._make_parameters(self.normalized_shape, elementwise_affine, elementwise_affine and bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (..., *normalized_shape)."""
        return functional.layer_norm(x, self.normalized_shape, self.weight, self.bias, eps=self.eps)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
