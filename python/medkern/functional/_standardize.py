"""The gradients of normalization made of differentiable functions, for where they are differentiated again.

    y = relu?(weight xhat + bias),   xhat = (x - mean) rstd,   rstd = (var + eps)^(-1/2)
    dx = rstd (g - mean(g) - xhat mean(g xhat)),   g = weight dy,   dweight = sum dy xhat,   dbias = sum dy

with means over what was normalized together; with statistics that are constants dx = rstd g.
"""

from __future__ import annotations

from typing import Any

from medkern import kernels
from medkern.functional import copy, pointwise, reduce
from medkern.functional._broadcast import sum_to
from medkern.tensor import Tensor


def standardize_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    *,
    axes: tuple[int, ...],
    eps: float,
    activation: str | None = None,
    shape: tuple[int, ...] | None = None,
    parameter_shape: tuple[int, ...],
    statistics: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The gradients of x, weight and bias.

    Args:
        dy: shaped like x.
        x: what was normalized.
        weight: any shape, or None.
        bias: any shape, or None.
        axes: what is normalized together.
        eps: added to the variance.
        activation: "relu" or None.
        shape: as which x is seen, or None for its own.
        parameter_shape: as which weight and bias are seen beside it.
        statistics: mean and rstd that don't depend on x, seen like the parameters; or None.
    """
    seen = x if shape is None else copy.reshape(x, shape)
    dy = dy if shape is None else copy.reshape(dy, shape)

    def parameter(value: Any) -> Tensor:
        return copy.reshape(value, parameter_shape)

    if statistics is None:
        mean = reduce.mean(seen, axes, keepdim=True)
        var = reduce.var(seen, axes, keepdim=True, correction=0)
        rstd = pointwise.pow(pointwise.add(var, eps), -0.5)
    else:
        mean, rstd = (parameter(value) for value in statistics)
    normed = pointwise.mul(pointwise.sub(seen, mean), rstd)
    if activation is not None:  # "relu": where y is above 0
        y = normed if weight is None else pointwise.mul(normed, parameter(weight))
        y = y if bias is None else pointwise.add(y, parameter(bias))
        dy = pointwise.where(kernels.compare("gt", y.array, 0.0), dy, 0.0)
    g = dy if weight is None else pointwise.mul(dy, parameter(weight))
    if statistics is None:
        common = reduce.mean(g, axes, keepdim=True)
        slope = reduce.mean(pointwise.mul(g, normed), axes, keepdim=True)
        g = pointwise.sub(pointwise.sub(g, common), pointwise.mul(normed, slope))
    dx = pointwise.mul(g, rstd)
    return (
        dx if shape is None else copy.reshape(dx, x.shape),
        None
        if weight is None
        else copy.reshape(sum_to(pointwise.mul(dy, normed), parameter_shape), weight.shape),
        None if bias is None else copy.reshape(sum_to(dy, parameter_shape), bias.shape),
    )
