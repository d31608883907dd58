"""The native module. `Any` stands for NumPy arrays, DLPack objects and `Array`; it checks every argument."""

from collections.abc import Sequence
from typing import Any

import numpy as np

class DeviceError(RuntimeError): ...

class Array:
    def __init__(self, object: Any) -> None: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def ndim(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def is_contiguous(self) -> bool: ...
    @property
    def is_channels_last(self) -> bool: ...
    def contiguous(self) -> Array: ...
    def with_layout(self, shape: Sequence[int], strides: Sequence[int]) -> Array: ...
    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

# Arrays, threads, memory, instruction sets.

def empty(shape: Sequence[int], dtype: Any, channels_last: bool = False) -> Array: ...
def get_num_threads() -> int: ...
def isa_active() -> str: ...
def isa_names(supported_only: bool = True) -> list[str]: ...
def isa_select(name: str) -> None: ...
def memory_reset_peak() -> None: ...
def memory_stats() -> dict[str, int]: ...
def memory_trim() -> None: ...
def set_num_threads(count: int) -> None: ...
def version() -> str: ...

# Embedding.

def embedding(indices: Any, weight: Any, padding_idx: int | None, out: Any) -> Array: ...
def embedding_backward(
    dy: Any, indices: Any, weight_shape: Sequence[int], padding_idx: int | None, out: Any
) -> Array: ...

# The yardstick of benchmarks.

def fma_chain(x: Any, rounds: int, out: Any) -> Array: ...

# Pooling.

def max_pool(
    x: Any,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    index_dtype: Any,
    out: Any,
) -> Any: ...
def max_pool_backward(
    dy: Any,
    indices: Any,
    input_shape: Sequence[int],
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    ceil_mode: bool,
    out: Any,
) -> Array: ...

# Recurrent layers.

def recurrent_backward(
    cell: str,
    single_step: bool,
    dy: Any,
    dh_n: Any,
    dc_n: Any,
    x: Any,
    weights: Sequence[Any],
    h0: Any,
    c0: Any,
    lengths: Any,
    y: Any,
    saved: Any,
    input_gradient: bool,
    weight_gradients: bool,
) -> tuple[Any, ...]: ...
def recurrent_forward(
    cell: str,
    single_step: bool,
    x: Any,
    weights: Sequence[Any],
    h0: Any,
    c0: Any,
    lengths: Any,
    save: bool,
    out: Any,
) -> tuple[Any, ...]: ...
