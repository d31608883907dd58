"""Convolution on tensors.

Results are channels-last whatever x is, so that a chain of layers never converts. A convolution is linear in
x and in its weight, and its gradients are convolutions: all can be differentiated any number of times.
"""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.functional._bfloat16 import beside, narrowed
from medkern.functional.gemm import BiasBackward
from medkern.functional.pointwise import UnaryBackward
from medkern.kernels._activation import activation_number
from medkern.tensor import Measured, Tensor

# Every function below keeps the window as a dict: stride, padding, dilation, groups.


class Conv(Function):
    """y = act(conv(x, weight) + bias), and the gradient as if there were no activation: see `Activated`."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        rank: int,
        activation: str | None = None,
        **window: Any,
    ) -> _C.Array:
        """Over the last `rank` axes."""
        ctx.save(x, weight)
        ctx.window = window
        return _C.conv(
            x.array,
            beside(weight, x),
            None if bias is None else bias.array,
            rank,
            activation=activation_number(f"conv{rank}d", activation),
            channels_last=True,
            out=None,
            **window,
        )

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        """A transposed convolution, a correlation of x with dy, and sums."""
        x, weight = ctx.saved
        dy = _dense(dy)
        return (
            ConvBackwardInput.apply(dy, weight, input_shape=x.shape, **ctx.window) if ctx.needs[0] else None,
            ConvBackwardWeight.apply(dy, x, weight_shape=weight.shape, dtype=weight.dtype, **ctx.window)
            if ctx.needs[1]
            else None,
            BiasBackward.apply(dy, axis=1) if ctx.needs[2] else None,
        )


class ConvWithMoments(Function):
    """`Conv` that gives the moments of y as well, where they are to be had."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        rank: int,
        per_sample: bool,
        **window: Any,
    ) -> tuple[_C.Array, ...]:
        """Over the last `rank` axes."""
        ctx.save(x, weight)
        ctx.window = window
        y, moments = _C.conv_with_moments(
            x.array,
            beside(weight, x),
            None if bias is None else bias.array,
            rank,
            activation=0,
            per_sample=per_sample,
            **window,
        )
        return (y,) if moments is None else (y, moments)

    @staticmethod
    def backward(ctx: Node, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        """That of `Conv`."""
        return Conv.backward(ctx, dy)


def _dense(dy: Tensor) -> Tensor:
    """A gradient that several kernels take; a part of a larger one is copied once instead of by each."""
    return dy if dy.array.is_contiguous or dy.array.is_channels_last else Dense.apply(dy)


class Dense(Function):
    """The same values without gaps between them."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor) -> _C.Array:
        """Channels-last if channels are side by side."""
        return kernels.copy(x.array, channels_last=x.array.strides[1] == 1)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The same values."""
        return dy


class Activated(Function):
    """The gradient of an activation that was applied where x was computed: y is x.

    A node of its own, so that the gradient of y can go before the convolution's are computed.
    """

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, activation: str) -> _C.Array:
        """Keeps the result."""
        ctx.save_output(x.array)
        ctx.activation = activation
        return x.array

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """By the result."""
        return UnaryBackward.apply(dy, *ctx.outputs, op=ctx.activation, a=0.0, b=0.0)


