"""How exactly CUDA devices multiply float32 numbers."""

from __future__ import annotations

from medkern import _C

_PRECISIONS = {"highest": 0, "high": 1, "medium": 2}


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
