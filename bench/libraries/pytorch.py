"""PyTorch, with contiguous or with channels-last tensors and weights."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from ..case import Arrays

_channels_last = False


def start(threads: int, variant: str) -> str:
    """Loads it; gives its version."""
    global _channels_last
    import torch

    torch.set_num_threads(threads)
    _channels_last = variant == "channels_last"
    return torch.__version__


def format_of(rank: int) -> Any:
    """The memory format for an array of so many axes."""
    import torch

    formats = {4: torch.channels_last, 5: torch.channels_last_3d} if _channels_last else {}
    return formats.get(rank, torch.contiguous_format)


def prepare(operation: ModuleType, s: Any, a: Arrays) -> Callable[[], Any] | None:
    """The function that is timed."""
    import torch

    make = getattr(operation, "by_torch", None)
    if make is None or (_channels_last and all(x.ndim < 4 for x in a.values())):
        return None  # without images both formats are one
    tensors = {name: torch.from_numpy(x) for name, x in a.items()}
    return make(s, {name: t.contiguous(memory_format=format_of(t.ndim)) for name, t in tensors.items()})


def context(s: Any) -> contextlib.AbstractContextManager[Any]:
    """No autograd unless the case is a gradient."""
    import torch

    return contextlib.nullcontext() if s.gradients else torch.inference_mode()


def arrays(result: Any, operation: ModuleType, s: Any) -> list[np.ndarray]:
    """The results as NumPy arrays."""
    results = result if isinstance(result, (list, tuple)) else [result]
    return [x.detach().numpy() for x in results]
