"""Convolution and transposed convolution, forward, with bias."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import oracle
from ..case import Arrays, channels_last, normal

TOLERANCE = 2e-5


@dataclass(frozen=True)
class Sizes:
    """A convolution.

    Attributes:
        x: (N, C, spatial...).
        filters: channels of the result.
        kernel: the same along every axis; so are the following.
        stride: see kernel.
        padding: see kernel.
        dilation: see kernel.
        groups: splits the channels.
        transposed: whether it is a transposed convolution.
        prepared: whether medkern prepares the weights once, as ONNX Runtime and OpenVINO do.
    """

    x: Sequence[int]
    filters: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    groups: int = 1
    transposed: bool = False
    prepared: bool = True
    gradients: bool = False

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.x) - 2

    @property
    def weight(self) -> tuple[int, ...]:
        """Shape of the weight."""
        channels = (self.filters, self.x[1] // self.groups)
        if self.transposed:
            channels = (self.x[1], self.filters // self.groups)
        return (*channels, *(self.kernel,) * self.rank)

    @property
    def y(self) -> tuple[int, ...]:
        """Shape of the result."""
        reach = self.dilation * (self.kernel - 1) + 1
        if self.transposed:
            size = [(n - 1) * self.stride - 2 * self.padding + reach for n in self.x[2:]]
        else:
            size = [(n + 2 * self.padding - reach) // self.stride + 1 for n in self.x[2:]]
        return (self.x[0], self.filters, *size)


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """x, weight (He's scale) and bias."""
    reads = s.weight[0 if s.transposed else 1] * s.kernel**s.rank  # by one output, at most
    return {
        "x": normal(rng, *s.x),
        "weight": normal(rng, *s.weight, scale=math.sqrt(2 / reads)),
        "bias": normal(rng, s.filters),
    }


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The result."""
    if s.transposed:
        return [
            oracle.conv_transpose(a["x"], a["weight"], a["bias"], s.stride, s.padding, s.groups, s.dilation)
        ]
    return [oracle.conv(a["x"], a["weight"], a["bias"], s.stride, s.padding, s.dilation, s.groups)]


def work(s: Sizes) -> tuple[float, float]:
    """Two operations for each weight that each position meets."""
    positions = math.prod(s.x[2:] if s.transposed else s.y[2:]) * s.x[0]
    flops = 2 * positions * math.prod(s.weight)
    return flops, 4 * (math.prod(s.x) + math.prod(s.y) + math.prod(s.weight))


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """A plan, or the plain function; x is channels-last, as layers give it."""
    from medkern import kernels

    x, weight, bias = channels_last(a["x"]), a["weight"], a["bias"]
    options = {"stride": s.stride, "padding": s.padding, "dilation": s.dilation, "groups": s.groups}
    if s.prepared and hasattr(kernels, "conv_plan"):
        plan = kernels.conv_plan(weight, bias, transposed=s.transposed, **options)
        return lambda: plan(x)
    function = getattr(kernels, f"conv{'_transpose' if s.transposed else ''}{s.rank}d")
    return lambda: function(x, weight, bias, **options)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The function of `torch.nn.functional`."""
    from torch.nn import functional

    x, weight, bias = a["x"], a["weight"], a["bias"]
    function = getattr(functional, f"conv{'_transpose' if s.transposed else ''}{s.rank}d")
    options = {"stride": s.stride, "padding": s.padding, "dilation": s.dilation, "groups": s.groups}
    return lambda: function(x, weight, bias, **options)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """One node, its weights constant."""
    return [
        graph.add(
            "ConvTranspose" if s.transposed else "Conv",
            [graph.input(a["x"]), graph.constant(a["weight"]), graph.constant(a["bias"])],
            kernel_shape=[s.kernel] * s.rank,
            strides=[s.stride] * s.rank,
            pads=[s.padding] * (2 * s.rank),
            dilations=[s.dilation] * s.rank,
            group=s.groups,
        )
    ]
