"""How exactly CUDA devices multiply float32 numbers, and in what type they keep what layers compute."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from medkern import _C

_PRECISIONS = {"highest": 0, "high": 1, "medium": 2}


class _State(threading.local):
    """What holds in this thread."""

    autocast: bool = False


_state = _State()
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
    if kind is None:
        yield
        return
    before = get_float32_matmul_precision()
    set_float32_matmul_precision(BY_TYPE[kind])
    try:
        yield
    finally:
        set_float32_matmul_precision(before)


def is_autocast() -> bool:
    """Whether layers on CUDA devices compute in bfloat16 in this thread."""
    return _state.autocast


@contextlib.contextmanager
def autocast(enabled: bool = True) -> Iterator[None]:
    """A context in which layers on CUDA devices compute in bfloat16, in this thread.

    Convolutions and linear layers take their images and weights in bfloat16 and give bfloat16, and so do the
    norms, activations, poolings and all else that follows, which halves the memory and its traffic. Weights
    stay float32: they are converted once each time they have changed. Sums, statistics of norms, softmax,
    reductions, losses and the gradients of weights are float32. The CPU computes as without it.

    Args:
        enabled: False for a part in float32 inside of another such context.

    Example:
        >>> with medkern.autocast():
        ...     loss = medkern.losses.cross_entropy(model(x), y)
        >>> loss.backward()
    """
    before = is_autocast()
    _state.autocast = enabled
    try:
        yield
    finally:
        _state.autocast = before


@contextlib.contextmanager
def mixed_precision(kind: str | None) -> Iterator[None]:
    """`matmul_precision`, and `autocast` for "bf16" but not for the other kinds; None changes nothing."""
    with matmul_precision(kind), autocast(is_autocast() if kind is None else kind == "bf16"):
        yield