class ConvBackwardInput(Function):
    """dx = transposed convolution of dy with weight."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node, dy: Tensor, weight: Tensor, *, input_shape: tuple[int, ...], **window: Any
    ) -> _C.Array:
        """The gradient of `Conv` with respect to x."""
        ctx.save(dy, weight)
        ctx.window = window
        return _C.conv_backward_input(
            dy.array, beside(weight, dy), input_shape, channels_last=True, out=None, **window
        )

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """With respect to dy it is `Conv`; with respect to weight ddx takes the place of x."""
        dy, weight = ctx.saved
        return (
            Conv.apply(ddx, weight, None, rank=dy.ndim - 2, **ctx.window) if ctx.needs[0] else None,
            ConvBackwardWeight.apply(dy, ddx, weight_shape=weight.shape, dtype=weight.dtype, **ctx.window)
            if ctx.needs[1]
            else None,
        )


class ConvBackwardWeight(Function):
    """dweight = correlation of x with dy, in the type of the weight."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node, dy: Tensor, x: Tensor, *, weight_shape: tuple[int, ...], dtype: Any, **window: Any
    ) -> _C.Array:
        """The gradient of `Conv` with respect to weight."""
        ctx.save(dy, x)
        ctx.window = window
        out = None if dy.dtype == dtype else _C.empty(weight_shape, dtype, device=dy.device)
        return kernels.conv_backward_weight(dy.array, x.array, weight_shape, **window, out=out)

    @staticmethod
    def backward(ctx: Node, ddweight: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Linear in dy and in x, with ddweight as the weight."""
        dy, x = ctx.saved
        return (
            Conv.apply(x, ddweight, None, rank=dy.ndim - 2, **ctx.window) if ctx.needs[0] else None,
            ConvBackwardInput.apply(dy, ddweight, input_shape=x.shape, **ctx.window)
            if ctx.needs[1]
            else None,
        )


class ConvTranspose(Function):
    """y = transposed convolution of x with weight, + bias."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        *,
        rank: int,
        output_padding: Any,
        **window: Any,
    ) -> _C.Array:
        """Over the last `rank` axes."""
        ctx.save(x, weight)
        ctx.window = window
        return _C.conv_transpose(
            x.array,
            beside(weight, x),
            None if bias is None else bias.array,
            rank,
            output_padding=output_padding,
            activation=0,
            channels_last=True,
            out=None,
            **window,
        )

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        """It is the gradient of a convolution: x is the dy of that one, and dy its x."""
        x, weight = ctx.saved
        dy = _dense(dy)
        return (
            Conv.apply(dy, weight, None, rank=x.ndim - 2, **ctx.window) if ctx.needs[0] else None,
            ConvBackwardWeight.apply(x, dy, weight_shape=weight.shape, dtype=weight.dtype, **ctx.window)
            if ctx.needs[1]
            else None,
            BiasBackward.apply(dy, axis=1) if ctx.needs[2] else None,
        )


def _conv(
    x: Tensor,
    rank: int,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    activation: str | None,
) -> Tensor:
    window = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y = Conv.apply(narrowed(x), weight, bias, rank=rank, activation=activation, **window)
    return y if activation is None else Activated.apply(y, activation=activation)


def conv_before_norm(
    x: Tensor,
    rank: int,
    weight: Tensor,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    *,
    per_sample: bool,
) -> Tensor:
    """A convolution over `rank` axes on a CUDA device, measured for the norm that comes next.

    A norm of that very tensor has no need to read it for its statistics, which with `per_sample` are of each
    sample. Where the kernels don't measure, it is a convolution as any.
    """
    window = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    y, *moments = ConvWithMoments.apply(narrowed(x), weight, bias, rank=rank, per_sample=per_sample, **window)
    return Measured(y, moments[0].array, per_sample) if moments else y


def conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """Differentiable `medkern.kernels.conv1d`."""
    return _conv(x, 1, weight, bias, stride, padding, dilation, groups, activation)


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """Differentiable `medkern.kernels.conv2d`; the same arguments, shapes and errors.

    Example:
        >>> x = medkern.tensor(np.ones((1, 1, 4, 4)))
        >>> weight = medkern.tensor(np.ones((1, 1, 3, 3)), requires_grad=True)
        >>> medkern.functional.conv2d(x, weight, padding=1).shape
        (1, 1, 4, 4)
    """
    return _conv(x, 2, weight, bias, stride, padding, dilation, groups, activation)


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Tensor:
    """Differentiable `medkern.kernels.conv3d`."""
    return _conv(x, 3, weight, bias, stride, padding, dilation, groups, activation)


def conv_transpose1d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Differentiable `medkern.kernels.conv_transpose1d`."""
    return ConvTranspose.apply(
        narrowed(x),
        weight,
        bias,
        rank=1,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
    )


def conv_transpose2d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Differentiable `medkern.kernels.conv_transpose2d`; the same arguments, shapes and errors.

    Example:
        >>> x = medkern.tensor(np.ones((1, 2, 4, 4)), requires_grad=True)
        >>> weight = medkern.tensor(np.ones((2, 1, 2, 2)))
        >>> medkern.functional.conv_transpose2d(x, weight, stride=2).shape
        (1, 1, 8, 8)
    """
    return ConvTranspose.apply(
        narrowed(x),
        weight,
        bias,
        rank=2,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
    )


def conv_transpose3d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Tensor:
    """Differentiable `medkern.kernels.conv_transpose3d`."""
    return ConvTranspose.apply(
        narrowed(x),
        weight,
        bias,
        rank=3,
        stride=stride,
        padding=padding,
        output_padding=output_padding,
        dilation=dilation,
        groups=groups,
    )
