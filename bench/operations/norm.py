"""Batch or instance normalization, then ReLU."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..case import Arrays, channels_last, normal

TOLERANCE = 1e-5
_EPS = 1e-5


@dataclass(frozen=True)
class Sizes:
    """A normalization over images.

    Attributes:
        x: (N, C, spatial...).
        kind: "batch" (statistics of the batch), "batch_inference" (given ones) or "instance".
        gradients: the backward pass alone: of x, weight and bias, through ReLU.
    """

    x: Sequence[int]
    kind: str
    gradients: bool = False


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """x, the gradient of the result, and a number of each kind per channel."""
    channels = s.x[1]
    return {
        "x": normal(rng, *s.x),
        "dy": normal(rng, *s.x),
        "weight": 1 + normal(rng, channels, scale=0.1),
        "bias": normal(rng, channels, scale=0.1),
        "mean": normal(rng, channels, scale=0.1),
        "var": 1 + 0.1 * rng.random(channels, np.float32),
    }


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The result, or the three gradients."""
    a = {name: value.astype(np.float64) for name, value in a.items()}
    wide = (1, -1, *[1] * (len(s.x) - 2))
    spatial = tuple(range(2, len(s.x)))
    axes = spatial if s.kind == "instance" else (0, *spatial)
    x, weight, bias = a["x"], a["weight"].reshape(wide), a["bias"].reshape(wide)
    if s.kind == "batch_inference":
        mean, var = a["mean"].reshape(wide), a["var"].reshape(wide)
    else:
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    rstd = 1 / np.sqrt(var + _EPS)
    normed = (x - mean) * rstd
    y = np.maximum(normed * weight + bias, 0)
    if not s.gradients:
        return [y]
    dy = np.where(y > 0, a["dy"], 0)
    g = dy * weight
    centered = g - g.mean(axes, keepdims=True) - normed * (g * normed).mean(axes, keepdims=True)
    return [rstd * centered, (dy * normed).sum((0, *spatial)), dy.sum((0, *spatial))]


def work(s: Sizes) -> tuple[float, float]:
    """Each array once: x and y forward, and dy, x, y and dx backward."""
    return 0, 4 * math.prod(s.x) * (4 if s.gradients else 2)


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """Arrays are channels-last; ReLU is in the same pass."""
    from medkern import kernels

    x, dy, weight, bias = channels_last(a["x"]), channels_last(a["dy"]), a["weight"], a["bias"]
    mean, var = a["mean"], a["var"]
    if s.kind == "instance":
        norm = functools.partial(kernels.instance_norm, x, weight, bias, activation="relu")
        backward = kernels.instance_norm_backward
    else:
        training = s.kind == "batch"
        norm = functools.partial(kernels.batch_norm, x, mean, var, weight, bias, training, activation="relu")
        backward = kernels.batch_norm_backward
    if not s.gradients:
        return norm
    _, mean, rstd = norm(return_stats=True)
    return lambda: backward(dy, x, mean, rstd, weight, bias=bias, activation="relu")


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The functions of `torch.nn.functional`, ReLU in place, or autograd's backward pass of them."""
    import torch
    from torch.nn import functional

    x, dy, weight, bias = a["x"], a["dy"], a["weight"], a["bias"]

    def forward() -> Any:
        if s.kind == "instance":
            return functional.instance_norm(x, weight=weight, bias=bias)
        training = s.kind == "batch"
        return functional.batch_norm(x, a["mean"], a["var"], weight, bias, training)

    if not s.gradients:
        return lambda: functional.relu_(forward())
    for value in (x, weight, bias):
        value.requires_grad_()
    y = functional.relu(forward())
    return lambda: torch.autograd.grad(y, (x, weight, bias), dy, retain_graph=True)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """Two nodes; there is no training there."""
    if s.kind == "batch":
        return []
    x, weight, bias = graph.input(a["x"]), graph.constant(a["weight"]), graph.constant(a["bias"])
    if s.kind == "instance":
        y = graph.add("InstanceNormalization", [x, weight, bias], epsilon=_EPS)
    else:
        inputs = [x, weight, bias, graph.constant(a["mean"]), graph.constant(a["var"])]
        y = graph.add("BatchNormalization", inputs, epsilon=_EPS)
    return [graph.add("Relu", [y])]
