"""Reading images on a bent grid (spatial transformers, registration), and affine maps (augmentation)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..case import Arrays, channels_last, normal

TOLERANCE = 1e-4  # coordinates are rounded: 2^-24 of a size times the difference of neighbors


@dataclass(frozen=True)
class Sizes:
    """x, linear with zeros outside; `gradients` are those of x and the grid together."""

    x: Sequence[int]
    gradients: bool = False


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """x, the gradient of the result, and a grid bent by a tenth of the image."""
    axes = np.meshgrid(*[(2 * np.arange(n) + 1) / n - 1 for n in s.x[2:]], indexing="ij")
    others = [*axes[1:], axes[0]]
    bent = [a + 0.1 * np.sin(3 * b + i) for i, (a, b) in enumerate(zip(axes, others, strict=True))]
    grid = np.stack(bent[::-1], -1)[None].repeat(s.x[0], 0)
    return {"x": normal(rng, *s.x), "dy": normal(rng, *s.x), "grid": grid.astype(np.float32)}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """Sums over the neighbors of each place."""
    sizes = np.array(s.x[2:])
    at = (a["grid"].astype(np.float64)[..., ::-1] + 1) * sizes / 2 - 0.5
    at = at.reshape(s.x[0], -1, len(sizes))
    low = np.floor(at).astype(int)
    part = at - low
    x, dy = (a[name].astype(np.float64).reshape(*s.x[:2], -1) for name in ("x", "dy"))
    y, dx = np.zeros_like(x), np.zeros_like(x)
    dgrid = np.zeros_like(at)
    for n, corner in itertools.product(range(s.x[0]), itertools.product((0, 1), repeat=len(sizes))):
        place = low[n] + corner
        inside = ((place >= 0) & (place < sizes)).all(-1)
        flat = np.ravel_multi_index(tuple(place.clip(0, sizes - 1).T), tuple(sizes))
        weights = np.where(corner, part[n], 1 - part[n])
        weight = weights.prod(-1) * inside
        y[n] += x[n][:, flat] * weight
        if not s.gradients:
            continue
        for c in range(s.x[1]):
            np.add.at(dx[n, c], flat, dy[n, c] * weight)
        dot = (dy[n] * x[n][:, flat]).sum(0) * inside
        for axis, end in enumerate(corner):
            others = np.delete(weights, axis, -1).prod(-1)
            dgrid[n, :, axis] += (1 if end else -1) * dot * others * sizes[axis] / 2
    if not s.gradients:
        return [y.reshape(s.x)]
    return [dx.reshape(s.x), dgrid[..., ::-1].reshape(a["grid"].shape)]


def work(s: Sizes) -> tuple[float, float]:
    """Each array once."""
    images, grid = math.prod(s.x), s.x[0] * math.prod(s.x[2:]) * (len(s.x) - 2)
    return 0, 4 * ((3 * images + 2 * grid) if s.gradients else 2 * images + grid)


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """Arrays are channels-last."""
    from medkern import kernels

    x, dy, grid, shape = channels_last(a["x"]), channels_last(a["dy"]), a["grid"], tuple(s.x)
    if not s.gradients:
        return lambda: kernels.grid_sample(x, grid)
    return lambda: (
        kernels.grid_sample_backward_input(dy, grid, shape),
        kernels.grid_sample_backward_grid(dy, x, grid),
    )


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The function of `torch.nn.functional`, or autograd's backward pass of it."""
    import torch
    from torch.nn import functional

    x, dy, grid = a["x"], a["dy"], a["grid"]
    if not s.gradients:
        return lambda: functional.grid_sample(x, grid, align_corners=False)
    x.requires_grad_()
    grid.requires_grad_()
    y = functional.grid_sample(x, grid, align_corners=False)
    return lambda: torch.autograd.grad(y, (x, grid), dy, retain_graph=True)
