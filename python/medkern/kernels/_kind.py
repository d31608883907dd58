"""Results in the kind of array that came in."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from medkern import _C


def like(x: Any, result: _C.Array) -> Any:
    """`result` as the kind of array `x` is: NumPy, medkern's own, or that of a DLPack library."""
    if isinstance(x, _C.Array):
        return result
    if isinstance(x, np.ndarray) or not hasattr(x, "__dlpack__"):
        return np.asarray(result)
    library = sys.modules[type(x).__module__.partition(".")[0]]
    return library.from_dlpack(result)
