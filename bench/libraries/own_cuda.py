"""medkern on a CUDA device."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from .. import device_peak
from ..case import Arrays
from ..peak import Peak
from . import own
from .own import arrays

__all__ = ["arrays", "context", "peak", "prepare", "set_precision", "start", "synchronize"]

_PRECISIONS = {"float32": "highest", "tf32": "high", "bf16": "medium"}


def start(threads: int, variant: str) -> str:
    """Loads it; gives its version. Fails with the reason where there is no device."""
    import medkern

    medkern.cuda.device_count()
    return own.start(threads, variant)


def set_precision(precision: str) -> None:
    """Of float32 products."""
    import medkern

    medkern.set_float32_matmul_precision(_PRECISIONS[precision])


def synchronize() -> None:
    """Waits for the device."""
    import medkern

    medkern.cuda.synchronize()


def context(s: Any) -> contextlib.AbstractContextManager[Any]:
    """New tensors are made on the device."""
    import medkern

    return medkern.device("cuda")


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed, on arrays that are on the device."""
    from medkern import _C

    with context(s):
        call: Callable[[], Any] = operation.by_medkern(s, {n: _C.Array(x, "cuda") for n, x in a.items()})
    return call


def peak() -> Peak:
    """Of copies and products by medkern's kernels, and of multiply-adds in registers."""
    import numpy as np

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
