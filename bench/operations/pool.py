"""Max and average pooling, and max unpooling: the last from pooled values and where they came from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..case import Arrays, channels_last, normal

TOLERANCE = 1e-6


@dataclass(frozen=True)
class Sizes:
    """Windows that do not overlap.

    Attributes:
        x: (N, C, spatial...), before pooling (after unpooling).
        kind: "max", "average" or "unpool".
        kernel: the same along every axis, and the stride.
        gradients: the backward pass alone, from what forward kept.
    """

    x: Sequence[int]
    kind: str
    kernel: int = 2
    gradients: bool = False

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.x) - 2

    @property
    def y(self) -> tuple[int, ...]:
        """Shape after pooling (before unpooling)."""
        return (*self.x[:2], *(n // self.kernel for n in self.x[2:]))


def _windows(s: Sizes, x: np.ndarray) -> np.ndarray:
    """(N, C, spatial..., values of the window in row-major order)."""
    split = x.reshape(*x.shape[:2], *(n for m in s.y[2:] for n in (m, s.kernel)))
    order = [0, 1, *range(2, split.ndim, 2), *range(3, split.ndim, 2)]
    return split.transpose(order).reshape(*s.y, -1)


def _together(s: Sizes, windows: np.ndarray) -> np.ndarray:
    """The image again, from `_windows`."""
    split = windows.reshape(*s.y, *[s.kernel] * s.rank)
    order = [0, 1, *(axis for i in range(s.rank) for axis in (2 + i, 2 + s.rank + i))]
    return split.transpose(order).reshape(s.x)


def _indices(s: Sizes, x: np.ndarray) -> np.ndarray:
    """Row-major position of each window's first maximum in the image, int64."""
    places = np.arange(math.prod(s.x[2:])).reshape(1, 1, *s.x[2:])
    places = _windows(s, np.broadcast_to(places, s.x))
    return np.take_along_axis(places, _windows(s, x).argmax(-1)[..., None], -1)[..., 0]


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """x, and the gradient of the result; for unpooling what pooling x would give."""
    x = normal(rng, *s.x)
    if s.kind == "unpool":
        return {"x": normal(rng, *s.y), "indices": _indices(s, x), "dy": x}
    return {"x": x, "dy": normal(rng, *s.y)}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The result, or the gradient of x."""
    if s.kind == "unpool":
        flat = (*s.x[:2], -1)
        at = a["indices"].reshape(flat)
        if s.gradients:
            return [np.take_along_axis(a["dy"].reshape(flat), at, 2).reshape(s.y).astype(np.float64)]
        y = np.zeros((*s.x[:2], math.prod(s.x[2:])))
        np.put_along_axis(y, at, a["x"].reshape(flat), 2)
        return [y.reshape(s.x)]
    windows = _windows(s, a["x"].astype(np.float64))
    if not s.gradients:
        return [windows.max(-1) if s.kind == "max" else windows.mean(-1)]
    dy = a["dy"].astype(np.float64)[..., None]
    if s.kind == "average":
        return [_together(s, np.broadcast_to(dy / s.kernel**s.rank, windows.shape))]
    dx = np.zeros(windows.shape)
    np.put_along_axis(dx, windows.argmax(-1)[..., None], dy, -1)
    return [_together(s, dx)]


def work(s: Sizes) -> tuple[float, float]:
    """Each array once; the least that indices can take, a byte, with max."""
    indices = 0 if s.kind == "average" or (s.kind == "max" and not s.gradients) else math.prod(s.y)
    return 0, 4 * (math.prod(s.x) + math.prod(s.y)) + indices


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """Arrays are channels-last; backward of max pooling has the one-byte indices that tensors keep."""
    from medkern import _C, kernels

    x, dy, shape, k = channels_last(a["x"]), channels_last(a["dy"]), tuple(s.x), s.kernel
    if s.kind == "unpool":
        indices = channels_last(a["indices"])
        if s.gradients:
            return lambda: kernels.max_unpool_backward(dy, indices)
        unpool = getattr(kernels, f"max_unpool{s.rank}d")
        return lambda: unpool(x, indices, k)
    if s.kind == "average":
        if s.gradients:
            return lambda: kernels.avg_pool_backward(dy, shape, k)
        average = getattr(kernels, f"avg_pool{s.rank}d")
        return lambda: average(x, k)
    if s.gradients:
        _, local = _C.max_pool(x, s.rank, k, None, 0, 1, False, "uint8", None)
        return lambda: kernels.max_pool_backward(dy, local, shape, k)
    pool = getattr(kernels, f"max_pool{s.rank}d")
    return lambda: pool(x, k)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The function of `torch.nn.functional`, or autograd's backward pass of it."""
    import torch
    from torch.nn import functional

    x, dy = a["x"], a["dy"]
    name = {"max": "max_pool", "average": "avg_pool", "unpool": "max_unpool"}[s.kind]
    function = getattr(functional, f"{name}{s.rank}d")
    more = (a["indices"], s.kernel) if s.kind == "unpool" else (s.kernel,)
    if not s.gradients:
        return lambda: function(x, *more)
    x.requires_grad_()
    y = function(x, *more)
    return lambda: torch.autograd.grad(y, x, dy, retain_graph=True)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """One node."""
    window = {"kernel_shape": [s.kernel] * s.rank, "strides": [s.kernel] * s.rank}
    if s.kind == "unpool":
        # There the numbers of a position count through the whole array.
        planes = np.arange(math.prod(s.x[:2])).reshape(*s.x[:2], *[1] * s.rank) * math.prod(s.x[2:])
        inputs = [graph.input(a["x"]), graph.input(a["indices"] + planes)]
        return [graph.add("MaxUnpool", inputs, **window)]
    return [graph.add({"max": "MaxPool", "average": "AveragePool"}[s.kind], [graph.input(a["x"])], **window)]
