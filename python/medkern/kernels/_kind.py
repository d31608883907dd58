"""Results in the kind of array that came in."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from medkern import _C

_HOST = (1, 3)  # DLPack's numbers of memory on the CPU, plain and pinned

# Libraries whose arrays are of a class that another package than the public one defines.
_PUBLIC = {"jaxlib": "jax.numpy"}


def like(x: Any, result: _C.Array) -> Any:
    """`result` as the kind of array `x` is: NumPy, medkern's own, or that of a DLPack library.

    What was on the CPU comes back there, whichever device computed it. A library with no `from_dlpack` gets
    NumPy arrays. NumPy has no bfloat16: such results are medkern's own.
    """
    if isinstance(x, np.ndarray):
        return result if result.dtype == _C.bfloat16 else result.numpy()
    if isinstance(x, _C.Array):
        return result
    if not hasattr(x, "__dlpack__"):
        return result.numpy()
    package = type(x).__module__.partition(".")[0]
    library = sys.modules.get(_PUBLIC.get(package, package))
    from_dlpack = getattr(library, "from_dlpack", None)
    if from_dlpack is None:
        return result.numpy()
    return from_dlpack(result.to("cpu") if x.__dlpack_device__()[0] in _HOST else result)


def like_optional(x: Any, result: _C.Array | None) -> Any:
    """The same for a result that may not be there."""
    return None if result is None else like(x, result)
