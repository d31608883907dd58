"""Matrix product (m, k) (k, n)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..case import Arrays, normal

TOLERANCE = 2e-5


@dataclass(frozen=True)
class Sizes:
    """Rows, columns and the length of the sums."""

    m: int
    n: int
    k: int
    gradients: bool = False


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """Both matrices."""
    return {"a": normal(rng, s.m, s.k), "b": normal(rng, s.k, s.n)}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The product."""
    return [a["a"].astype(np.float64) @ a["b"].astype(np.float64)]


def work(s: Sizes) -> tuple[float, float]:
    """2 m n k."""
    return 2 * s.m * s.n * s.k, 4 * (s.m * s.k + s.k * s.n + s.m * s.n)


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """`kernels.gemm`."""
    from medkern import kernels

    left, right = a["a"], a["b"]
    return lambda: kernels.gemm(left, right)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """`torch.mm`."""
    import torch

    left, right = a["a"], a["b"]
    return lambda: torch.mm(left, right)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """Both matrices are inputs."""
    return [graph.add("MatMul", [graph.input(a["a"]), graph.input(a["b"])])]


def by_numpy(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """OpenBLAS."""
    left, right = a["a"], a["b"]
    return lambda: left @ right
