"""Checks for tests: gradients by finite differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    weights = _compare(function, values, step, tolerance, may_be_constant=False)
    if create_graph:

        def first_gradients(*arguments: Any) -> tuple[Tensor, ...]:
            outputs = _float_results(function, arguments)
            wanted = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
            found = grad(outputs, wanted, [tensor(w) for w in weights], create_graph=True)
            return tuple(g for g in found if g is not None)

        # The gradient of a linear function does not depend on its input at all.
        _compare(_with_grad(first_gradients), values, step, 10 * tolerance, may_be_constant=True)


def _compare(
    function: Callable[..., Any],
    values: list[Any],
    step: float,
    tolerance: float,
    may_be_constant: bool,
) -> list[np.ndarray]:
    """Compares gradients with differences; gives the weights of the results."""

    def tensors(requires_grad: bool) -> list[Any]:
        return [tensor(x, requires_grad=requires_grad) if _is_float64(x) else x for x in values]

    def weighted_sum() -> float:
        outputs = _float_results(function, tensors(False))
        return sum(float(np.sum(w * y.numpy())) for w, y in zip(weights, outputs, strict=True))

    arguments = tensors(True)
    outputs = _float_results(function, arguments)
    generator = np.random.default_rng(0)
    weights = [generator.uniform(0.5, 1.5, y.shape) for y in outputs]
    leaves = [x for x in arguments if isinstance(x, Tensor) and x.requires_grad]
    differentiable = [
        (y, tensor(w))
        for y, w in zip(outputs, weights, strict=True)
        if y.requires_grad or not may_be_constant
    ]
    grads = grad([y for y, _ in differentiable], leaves, [w for _, w in differentiable])
    for number, (leaf, analytic) in enumerate(zip(leaves, grads, strict=True)):
        assert analytic is not None or may_be_constant, f"input {number} got no gradient"
        gradient = np.zeros(leaf.shape) if analytic is None else analytic.numpy()
        assert gradient.shape == leaf.shape, (
            f"input {number} has shape {leaf.shape}, its gradient {gradient.shape}"
        )
        position = next(i for i, x in enumerate(arguments) if x is leaf)
        array = values[position]
        for index in _places(array.shape):
            original = array[index]
            array[index] = original + step
            above = weighted_sum()
            array[index] = original - step
            below = weighted_sum()
            array[index] = original
            numeric = (above - below) / (2 * step)
            assert abs(gradient[index] - numeric) <= tolerance * (1 + abs(numeric)), (
                f"input {number} at {index}: gradient {gradient[index]}, finite difference {numeric}"
            )
    return weights


def _places(shape: tuple[int, ...]) -> Iterable[tuple[int, ...]]:
    """The elements whose differences are taken."""
    return np.ndindex(shape)


def _float_results(function: Callable[..., Any], arguments: Sequence[Any]) -> list[Tensor]:
    results = function(*arguments)
    return [y for y in (results if isinstance(results, tuple) else (results,)) if y.dtype.kind == "f"]


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
