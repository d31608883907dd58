"""Where arrays lie: "cpu", or "cuda:0", "cuda:1", ...; "cuda" is the default one or the first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from medkern import _C


@contextlib.contextmanager
def device(name: Any) -> Iterator[None]:
    """A context, or a decorator, in which new tensors are made on a device unless they name another.

    NumPy arrays and numbers that enter an operation there are copied to the device; kernels that are called
    on NumPy arrays run there and give NumPy arrays back. Holds for the calling thread.

    Args:
        name: "cpu", "cuda", "cuda:1", ...

    Raises:
        DeviceError: there is no such device; the message says why.
        ValueError: there can't be a device of that name.

    Example:
        >>> with medkern.device("cpu"):
        ...     x = medkern.zeros((2, 3))
        >>> x.device
        'cpu'
    """
    before = _C.set_default_device(name)
    try:
        yield
    finally:
        _C.set_default_device(before)


def get_default_device() -> str:
    """The device that new tensors are made on in this thread: "cpu" unless told otherwise."""
    return _C.default_device()


def set_default_device(name: Any) -> None:
    """Makes a device the default of this thread from now on; see `device`, and there for the errors."""
    _C.set_default_device(name)


def is_device(value: Any) -> bool:
    """Whether `value` names a device rather than an element type."""
    return (isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda")) or type(
        value
    ).__name__ == "device"
