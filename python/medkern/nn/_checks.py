"""Checks of constructor arguments that decide the shapes of parameters.

What only concerns the operation itself (stride, padding, ...) is checked by its kernel.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

from medkern.tensor import Tensor


def expect_positive(layer: object, **sizes: Any) -> None:
    """Raises unless each named size is a positive int."""
    for name, value in sizes.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool):
            raise TypeError(f"{type(layer).__name__}: {name} must be an int, got {value!r}")
        if value < 1:
            raise ValueError(f"{type(layer).__name__}: {name} must be positive, got {value}")


def expect_divisible(layer: object, name: str, value: int, by: str, divisor: int) -> None:
    """Raises unless `divisor`, which is called `by`, divides `value`."""
    if value % divisor:
        raise ValueError(
            f"{type(layer).__name__}: {name} must be divisible by {by}, got {name} {value} and {by} {divisor}"
        )


def expect_probability(layer: object, name: str, value: float) -> None:
    """Raises unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ValueError(f"{type(layer).__name__}: {name} must lie in [0, 1], got {value}")


def expect_rank(layer: object, x: Tensor, *ranks: int) -> None:
    """Raises unless x has one of these numbers of dimensions."""
    if x.ndim not in ranks:
        raise ValueError(
            f"{type(layer).__name__}: x must have {' or '.join(map(str, ranks))} dimensions, "
            f"got {x.ndim}: {x.shape}"
        )


def sizes_of(layer: object, name: str, value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    """An int for every axis, or one per axis, as a tuple of positive ints."""
    sizes = tuple(value) if isinstance(value, Sequence) else (value,) * rank
    if len(sizes) != rank:
        raise ValueError(f"{type(layer).__name__}: {name} must be an int or {rank} ints, got {value}")
    for size in sizes:
        expect_positive(layer, **{name: size})
    return sizes
