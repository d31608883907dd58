"""medkern itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..case import Arrays
from ..peak import Peak, measure


def start(threads: int, variant: str) -> str:
    """Loads it; gives its version."""
    import medkern

    medkern.set_num_threads(threads)
    return medkern.__version__


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed."""
    return operation.by_medkern(s, a)


def peak() -> Peak:
    """Of the processors."""
    return measure()


def context(s: Any) -> contextlib.AbstractContextManager[Any]:
    """Nothing to set."""
    return contextlib.nullcontext()


def arrays(result: Any, operation: ModuleType, s: Any) -> list[np.ndarray]:
    """The results as NumPy arrays."""
    results = result if isinstance(result, (list, tuple)) else [result]
    return [np.asarray(x) for x in results]
