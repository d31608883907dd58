"""Normalization on tensors."""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.kernels._activation import activation_number
from medkern.tensor import Tensor

Gradients = tuple[Tensor, Tensor, Tensor]


def _array(x: Tensor | None) -> _C.Array | None:
    return None if x is None else x.array


def _tensors(arrays: tuple[_C.Array, ...]) -> Gradients:
    dx, dweight, dbias = arrays
    return Tensor(dx), Tensor(dweight), Tensor(dbias)


class BatchNorm(Function):
    """Batch normalization."""

    takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        training: bool,
        momentum: float,
        eps: float,
        activation: str | None,
    ) -> _C.Array:
        """Keeps x and the statistics; with an activation backward computes y anew."""
        ctx.save(x, weight, bias)
        ctx.training, ctx.activation = training, activation
        y, ctx.mean, ctx.rstd = _C.batch_norm(
            x.array,
            _array(running_mean),
            _array(running_var),
            _array(weight),
            _array(bias),
            training,
            momentum,
            eps,
            activation_number("batch_norm", activation),
            None,
        )
        if training:
            for running in (running_mean, running_var):
                if running is not None:
                    running._version += 1
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Gradients:
        """All three gradients in one call."""
        x, weight, bias = ctx.saved
        return _tensors(
            kernels.batch_norm_backward(
                dy.array,
                x.array,
                ctx.mean,
                ctx.rstd,
                _array(weight),
                ctx.training,
                bias=_array(bias),
                activation=ctx.activation,
            )
        )


class InstanceNorm(Function):
    """Instance normalization."""

    takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *,
        eps: float,
        activation: str | None,
    ) -> _C.Array:
        """As `BatchNorm`."""
        ctx.save(x, weight, bias)
        ctx.activation = activation
        number = activation_number("instance_norm", activation)
        y, ctx.mean, ctx.rstd = _C.instance_norm(x.array, _array(weight), _array(bias), eps, number, None)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Gradients:
        """All three gradients in one call."""
        x, weight, bias = ctx.saved
        return _tensors(
            kernels.instance_norm_backward(
                dy.array,
                x.array,
                ctx.mean,
                ctx.rstd,
                _array(weight),
                bias=_array(bias),
                activation=ctx.activation,
            )
        )


class GroupNorm(Function):
    """Group normalization."""

    takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        *,
        num_groups: int,
        eps: float,
        activation: str | None,
    ) -> _C.Array:
        """As `BatchNorm`."""
        ctx.save(x, weight, bias)
        ctx.num_groups, ctx.activation = num_groups, activation
        number = activation_number("group_norm", activation)
        y, ctx.mean, ctx.rstd = _C.group_norm(
            x.array, num_groups, _array(weight), _array(bias), eps, number, None
        )
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Gradients:
        """All three gradients in one call."""
        x, weight, bias = ctx.saved
        return _tensors(
            kernels.group_norm_backward(
                dy.array,
                x.array,
                ctx.num_groups,
                ctx.mean,
                ctx.rstd,
                _array(weight),
                bias=_array(bias),
                activation=ctx.activation,
            )
        )


class LayerNorm(Function):
    """Layer normalization."""

    takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node, x: Tensor, weight: Tensor | None, bias: Tensor | None, *, normalized_shape: Any, eps: float
    ) -> _C.Array:
        """Keeps the statistics."""
        ctx.save(x, weight)
        ctx.normalized_shape = normalized_shape
        y, ctx.mean, ctx.rstd = _C.layer_norm(
            x.array, normalized_shape, _array(weight), _array(bias), eps, None
        )
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Gradients:
        """All three gradients in one call."""
        x, weight = ctx.saved
        return _tensors(
            kernels.layer_norm_backward(
                dy.array, x.array, ctx.normalized_shape, ctx.mean, ctx.rstd, _array(weight)
            )
        )


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str | None = None,
) -> Tensor:
    """Differentiable `medkern.kernels.batch_norm`; running_mean and running_var are updated in place."""
    return BatchNorm.apply(
        x,
        weight,
        bias,
        running_mean=running_mean,
        running_var=running_var,
        training=training,
        momentum=momentum,
        eps=eps,
        activation=activation,
    )


def instance_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    activation: str | None = None,
) -> Tensor:
    """Differentiable `medkern.kernels.instance_norm`."""
    return InstanceNorm.apply(x, weight, bias, eps=eps, activation=activation)


def group_norm(
    x: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    activation: str | None = None,
) -> Tensor:
    """Differentiable `medkern.kernels.group_norm`."""
    return GroupNorm.apply(x, weight, bias, num_groups=num_groups, eps=eps, activation=activation)


def layer_norm(
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Differentiable `medkern.kernels.layer_norm`."""
    return LayerNorm.apply(x, weight, bias, normalized_shape=normalized_shape, eps=eps)
