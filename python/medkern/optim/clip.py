"""Gradient clipping. Gradients are replaced, never changed in place: two parameters may share one."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from medkern import _C, kernels
from medkern.tensor import Tensor


def clip_grad_norm_(parameters: Iterable[Tensor] | Tensor, max_norm: float, norm_type: float = 2.0) -> float:
    """Scales all gradients by one factor, so that their norm, taken together, is at most `max_norm`.

        norm = (sum |g|^norm_type)^(1 / norm_type) over all elements of all gradients
        g = g min(1, max_norm / (norm + 1e-6))

    Args:
        parameters: parameters; those without a gradient are passed over.
        max_norm: the largest norm allowed.
        norm_type: 1, 2, ...; `math.inf` for the largest element.

    Returns:
        The norm before clipping. Where it is not finite, the gradients become NaN or 0.

    Raises:
        ValueError: max_norm is negative or norm_type is not positive.
    """
    if not max_norm >= 0:
        raise ValueError(f"clip_grad_norm_: max_norm must not be negative, got {max_norm}")
    if not norm_type > 0:
        raise ValueError(f"clip_grad_norm_: norm_type must be positive, got {norm_type}")
    with_grad = _with_grad(parameters)
    norms = _norms([grad for _, grad in with_grad if grad.size > 0], norm_type)
    # The largest is taken out first, so that no power overflows.
    top = max(norms, default=0.0)
    if math.isinf(norm_type) or not 0 < top < math.inf:
        total = math.nan if any(math.isnan(norm) for norm in norms) else top
    else:
        total = top * math.fsum((norm / top) ** norm_type for norm in norms) ** (1 / norm_type)
    factor = max_norm / (total + 1e-6)
    if not factor >= 1:
        for p, grad in with_grad:
            p.grad = Tensor(kernels.mul(grad.array, factor))
    return total


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


def _norms(grads: list[Tensor], norm_type: float) -> list[float]:
    """The norm of each; values are read twice only, for all together, since a device has to be waited for."""
    sizes = [kernels.abs(grad.array) for grad in grads]
    tops = _read([kernels.max(size) for size in sizes])
    if math.isinf(norm_type):
        return tops
    sums = []
    for size, top in zip(sizes, tops, strict=True):
        scaled = kernels.div(size, top if 0 < top < math.inf else 1.0)
        powers = kernels.square(scaled) if norm_type == 2 else kernels.pow(scaled, norm_type)
        sums.append(kernels.sum(powers))
    return [
        top * total ** (1 / norm_type) if 0 < top < math.inf else top
        for top, total in zip(tops, _read(sums), strict=True)
    ]


def _read(scalars: list[_C.Array]) -> list[float]:
    """The values of arrays with one element, in one copy for those of a type and device."""
    values = [0.0] * len(scalars)
    alike: dict[tuple[str, np.dtype], list[int]] = {}
    for i, x in enumerate(scalars):
        alike.setdefault((x.device, x.dtype), []).append(i)
    for places in alike.values():
        joined = _C.concat([scalars[i].with_layout((1,), (1,)) for i in places], 0, None)
        for i, value in zip(places, joined.numpy().tolist(), strict=True):
            values[i] = value
    return values
