"""NumPy, and with it the BLAS it was built with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..case import Arrays


def start(threads: int, variant: str) -> str:
    """The number of threads comes from the environment; gives the version."""
    return np.__version__


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed."""
    make = getattr(operation, "by_numpy", None)
    return None if make is None else make(s, a)


def context(s: Any) -> contextlib.AbstractContextManager[Any]:
    """Nothing to set."""
    return contextlib.nullcontext()


def arrays(result: Any, operation: ModuleType, s: Any) -> list[np.ndarray]:
    """The results."""
    return list(result) if isinstance(result, (list, tuple)) else [result]
