"""medkern on a CUDA device.

Where products are made in BF16, arrays and weights are bfloat16 if the operation's kernels take them, else
float32. Networks have float32 inputs, weights and results, and bfloat16 between their layers, as
`medkern.autocast` says.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np

from .. import device_peak
from ..case import Arrays
from ..peak import Peak
from . import own

__all__ = ["arrays", "context", "peak", "prepare", "set_precision", "start", "synchronize"]

_PRECISIONS = {"float32": "highest", "tf32": "high", "bf16": "medium"}
_precision = "float32"
_autocast = False


def start(threads: int, variant: str) -> str:
    """Loads it; gives its version. Fails with the reason where there is no device."""
    import medkern

    medkern.cuda.device_count()
    return own.start(threads, variant)


def set_precision(precision: str) -> None:
    """Of float32 products, and of arrays in cases that are prepared from now on."""
    global _precision
    import medkern

    _precision = precision
    medkern.set_float32_matmul_precision(_PRECISIONS[precision])


def synchronize() -> None:
    """Waits for the device."""
    import medkern

    medkern.cuda.synchronize()


@contextlib.contextmanager
def context(s: Any) -> Iterator[None]:
    """New tensors are made on the device."""
    import medkern

    with medkern.device("cuda"), medkern.autocast(_autocast):
        yield


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed, on arrays that are on the device."""
    global _autocast
    from medkern import _C

    is_network = getattr(operation, "IS_NETWORK", False)
    _autocast = is_network and _precision == "bf16"
    with context(s):
        placed = {name: _C.Array(x, "cuda") for name, x in a.items()}
        if _precision == "bf16" and not is_network:
            try:
                low = {name: _low(x) for name, x in placed.items()}
                call: Callable[[], Any] = operation.by_medkern(s, low)
                call()
                return call
            except (TypeError, ValueError):  # there is no such kernel
                synchronize()
        call = operation.by_medkern(s, placed)
    return call


def _low(x: Any) -> Any:
    """A float32 array in bfloat16."""
    from medkern import _C

    return _C.copy(x, "bfloat16", False, None) if x.dtype == np.float32 else x


def arrays(result: Any, operation: ModuleType, s: Any) -> list[np.ndarray]:
    """The results as NumPy arrays."""
    from medkern import _C

    results = result if isinstance(result, (list, tuple)) else [result]
    found = [getattr(x, "array", x) for x in results]
    return [
        np.asarray(x if str(x.dtype) != "bfloat16" else _C.copy(x, "float32", False, None)) for x in found
    ]


def peak() -> Peak:
    """Of copies and products by medkern's kernels, and of multiply-adds in registers."""
    from medkern import _C, cuda, kernels

    small = cuda.get_device_properties()["emulated"]

    def array(*shape: int) -> Any:
        x = _C.empty(shape, "float32", False, "cuda")
        return _C.fill(x, 1.0)

    def copy(count: int) -> Callable[[], Any]:
        source, target = array(count), array(count)
        return lambda: kernels.copy(source, out=target)

    @functools.cache
    def matrices(n: int) -> list[Any]:
        rng = np.random.default_rng(0)
        return [_C.Array(rng.standard_normal((n, n), np.float32), "cuda") for _ in range(2)]

    def product(n: int) -> Callable[[], Any]:
        a, b = matrices(n)
        c = array(n, n)
        return lambda: kernels.gemm(a, b, out=c)

    def chain(count: int, rounds: int) -> Callable[[], Any]:
        x = array(count)
        return lambda: kernels.fma_chain(x, rounds)

    return device_peak.measure(copy, product, chain, set_precision, synchronize, small)
