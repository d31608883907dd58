"""A fully connected layer with bias, forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..case import Arrays, normal

TOLERANCE = 2e-5


@dataclass(frozen=True)
class Sizes:
    """Rows, features in and features out; whether medkern prepares the weight once."""

    batch: int
    inputs: int
    outputs: int
    prepared: bool = True
    gradients: bool = False


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """x, weight (outputs, inputs) and bias."""
    return {
        "x": normal(rng, s.batch, s.inputs),
        "weight": normal(rng, s.outputs, s.inputs, scale=s.inputs**-0.5),
        "bias": normal(rng, s.outputs),
    }


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The result."""
    return [a["x"].astype(np.float64) @ a["weight"].T.astype(np.float64) + a["bias"]]


def work(s: Sizes) -> tuple[float, float]:
    """Two operations for each weight and row."""
    size = s.batch * s.inputs + s.inputs * s.outputs + s.batch * s.outputs
    return 2 * s.batch * s.inputs * s.outputs, 4 * size


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """A plan, or the plain function."""
    from medkern import kernels

    x, weight, bias = a["x"], a["weight"], a["bias"]
    if s.prepared:
        plan = kernels.linear_plan(weight, bias)
        return lambda: plan(x)
    return lambda: kernels.linear(x, weight, bias)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The function of `torch.nn.functional`."""
    from torch.nn import functional

    x, weight, bias = a["x"], a["weight"], a["bias"]
    return lambda: functional.linear(x, weight, bias)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """One node, its weights constant."""
    inputs = [graph.input(a["x"]), graph.constant(a["weight"]), graph.constant(a["bias"])]
    return [graph.add("Gemm", inputs, transB=1)]


def by_numpy(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """OpenBLAS, and the bias after it."""
    x, weight, bias = a["x"], a["weight"].T, a["bias"]
    return lambda: x @ weight + bias
