"""The gradients of a convolution with respect to its input and its weight, both in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import oracle
from ..case import Arrays, channels_last, normal
from . import conv
from .conv import Sizes

__all__ = ["TOLERANCE", "Sizes", "by_medkern", "by_torch", "draw", "expected", "work"]

TOLERANCE = 3e-5


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """dy, x and weight."""
    arrays = conv.draw(s, rng)
    return {"dy": normal(rng, *s.y), "x": arrays["x"], "weight": arrays["weight"]}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """Those of x and of the weight."""
    dy, x, weight = a["dy"], a["x"], a["weight"]
    options = (s.stride, s.padding, s.dilation, s.groups)
    if s.transposed:
        return [
            oracle.conv(dy, weight, None, *options),
            oracle.conv_backward_weight(x, dy, weight.shape, *options),
        ]
    return [
        oracle.conv_backward_input(dy, weight, x.shape, *options),
        oracle.conv_backward_weight(dy, x, weight.shape, *options),
    ]


def work(s: Sizes) -> tuple[float, float]:
    """Each gradient costs what forward does."""
    flops, size = conv.work(s)
    return 2 * flops, 2 * size


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """Two kernels; dy and x are channels-last, as layers give them."""
    from medkern import kernels

    x, dy, weight = channels_last(a["x"]), channels_last(a["dy"]), a["weight"]
    options = {"stride": s.stride, "padding": s.padding, "dilation": s.dilation, "groups": s.groups}
    if s.transposed:
        forward = {1: kernels.conv1d, 2: kernels.conv2d, 3: kernels.conv3d}[s.rank]
        return lambda: (
            forward(dy, weight, **options),
            kernels.conv_backward_weight(x, dy, weight.shape, **options),
        )
    return lambda: (
        kernels.conv_backward_input(dy, weight, x.shape, **options),
        kernels.conv_backward_weight(dy, x, weight.shape, **options),
    )


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The one function that gives both, without autograd around it."""
    import torch

    every = [[value] * s.rank for value in (s.stride, s.padding, s.dilation)]
    none = [0] * s.rank
    return lambda: torch.ops.aten.convolution_backward(
        a["dy"], a["x"], a["weight"], None, *every, s.transposed, none, s.groups, [True, True, False]
    )[:2]
