"""Resizing to twice the size: nearest, or linear along every axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..case import Arrays, channels_last, normal

TOLERANCE = 2e-6
_LINEAR = {2: "bilinear", 3: "trilinear"}


@dataclass(frozen=True)
class Sizes:
    """x before, and whether linear; `gradients` is the backward pass alone."""

    x: Sequence[int]
    linear: bool = True
    gradients: bool = False

    @property
    def y(self) -> tuple[int, ...]:
        """Shape after."""
        return (*self.x[:2], *(2 * n for n in self.x[2:]))

    @property
    def mode(self) -> str:
        """PyTorch's name."""
        return _LINEAR[len(self.x) - 2] if self.linear else "nearest"


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """Both images, x and the gradient of the result."""
    return {"x": normal(rng, *s.x), "dy": normal(rng, *s.y)}


def _weights(n: int, linear: bool) -> np.ndarray:
    """(2 n, n): what each output takes of each input."""
    outputs = np.arange(2 * n)
    weights = np.zeros((2 * n, n))
    if not linear:
        weights[outputs, outputs // 2] = 1
        return weights
    at = np.clip((outputs + 0.5) / 2 - 0.5, 0, n - 1)
    low = np.minimum(at.astype(int), n - 1)
    high = np.minimum(low + 1, n - 1)
    np.add.at(weights, (outputs, low), 1 - (at - low))
    np.add.at(weights, (outputs, high), at - low)
    return weights


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The result, or the gradient of x: one matrix along each axis."""
    y = (a["dy"] if s.gradients else a["x"]).astype(np.float64)
    for axis, n in enumerate(s.x[2:], 2):
        weights = _weights(n, s.linear)
        y = np.moveaxis(np.tensordot(y, weights.T if not s.gradients else weights, (axis, 0)), -1, axis)
    return [y]


def work(s: Sizes) -> tuple[float, float]:
    """Each array once."""
    return 0, 4 * (math.prod(s.x) + math.prod(s.y))


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """Arrays are channels-last."""
    from medkern import kernels

    x, dy, shape, mode = channels_last(a["x"]), channels_last(a["dy"]), tuple(s.x), s.mode
    if s.gradients:
        return lambda: kernels.interpolate_backward(dy, shape, scale_factor=2, mode=mode)
    return lambda: kernels.interpolate(x, scale_factor=2, mode=mode)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The function of `torch.nn.functional`, or autograd's backward pass of it."""
    import torch
    from torch.nn import functional

    x, dy, mode = a["x"], a["dy"], s.mode
    if not s.gradients:
        return lambda: functional.interpolate(x, scale_factor=2, mode=mode)
    x.requires_grad_()
    y = functional.interpolate(x, scale_factor=2, mode=mode)
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """One node."""
    scales = graph.constant(np.array([1, 1, *[2] * (len(s.x) - 2)], np.float32))
    options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    if not s.linear:
        options = {
            "mode": "nearest",
            "coordinate_transformation_mode": "asymmetric",
            "nearest_mode": "floor",
        }
    return [graph.add("Resize", [graph.input(a["x"]), "", scales], **options)]
