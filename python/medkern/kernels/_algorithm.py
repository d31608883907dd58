"""How convolutions form their sums."""

from __future__ import annotations

from medkern import _C

_ALGORITHMS = {"automatic": 0, "direct": 1}


def algorithm_number(op: str, algorithm: str | None) -> int:
    """The C API's number of an algorithm; None is "automatic", which stands for `get_algorithm()`."""
    if algorithm is None:
        return 0
    if algorithm not in _ALGORITHMS:
        raise ValueError(f"{op}: algorithm must be 'automatic' or 'direct', got {algorithm!r}")
    return _ALGORITHMS[algorithm]


def set_algorithm(algorithm: str) -> None:
    """Chooses how convolutions form their sums, in the whole process.

    Args:
        algorithm: "automatic" (the default: what is fastest, Winograd's algorithm included, whose rounding
            errors are a few times larger) or "direct" (product by product; exact for small integers).

    Raises:
        ValueError: there is no such algorithm.
    """
    _C.conv_set_algorithm(algorithm_number("set_algorithm", algorithm))


def get_algorithm() -> str:
    """What `set_algorithm` chose last."""
    return next(name for name, number in _ALGORITHMS.items() if number == _C.conv_get_algorithm())
