"""Normalization on tensors.

Gradients come from one kernel each or, where they are to be differentiated again, from
`standardize_backward`.
"""

from __future__ import annotations

from typing import Any, cast

from medkern import _C, kernels
from medkern.autograd import Function, Node, is_grad_enabled
from medkern.functional._standardize import standardize_backward
from medkern.kernels._activation import activation_number
from medkern.tensor import Measured, Tensor

Gradients = tuple[Tensor, Tensor | None, Tensor | None]


def _array(x: Tensor | None) -> _C.Array | None:
    return None if x is None else x.array


def _tensors(arrays: tuple[_C.Array, ...]) -> Gradients:
    dx, dweight, dbias = arrays
    return Tensor(dx), Tensor(dweight), Tensor(dbias)


def _per_channel(x: Tensor) -> tuple[int, ...]:
    return (1, x.shape[1], *(1,) * (x.ndim - 2))


class BatchNorm(Function):
    """Batch normalization."""

    twice_differentiable = takes_bfloat16 = True

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
        ctx.training, ctx.activation, ctx.eps = training, activation, eps
        moments = x.moments if training else None
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
            moments,
        )
        if moments is not None:
            cast(Measured, x).forget_moments()
        if training:
            for running in (running_mean, running_var):
                if running is not None:
                    running._version += 1
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Gradients:
        """All three gradients in one call."""
        x, weight, bias = ctx.saved
        if is_grad_enabled():
            return standardize_backward(
                dy,
                x,
                weight,
                bias,
                axes=(0, *range(2, x.ndim)),
                eps=ctx.eps,
                activation=ctx.activation,
                parameter_shape=_per_channel(x),
                statistics=None if ctx.training else (Tensor(ctx.mean), Tensor(ctx.rstd)),
            )
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

    twice_differentiable = takes_bfloat16 = True

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
        ctx.activation, ctx.eps = activation, eps
        number = activation_number("instance_norm", activation)
        moments = x.sample_moments
        y, ctx.mean, ctx.rstd = _C.instance_norm(
            x.array, _array(weight), _array(bias), eps, number, None, moments
        )
        if moments is not None:
            cast(Measured, x).forget_moments()
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Gradients:
        """All three gradients in one call."""
        x, weight, bias = ctx.saved
        if is_grad_enabled():
            return standardize_backward(
                dy,
                x,
                weight,
                bias,
                axes=tuple(range(2, x.ndim)),
                eps=ctx.eps,
                activation=ctx.activation,
                parameter_shape=_per_channel(x),
            )
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

    twice_differentiable = takes_bfloat16 = True

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
        ctx.num_groups, ctx.activation, ctx.eps = num_groups, activation, eps
        number = activation_number("group_norm", activation)
        moments = x.sample_moments
        y, ctx.mean, ctx.rstd = _C.group_norm(
            x.array, num_groups, _array(weight), _array(bias), eps, number, None, moments
        )
        if moments is not None:
            cast(Measured, x).forget_moments()
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Gradients:
        """All three gradients in one call."""
        x, weight, bias = ctx.saved
        if is_grad_enabled():
            members = x.shape[1] // ctx.num_groups
            return standardize_backward(
                dy,
                x,
                weight,
                bias,
                axes=tuple(range(2, x.ndim + 1)),
                eps=ctx.eps,
                activation=ctx.activation,
                shape=(x.shape[0], ctx.num_groups, members, *x.shape[2:]),
                parameter_shape=(1, ctx.num_groups, members, *(1,) * (x.ndim - 2)),
            )
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

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node, x: Tensor, weight: Tensor | None, bias: Tensor | None, *, normalized_shape: Any, eps: float
    ) -> _C.Array:
        """Keeps the statistics."""
        ctx.save(x, weight, bias)
        ctx.normalized_shape, ctx.eps = normalized_shape, eps
        y, ctx.mean, ctx.rstd = _C.layer_norm(
            x.array, normalized_shape, _array(weight), _array(bias), eps, None
        )
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Gradients:
        """All three gradients in one call."""
        x, weight, bias = ctx.saved
        if is_grad_enabled():
            inner = 1 if isinstance(ctx.normalized_shape, int) else len(ctx.normalized_shape)
            return standardize_backward(
                dy,
                x,
                weight,
                bias,
                axes=tuple(range(x.ndim - inner, x.ndim)),
                eps=ctx.eps,
                parameter_shape=x.shape[x.ndim - inner :],
            )
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
