"""Convolution kernels."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkern import _C
from medkern.kernels._activation import activation_number
from medkern.kernels._algorithm import algorithm_number
from medkern.kernels._kind import like


def _conv(
    x: Any,
    rank: int,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    activation: str | None,
    algorithm: str | None,
    out: Any,
) -> Any:
    op = f"conv{rank}d"
    return like(
        x,
        _C.conv(
            x,
            weight,
            bias,
            rank,
            stride,
            padding,
            dilation,
            groups,
            activation_number(op, activation),
            False,
            out,
            algorithm_number(op, algorithm),
        ),
    )


def _conv_transpose(
    x: Any,
    rank: int,
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    activation: str | None,
    algorithm: str | None,
    out: Any,
) -> Any:
    op = f"conv_transpose{rank}d"
    return like(
        x,
        _C.conv_transpose(
            x,
            weight,
            bias,
            rank,
            stride,
            padding,
            output_padding,
            groups,
            dilation,
            activation_number(op, activation),
            False,
            out,
            algorithm_number(op, algorithm),
        ),
    )


def conv1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    algorithm: str | None = None,
    out: Any = None,
) -> Any:
    """Convolution over W of (N, C, W); see `conv2d`."""
    return _conv(x, 1, weight, bias, stride, padding, dilation, groups, activation, algorithm, out)


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    algorithm: str | None = None,
    out: Any = None,
) -> Any:
    """Convolution (cross-correlation, as in every network).

    y[n, o, i, j] = act(bias[o] + sum over c, p, q of
                        x[n, c, s i - pad + d p, s j - pad + d q] weight[o, c, p, q])

    Args:
        x: (N, C, H, W), float32 or float64; on a CUDA device also float16 or bfloat16, whose products
            are summed in float32 and rounded once.
        weight: (O, C / groups, kernel height, kernel width).
        bias: (O,), or None; may be float32 beside 16-bit arrays.
        stride: step between windows, an int or (height, width).
        padding: zeros around x: an int, (height, width), ((before, after), (before, after)), "same" or
            "valid". Negative values crop.
        dilation: step between the elements of a window.
        groups: splits the channels; group g of the result sees only group g of x.
        activation: None or "relu".
        algorithm: "direct" adds product by product, so that sums of small integers are exact; None or
            "automatic" does what `medkern.set_algorithm` says, at first what is fastest.
        out: array for the result.

    Returns:
        (N, O, floor((H + padding - dilation (kernel - 1) - 1) / stride) + 1, ...), in the memory format
        of x.

    Raises:
        ValueError: a shape, size or `out` doesn't fit.
        TypeError: x is of another type, or the types differ.

    Example:
        >>> x = np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3)
        >>> medkern.kernels.conv2d(x, np.ones((1, 1, 2, 2), np.float32))[0, 0]
        array([[ 8., 12.],
               [20., 24.]], dtype=float32)
    """
    return _conv(x, 2, weight, bias, stride, padding, dilation, groups, activation, algorithm, out)


def conv3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    activation: str | None = None,
    algorithm: str | None = None,
    out: Any = None,
) -> Any:
    """Convolution over D, H, W of (N, C, D, H, W); see `conv2d`."""
    return _conv(x, 3, weight, bias, stride, padding, dilation, groups, activation, algorithm, out)


def conv_transpose1d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: str | None = None,
    algorithm: str | None = None,
    out: Any = None,
) -> Any:
    """Transposed convolution over W of (N, C, W); see `conv_transpose2d`."""
    return _conv_transpose(
        x, 1, weight, bias, stride, padding, output_padding, groups, dilation, activation, algorithm, out
    )


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: str | None = None,
    algorithm: str | None = None,
    out: Any = None,
) -> Any:
    """Transposed convolution: the gradient of `conv2d` with respect to its input, as a layer.

    y[n, o, s i - pad + d p, s j - pad + d q] += x[n, c, i, j] weight[c, o, p, q]

    Args:
        x: (N, C, H, W), float32 or float64; on a CUDA device also float16 or bfloat16, whose products
            are summed in float32 and rounded once.
        weight: (C, O / groups, kernel height, kernel width).
        bias: (O,), or None.
        stride: step between windows in the result.
        padding: rows and columns cut off the result's edges, as the padding of `conv2d`.
        output_padding: extra size of the result at its far edges, less than the stride.
        groups: splits the channels.
        dilation: step between the elements of a window.
        activation: None or "relu".
        algorithm: see `conv2d`.
        out: array for the result.

    Returns:
        (N, O, (H - 1) stride - padding + dilation (kernel - 1) + output_padding + 1, ...), in the
        memory format of x.

    Raises:
        ValueError: a shape, size or `out` doesn't fit.
        TypeError: x is of another type, or the types differ.

    Example:
        >>> x = np.array([[[[1.0, 2.0]]]])
        >>> medkern.kernels.conv_transpose2d(x, np.ones((1, 1, 2, 2)), stride=2)[0, 0]
        array([[1., 1., 2., 2.],
               [1., 1., 2., 2.]])
    """
    return _conv_transpose(
        x, 2, weight, bias, stride, padding, output_padding, groups, dilation, activation, algorithm, out
    )


def conv_transpose3d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
    *,
    activation: str | None = None,
    algorithm: str | None = None,
    out: Any = None,
) -> Any:
    """Transposed convolution over D, H, W of (N, C, D, H, W); see `conv_transpose2d`."""
    return _conv_transpose(
        x, 3, weight, bias, stride, padding, output_padding, groups, dilation, activation, algorithm, out
    )


def conv_backward_input(
    dy: Any,
    weight: Any,
    input_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str | None = None,
    out: Any = None,
) -> Any:
    """The gradient of a convolution with respect to x.

    Args:
        dy: gradient of the result, shape of the result.
        weight: as in the forward pass.
        input_shape: shape of x; its length says whether the convolution is 1-D, 2-D or 3-D.
        stride: as in the forward pass; so are the following.
        padding: see there.
        dilation: see there.
        groups: see there.
        algorithm: see `conv2d`.
        out: array for the result.

    Returns:
        dx, of shape `input_shape`, in the memory format of dy.

    Raises:
        ValueError: a shape doesn't fit.
    """
    number = algorithm_number("conv_backward_input", algorithm)
    return like(
        dy,
        _C.conv_backward_input(
            dy, weight, input_shape, stride, padding, dilation, groups, False, out, number
        ),
    )


def conv_backward_weight(
    dy: Any,
    x: Any,
    weight_shape: tuple[int, ...],
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    algorithm: str | None = None,
    out: Any = None,
) -> Any:
    """The gradient of a convolution with respect to its weight.

    Args:
        dy: gradient of the result, shape of the result.
        x: as in the forward pass.
        weight_shape: shape of the weight; its length says whether the convolution is 1-D, 2-D or 3-D.
        stride: as in the forward pass; so are the following.
        padding: see there.
        dilation: see there.
        groups: see there.
        algorithm: see `conv2d`.
        out: contiguous array for the result; may be float32 beside 16-bit arrays, to keep more of the sums.

    Returns:
        dweight, of shape `weight_shape`. (That of the bias is `bias_backward(dy)`.)

    Raises:
        ValueError: a shape doesn't fit.
    """
    number = algorithm_number("conv_backward_weight", algorithm)
    return like(
        dy, _C.conv_backward_weight(dy, x, weight_shape, stride, padding, dilation, groups, out, number)
    )


class ConvPlan:
    """A convolution whose weights have been prepared; made by `conv_plan`."""

    def __init__(self, plan: _C.ConvPlan) -> None:
        self._plan = plan

    def __call__(self, x: Any, out: Any = None) -> Any:
        """The convolution of x, in the memory format of x."""
        return like(x, self._plan.run(x, False, out))

    @property
    def nbytes(self) -> int:
        """Bytes that the prepared weights take."""
        return self._plan.nbytes


def conv_plan(
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    transposed: bool = False,
    output_padding: Any = 0,
    activation: str | None = None,
    algorithm: str | None = None,
) -> ConvPlan:
    """Prepares a convolution for many calls: transforms and packs its weights once.

    Args:
        weight: as of `conv2d`, or of `conv_transpose2d` if `transposed`; its rank says whether the
            convolution is 1-D, 2-D or 3-D. Later changes of it have no effect.
        bias: (O,), or None.
        stride: see `conv2d`; so the following.
        padding: see there.
        dilation: see there.
        groups: see there.
        transposed: whether it is a transposed convolution.
        output_padding: see `conv_transpose2d`.
        activation: None or "relu".
        algorithm: see `conv2d`.

    Returns:
        plan(x, out=None), which gives the same bits as the plain call where both take the same
        algorithm. It serves the instruction set in use now.

    Raises:
        ValueError: a size or setting doesn't fit.
        TypeError: the weight is of a type that convolutions do not take.

    Example:
        >>> plan = medkern.kernels.conv_plan(np.ones((1, 1, 2, 2), np.float32), activation="relu")
        >>> plan(np.arange(9, dtype=np.float32).reshape(1, 1, 3, 3))[0, 0]
        array([[ 8., 12.],
               [20., 24.]], dtype=float32)
    """
    number = activation_number("conv_plan", activation)
    return ConvPlan(
        _C.ConvPlan(
            weight,
            bias,
            len(np.shape(weight)) - 2,
            stride,
            padding,
            dilation,
            groups,
            transposed,
            output_padding,
            number,
            algorithm_number("conv_plan", algorithm),
        )
    )
