"""Gradient clipping. Gradients are replaced, never changed in place: two parameters may share one."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from medkern import _C, kernels
from medkern.tensor import Tensor

Scalars = dict[tuple[str, np.dtype], _C.Array]  # by device and type


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0) -> Tensor:
    """Scales all gradients by one factor, so that their norm, taken together, is at most `max_norm`.

        norm = (sum |g|^norm_type)^(1 / norm_type) over all elements of all gradients
        g = g min(1, max_norm / (norm + 1e-6))

    Nothing waits for a CUDA device: the norm and the factor stay there.

    Args:
        parameters: parameters; those without a gradient are passed over.
        max_norm: the largest norm allowed.
        norm_type: 1, 2, ...; `math.inf` for the largest element.

    Returns:
        The norm before clipping, one float64 element on the device of the first gradient. Where it is not
        finite, the gradients become NaN or 0.

    Raises:
        ValueError: max_norm is negative or norm_type is not positive.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm must not be negative, got {max_norm}")
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type must be positive, got {norm_type}")
    with_grad = _with_grad(parameters)
    total = _norm([grad.array for _, grad in with_grad if grad.size > 0], norm_type)
    factor = kernels.div(float(max_norm), kernels.add(total, 1e-6))
    if total.device == "cpu" and factor.numpy().item() >= 1:
        return Tensor(total)  # what is known at no cost saves a pass
    factor = kernels.minimum(factor, 1.0)
    factors: Scalars = {}
    for p, grad in with_grad:
        p.grad = Tensor(kernels.mul(grad.array, _beside(factor, grad.array, factors)))
    return Tensor(total)


def clip_grad_value_(parameters: Iterable[Tensor] | Tensor, clip_value: float) -> None:
    """Limits every element of every gradient to [-clip_value, clip_value].

    Args:
        parameters: parameters; those without a gradient are passed over.
        clip_value: the limit.

    Raises:
        ValueError: clip_value is negative.
    """
    if not clip_value >= 0:
        raise ValueError(f"clip_grad_value_: clip_value must not be negative, got {clip_value}")
    for p, grad in _with_grad(parameters):
        p.grad = Tensor(kernels.clamp(grad.array, -clip_value, clip_value))


def _with_grad(parameters: Iterable[Tensor] | Tensor) -> list[tuple[Tensor, Tensor]]:
    given = [parameters] if isinstance(parameters, Tensor) else parameters
    return [(p, p.grad) for p in given if p.grad is not None]


def _norm(grads: list[_C.Array], norm_type: float) -> _C.Array:
    """The norm of all together, where the first of them is."""
    if not grads:
        return kernels.full((), 0.0, "float64", device="cpu")
    sizes = [kernels.abs(grad) for grad in grads]
    top = kernels.max(_joined([kernels.max(size) for size in sizes]))
    if math.isinf(norm_type):
        return top
    # The largest is taken out first, so that no power overflows; unless it is 0, infinite or NaN.
    unit = kernels.where(kernels.compare("lt", top, math.inf), top, 1.0)
    unit = kernels.where(kernels.compare("gt", unit, 0.0), unit, 1.0)
    units: Scalars = {}
    sums = []
    for size in sizes:
        scaled = kernels.div(size, _beside(unit, size, units))
        sums.append(kernels.sum(kernels.square(scaled) if norm_type == 2 else kernels.pow(scaled, norm_type)))
    total = kernels.mul(unit, kernels.pow(kernels.sum(_joined(sums)), 1 / norm_type))
    return kernels.where(kernels.compare("eq", unit, top), total, top)


def _beside(scalar: _C.Array, x: _C.Array, known: Scalars) -> _C.Array:
    """One element in the type and on the device of x; `known` holds those that were made."""
    key = x.device, x.dtype
    if key not in known:
        known[key] = kernels.copy(_C.Array(scalar, x.device), dtype=x.dtype)
    return known[key]


def _joined(scalars: list[_C.Array]) -> _C.Array:
    """Arrays with one element as one array of float64, on the device of the first."""
    alike: dict[tuple[str, np.dtype], list[_C.Array]] = {}
    for x in scalars:
        alike.setdefault((x.device, x.dtype), []).append(x.with_layout((1,), (1,)))
    parts = [_C.Array(_C.concat(part, 0, None), scalars[0].device) for part in alike.values()]
    return kernels.concat([kernels.copy(part, dtype="float64") for part in parts])
