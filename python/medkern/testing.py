"""Checks for tests: gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medkern.autograd import grad
from medkern.tensor import Tensor, tensor


def gradcheck(
    function: Callable[..., Any],
    inputs: Sequence[Any],
    *,
    step: float = 1e-6,
    tolerance: float = 1e-5,
    create_graph: bool = False,
) -> None:
    """Compares the gradients of `function` with central finite differences, in float64.

    Every result is weighted with fixed random numbers and summed; then for each element of each input

        (f(x + step) - f(x - step)) / (2 step)   must equal   df/dx

    to within tolerance * (1 + |df/dx|).

    Args:
        function: takes tensors, gives a tensor or a tuple of tensors.
        inputs: float64 arrays, one per argument; others are passed on unchanged.
        step: distance of the differences.
        tolerance: the largest error allowed.
        create_graph: also check the gradients' own gradients.

    Raises:
        AssertionError: a gradient is missing or wrong; the message names the input and the element.
    """
    values = [np.array(x) if _is_float64(x) else x for x in inputs]
    weights: list[np.ndarray] = []

    def tensors(requires_grad: bool) -> list[Any]:
        return [tensor(x, requires_grad=requires_grad) if _is_float64(x) else x for x in values]

    def results(arguments: list[Any]) -> list[Tensor]:
        out = function(*arguments)
        return [y for y in (out if isinstance(out, tuple) else (out,)) if y.dtype.kind == "f"]

    def weighted_sum() -> float:
        return sum(
            float(np.sum(w * y.numpy())) for w, y in zip(weights, results(tensors(False)), strict=True)
        )

    arguments = tensors(True)
    outputs = results(arguments)
    generator = np.random.default_rng(0)
    weights.extend(generator.uniform(0.5, 1.5, y.shape) for y in outputs)
    leaves = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    grads = grad(outputs, leaves, [tensor(w) for w in weights])
    for number, (leaf, analytic) in enumerate(zip(leaves, grads, strict=True)):
        assert analytic is not None, f"input {number} got no gradient"
        assert analytic.shape == leaf.shape, (
            f"input {number} has shape {leaf.shape}, its gradient {analytic.shape}"
        )
        position = next(i for i, x in enumerate(arguments) if x is leaf)
        array = values[position]
        for index in np.ndindex(array.shape):
            original = array[index]
            array[index] = original + step
            above = weighted_sum()
            array[index] = original - step
            below = weighted_sum()
            array[index] = original
            numeric = (above - below) / (2 * step)
            found = analytic.numpy()[index]
            assert abs(found - numeric) <= tolerance * (1 + abs(numeric)), (
                f"input {number} at {index}: gradient {found}, finite difference {numeric}"
            )
    if create_graph:

        def first_gradients(*again: Any) -> tuple[Tensor, ...]:
            ys = results(list(again))
            wanted = [x for x in again if isinstance(x, Tensor) and x.requires_grad]
            return tuple(
                g for g in grad(ys, wanted, [tensor(w) for w in weights], create_graph=True) if g is not None
            )

        gradcheck(_with_grad(first_gradients), values, step=step, tolerance=10 * tolerance)


def _with_grad(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` on tensors that require a gradient, whatever came in."""

    def call(*arguments: Any) -> Any:
        return function(
            *(
                tensor(x.numpy(), requires_grad=True) if isinstance(x, Tensor) and not x.requires_grad else x
                for x in arguments
            )
        )

    return call


def _is_float64(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype == np.float64
