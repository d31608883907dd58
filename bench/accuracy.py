"""The error of each kernel, published: in units of the last place of what it sums.

For sums of products it is max |y - ref| / (u sum|x||w|), u = 2^-24: 1 is what one rounding may cost, n the
bound of a sum of n terms in any order. For the others it is max |y - ref| / (u max|ref|). ref is float64.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import medkern

from .case import Arrays, draw, operation_of

_U = 2.0**-24
_SUMS = {"conv", "conv_gradients", "gemm", "linear"}

_2D = {"x": (1, 256, 32, 32), "filters": 256}
_3D = {"x": (1, 64, 12, 16, 16), "filters": 64}
_5X5 = {"x": (1, 64, 48, 48), "filters": 64, "kernel": 5, "padding": 2}
_7X7 = {"x": (1, 64, 48, 48), "filters": 64, "kernel": 7, "padding": 3}

# Name, operation, sizes.
CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("conv2d 3x3", "conv", _2D),
    ("conv2d 3x3 gradients", "conv_gradients", {**_2D, "gradients": True}),
    ("conv2d 3x3 dilation 2", "conv", {"x": (1, 128, 48, 48), "filters": 128, "dilation": 2, "padding": 2}),
    ("conv2d 5x5", "conv", _5X5),
    ("conv2d 5x5 gradients", "conv_gradients", {**_5X5, "gradients": True}),
    ("conv2d 7x7", "conv", _7X7),
    ("conv2d 7x7 gradients", "conv_gradients", {**_7X7, "gradients": True}),
    ("conv2d 4x4 stride 2", "conv", {"x": (4, 128, 32, 32), "filters": 128, "kernel": 4, "stride": 2}),
    ("conv3d 3x3x3", "conv", _3D),
    ("conv3d 3x3x3 gradients", "conv_gradients", {**_3D, "gradients": True}),
    ("conv2d 3x3, 1 channel in", "conv", {"x": (1, 1, 96, 96), "filters": 64}),
    ("conv2d 1x1", "conv", {"x": (1, 256, 32, 32), "filters": 256, "kernel": 1, "padding": 0}),
    ("conv2d 3x3 stride 2", "conv", {"x": (1, 128, 48, 48), "filters": 128, "stride": 2}),
    ("conv2d 3x3 depthwise", "conv", {"x": (1, 128, 48, 48), "filters": 128, "groups": 128}),
    (
        "conv_transpose2d 2x2 stride 2",
        "conv",
        {"x": (1, 128, 32, 32), "filters": 64, "kernel": 2, "stride": 2, "padding": 0, "transposed": True},
    ),
    (
        "conv_transpose2d 4x4 stride 2",
        "conv",
        {"x": (4, 128, 8, 8), "filters": 64, "kernel": 4, "stride": 2, "transposed": True},
    ),
    ("gemm", "gemm", {"m": 512, "n": 512, "k": 1024}),
    ("linear", "linear", {"batch": 32, "inputs": 4096, "outputs": 256}),
    ("lstm", "recurrent", {"cell": "lstm", "batch": 8, "steps": 64, "inputs": 128, "hidden": 128}),
    ("gru", "recurrent", {"cell": "gru", "batch": 8, "steps": 64, "inputs": 128, "hidden": 128}),
    (
        "lstm gradients",
        "recurrent",
        {"cell": "lstm", "batch": 8, "steps": 64, "inputs": 128, "hidden": 128, "gradients": True},
    ),
    ("batch norm + relu", "norm", {"x": (2, 64, 64, 64), "kind": "batch"}),
    ("batch norm + relu gradients", "norm", {"x": (2, 64, 64, 64), "kind": "batch", "gradients": True}),
    ("instance norm + relu", "norm", {"x": (2, 64, 64, 64), "kind": "instance"}),
    ("softmax", "softmax", {"x": (2, 64, 64, 64)}),
    ("sigmoid", "pointwise", {"x": (2, 64, 64, 64), "kind": "sigmoid"}),
    ("tanh", "pointwise", {"x": (2, 64, 64, 64), "kind": "tanh"}),
    ("bilinear resize", "resize", {"x": (1, 32, 64, 64)}),
]

_RESULTS = {"conv_gradients": ("input", "weight"), "recurrent": ("y", "input", *["weights"] * 8)}


@dataclass(frozen=True)
class Error:
    """An error of one result of one kernel.

    Attributes:
        name: of the kernel.
        result: which result, where there are several.
        algorithm: "automatic" or "direct".
        error: in units of the last place, as above.
        measure: what it is relative to.
    """

    name: str
    result: str
    algorithm: str
    error: float
    measure: str


def measure() -> Iterator[Error]:
    """All of them, with the algorithm that is chosen on its own, and for convolutions with the direct one."""
    for name, kind, sizes in CASES:
        operation = operation_of(kind)
        s = operation.Sizes(**sizes)
        arrays = draw(name, operation, s)
        expected = operation.expected(s, arrays)
        scales = _scales(kind, operation, s, arrays, expected)
        for algorithm in ("automatic", "direct") if kind.startswith("conv") else ("automatic",):
            found = _computed(operation, s, arrays, algorithm)
            worst: dict[str, float] = {}
            names = _RESULTS.get(kind, ("y",))
            for result, y, reference, scale in zip(names, found, expected, scales, strict=False):
                error = float(np.max(np.abs(y - reference) / scale))
                worst[result] = max(worst.get(result, 0.0), error)
            what = "sum|x||w|" if kind in _SUMS else "max|ref|"
            for result, error in worst.items():
                yield Error(name, result, algorithm, error, what)


def _scales(kind: str, operation: Any, s: Any, arrays: Arrays, expected: list[np.ndarray]) -> list[Any]:
    """What one unit is, for each element of each result."""
    if kind not in _SUMS:
        return [_U * np.max(np.abs(y)) for y in expected]
    sums = operation.expected(s, {name: np.abs(value) for name, value in arrays.items()})
    return [_U * np.maximum(y, np.finfo(np.float64).tiny) for y in sums]


def _computed(operation: Any, s: Any, arrays: Arrays, algorithm: str) -> list[np.ndarray]:
    medkern.set_algorithm(algorithm)
    try:
        results = operation.by_medkern(s, arrays)()
    finally:
        medkern.set_algorithm("automatic")
    return [np.asarray(y) for y in (results if isinstance(results, (list, tuple)) else [results])]


def lines(errors: list[Error]) -> Iterator[str]:
    """Lines for a terminal."""
    yield f"{'kernel':<32} {'result':<8} {'algorithm':<10} {'error':>8}  in units of 2^-24 times"
    for e in errors:
        yield f"{e.name:<32} {e.result:<8} {e.algorithm:<10} {e.error:8.2f}  {e.measure}"


def markdown(errors: list[Error]) -> list[str]:
    """Lines of the page of results."""
    rows = [f"| {e.name} | {e.result} | {e.algorithm} | {e.error:.2f} | {e.measure} |" for e in errors]
    return [
        "## Accuracy",
        "",
        "The largest error against float64, in units of 2^-24 times sum\\|x\\|\\|w\\| (for each element)",
        "or the largest value.",
        "",
        "| kernel | result | algorithm | error | of |",
        "|---|---|---|---|---|",
        *[row.replace("sum|x||w|", "sum\\|x\\|\\|w\\|").replace("max|ref|", "max\\|ref\\|") for row in rows],
        "",
    ]
