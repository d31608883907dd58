"""PyTorch on a CUDA device: cuDNN and cuBLAS.

cuDNN tries its algorithms and keeps the fastest. Where products are made in BF16 so are arrays and weights;
networks that are trained are run under autocast, their weights float32.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .. import device_peak
from ..case import Arrays
from ..peak import Peak
from . import pytorch
from .pytorch import format_of

__all__ = ["arrays", "context", "peak", "prepare", "set_precision", "start", "synchronize"]

DEVICE = "cuda"
_precision = "float32"
_autocast = False


def start(threads: int, variant: str) -> str:
    """Loads it; gives its version."""
    import torch

    version = pytorch.start(threads, variant)
    if DEVICE == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"this PyTorch, {version}, sees no CUDA device")
    torch.backends.cudnn.benchmark = True
    return version


def set_precision(precision: str) -> None:
    """Of float32 products, and of arrays in cases that are prepared from now on."""
    global _precision
    import torch

    _precision = precision
    torch.set_float32_matmul_precision("highest" if precision == "float32" else "high")
    torch.backends.cudnn.allow_tf32 = precision != "float32"


def synchronize() -> None:
    """Waits for the device."""
    import torch

    if DEVICE == "cuda":
        torch.cuda.synchronize()


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed, on tensors that are on the device."""
    global _autocast
    import torch

    make = getattr(operation, "by_torch", None)
    if make is None or (format_of(4) != torch.contiguous_format and all(x.ndim < 4 for x in a.values())):
        return None  # without images both formats are one
    is_low = _precision == "bf16"
    _autocast = is_low and getattr(operation, "IS_TRAINED", False)
    tensors = {}
    for name, x in a.items():
        tensor = torch.from_numpy(x).to(DEVICE)
        if is_low and not _autocast and tensor.is_floating_point():
            tensor = tensor.to(torch.bfloat16)
        tensors[name] = tensor.contiguous(memory_format=format_of(x.ndim))
    call: Callable[[], Any] = make(s, tensors)
    return call


def context(s: Any) -> contextlib.AbstractContextManager[Any]:
    """No autograd unless the case is a gradient."""
    import torch

    if _autocast:
        return torch.autocast(DEVICE, dtype=torch.bfloat16)
    return pytorch.context(s)


def arrays(result: Any, operation: ModuleType, s: Any) -> list[np.ndarray]:
    """The results as NumPy arrays."""
    import torch

    results = result if isinstance(result, (list, tuple)) else [result]
    found = [x.detach() for x in results]
    return [(x.float() if x.dtype == torch.bfloat16 else x).cpu().numpy() for x in found]


def peak() -> Peak:
    """Of copies and of cuBLAS."""
    import torch

    def copy(count: int) -> Callable[[], Any]:
        source = torch.ones(count, device=DEVICE)
        target = torch.empty_like(source)
        return lambda: target.copy_(source)

    def product(n: int) -> Callable[[], Any]:
        dtype = torch.bfloat16 if _precision == "bf16" else torch.float32
        a, b = (torch.randn(n, n, device=DEVICE, dtype=dtype) for _ in range(2))
        return lambda: torch.mm(a, b)

    return device_peak.measure(copy, product, None, set_precision, synchronize, DEVICE != "cuda")
