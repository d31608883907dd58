"""Functions of each element: relu, sigmoid, tanh, and the sum of two images."""

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
    """x and the function's name; `gradients` is the backward pass alone."""

    x: Sequence[int]
    kind: str
    gradients: bool = False


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """x, a second image, and the gradient of the result."""
    return {"x": normal(rng, *s.x), "other": normal(rng, *s.x), "dy": normal(rng, *s.x)}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The result, or the gradient of x."""
    x, other, dy = (a[name].astype(np.float64) for name in ("x", "other", "dy"))
    if s.kind == "add":
        return [x + other]
    y, slope = {
        "relu": lambda: (np.maximum(x, 0), x > 0),
        "sigmoid": lambda: (0.5 + 0.5 * np.tanh(x / 2), 0.25 / np.cosh(x / 2) ** 2),
        "tanh": lambda: (np.tanh(x), 1 / np.cosh(x) ** 2),
    }[s.kind]()
    return [dy * slope if s.gradients else y]


def work(s: Sizes) -> tuple[float, float]:
    """Each array once: x and y, and the second image, or dy."""
    return 0, 4 * math.prod(s.x) * (3 if s.gradients or s.kind == "add" else 2)


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """Arrays are channels-last."""
    from medkern import kernels

    x, other, dy = (channels_last(a[name]) for name in ("x", "other", "dy"))
    function = getattr(kernels, s.kind)
    if s.kind == "add":
        return lambda: function(x, other)
    if s.gradients:
        y = function(x)
        return lambda: kernels.unary_backward(s.kind, dy, y)
    return lambda: function(x)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The function of torch, or autograd's backward pass of it."""
    import torch

    x, other, dy = a["x"], a["other"], a["dy"]
    function = getattr(torch, s.kind)
    if s.kind == "add":
        return lambda: function(x, other)
    if not s.gradients:
        return lambda: function(x)
    x.requires_grad_()
    y = function(x)
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """One node."""
    inputs = [graph.input(a["x"])]
    if s.kind == "add":
        inputs.append(graph.input(a["other"]))
    return [graph.add(s.kind.capitalize(), inputs)]


def by_numpy(s: Sizes, a: Arrays) -> Callable[[], Any] | None:
    """What NumPy has in one function."""
    x, other = a["x"], a["other"]
    calls = {"add": lambda: x + other, "relu": lambda: np.maximum(x, 0), "tanh": lambda: np.tanh(x)}
    return None if s.gradients else calls.get(s.kind)
