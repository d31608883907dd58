"""The machine's best: a chain of multiply-adds that benchmarks are measured against."""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def fma_chain(x: Any, rounds: int, *, out: Any = None) -> Any:
    """X after `rounds` times x <- x / 2 + 1, in registers: 2 * rounds * x.size operations.

    Args:
        x: float32 or float64, any shape.
        rounds: from 0 to 2^31 - 1.
        out: array for the result; may be `x`.

    Returns:
        An array like x.

    Raises:
        ValueError: `rounds` is out of range or `out` doesn't fit.
        TypeError: x is not float32 or float64.

    Example:
        >>> medkern.kernels.fma_chain(np.zeros(1, np.float32), 2)
        array([1.5], dtype=float32)
    """
    return like(x, _C.fma_chain(x, rounds, out))
