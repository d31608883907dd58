"""How exactly CUDA devices multiply float32 numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from medkern import _C

_PRECISIONS = {"highest": 0, "high": 1, "medium": 2}
BY_TYPE = {"float32": "highest", "tf32": "high", "bf16": "medium"}


def set_float32_matmul_precision(precision: str) -> None:
    """Chooses how CUDA devices multiply float32 numbers, in the whole process.

    It concerns matrix products, convolutions and what recurrent layers multiply for all steps at once, with
    their gradients; sums are of float32 always. The CPU always computes as "highest".

    Args:
        precision: "highest" (the default: float32), "high" (numbers are rounded to tf32, 11 bits) or "medium"
            (to bf16, 8 bits).

    Raises:
        ValueError: there is no such precision.
    """
    if precision not in _PRECISIONS:
        raise ValueError(
            "set_float32_matmul_precision: precision must be 'highest', 'high' or 'medium', "
            f"got {precision!r}"
        )
    _C.set_matmul_precision(_PRECISIONS[precision])


def get_float32_matmul_precision() -> str:
    """What `set_float32_matmul_precision` chose last."""
    return next(name for name, number in _PRECISIONS.items() if number == _C.get_matmul_precision())


@contextlib.contextmanager
def matmul_precision(kind: str | None) -> Iterator[None]:
    """A context in which float32 numbers are multiplied as a key of `BY_TYPE` says; None changes nothing."""
    before = get_float32_matmul_precision()
    if kind is not None:
        set_float32_matmul_precision(BY_TYPE[kind])
    try:
        yield
    finally:
        set_float32_matmul_precision(before)
