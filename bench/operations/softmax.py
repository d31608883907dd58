"""Softmax over the channels of an image."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..case import Arrays, channels_last, normal

TOLERANCE = 2e-6


@dataclass(frozen=True)
class Sizes:
    """x; `gradients` is the backward pass alone."""

    x: Sequence[int]
    gradients: bool = False


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """Both images, x and the gradient of the result."""
    return {"x": normal(rng, *s.x), "dy": normal(rng, *s.x)}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The result, or the gradient of x."""
    x, dy = a["x"].astype(np.float64), a["dy"].astype(np.float64)
    y = np.exp(x - x.max(1, keepdims=True))
    y /= y.sum(1, keepdims=True)
    return [y * (dy - (dy * y).sum(1, keepdims=True)) if s.gradients else y]


def work(s: Sizes) -> tuple[float, float]:
    """Each array once: x and y forward, and dy, y and dx backward."""
    return 0, 4 * math.prod(s.x) * (3 if s.gradients else 2)


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """Arrays are channels-last."""
    from medkern import kernels

    x, dy = channels_last(a["x"]), channels_last(a["dy"])
    if s.gradients:
        y = kernels.softmax(x, 1)
        return lambda: kernels.softmax_backward(dy, y, 1)
    return lambda: kernels.softmax(x, 1)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The function of torch, or autograd's backward pass of it."""
    import torch

    x, dy = a["x"], a["dy"]
    if not s.gradients:
        return lambda: torch.softmax(x, 1)
    x.requires_grad_()
    y = torch.softmax(x, 1)
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """One node."""
    return [graph.add("Softmax", [graph.input(a["x"])], axis=1)]
