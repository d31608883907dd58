"""The native module. `Any` stands for NumPy arrays, DLPack objects and `Array`; it checks every argument."""

from collections.abc import Sequence
from typing import Any

import numpy as np

class DeviceError(RuntimeError): ...

class Bfloat16:
    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def itemsize(self) -> int: ...

bfloat16: Bfloat16

def dtype(name: Any) -> np.dtype[Any]: ...  # or `bfloat16`, which has of it what is asked for

class Array:
    def __init__(self, object: Any, device: Any = None) -> None: ...
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
    def device(self) -> str: ...
    @property
    def is_contiguous(self) -> bool: ...
    @property
    def is_channels_last(self) -> bool: ...
    @property
    def keeps_channels_last(self) -> bool: ...
    @property
    def is_outline(self) -> bool: ...
    def contiguous(self) -> Array: ...
    def to(self, device: Any) -> Array: ...
    def numpy(self) -> np.ndarray: ...
    def placed(self, outline: Array, offset: int) -> Array: ...
    def with_layout(self, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Array: ...
    def __dlpack__(
        self, *, stream: Any = None, max_version: Any = None, dl_device: Any = None, copy: Any = None
    ) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray: ...
    @property
    def __cuda_array_interface__(self) -> dict[str, Any]: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...

class Program:
    def __init__(self, device: Any = None) -> None: ...
    def record(self, function: Any, *args: Any) -> None: ...
    def add(self, function: Any, *args: Any) -> None: ...
    def slot(self, outline: Array, result: bool = False) -> Array: ...
    @property
    def is_graph(self) -> bool: ...
    def run(self, arrays: Sequence[Array]) -> None: ...
    def run_plain(self, inputs: list[Any]) -> list[Array] | None: ...

# Arrays, threads, memory, instruction sets.

def empty(shape: Sequence[int], dtype: Any, channels_last: bool = False, device: Any = None) -> Array: ...
def get_num_threads() -> int: ...
def isa_active() -> str: ...
def isa_names(supported_only: bool = True) -> list[str]: ...
def isa_select(name: str) -> None: ...
def memory_reset_peak() -> None: ...
def memory_stats() -> dict[str, int]: ...
def memory_trim() -> None: ...
def outlining(enabled: bool) -> bool: ...
def set_num_threads(count: int) -> None: ...
def version() -> str: ...

# Devices, their streams and events (numbers that stand for pointers).

def cuda_device_count() -> int: ...
def cuda_search_packages(folder: str) -> None: ...
def default_device() -> str: ...
def device_memory_reset_peak(device: Any) -> None: ...
def device_memory_stats(device: Any) -> dict[str, int]: ...
def device_memory_trim(device: Any) -> None: ...
def device_name(device: Any) -> str: ...
def device_properties(device: Any) -> dict[str, Any]: ...
def device_synchronize(device: Any) -> None: ...
def event_create(device: Any) -> int: ...
def event_destroy(device: Any, event: int) -> None: ...
def event_milliseconds(device: Any, begin: int, end: int) -> float: ...
def event_record(device: Any, event: int) -> None: ...
def set_default_device(device: Any) -> str: ...
def stream_create(device: Any) -> int: ...
def stream_get(device: Any) -> int: ...
def stream_set(device: Any, stream: int) -> None: ...
def stream_synchronize(device: Any, stream: int) -> None: ...
def stream_wait(device: Any, stream: int, other: int) -> None: ...

# Convolution.

def conv(
    x: Any,
    weight: Any,
    bias: Any,
    rank: int,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    activation: int,
    channels_last: bool,
    out: Any,
    algorithm: int = 0,
) -> Array: ...
def conv_backward_input(
    dy: Any,
    weight: Any,
    input_shape: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    channels_last: bool,
    out: Any,
    algorithm: int = 0,
) -> Array: ...
def conv_backward_weight(
    dy: Any,
    x: Any,
    weight_shape: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    out: Any,
    algorithm: int = 0,
) -> Array: ...
def conv_with_moments(
    x: Any,
    weight: Any,
    bias: Any,
    rank: int,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    activation: int,
    per_sample: bool,
) -> tuple[Array, Array | None]: ...
def conv_transpose(
    x: Any,
    weight: Any,
    bias: Any,
    rank: int,
    stride: Any,
    padding: Any,
    output_padding: Any,
    groups: int,
    dilation: Any,
    activation: int,
    channels_last: bool,
    out: Any,
    algorithm: int = 0,
) -> Array: ...

class ConvPlan:
    def __init__(
        self,
        weight: Any,
        bias: Any,
        rank: int,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        transposed: bool,
        output_padding: Any,
        activation: int,
        algorithm: int,
    ) -> None: ...
    def padded(self, padding: Any) -> ConvPlan: ...
    def run(self, x: Any, channels_last: bool, out: Any) -> Array: ...
    @property
    def nbytes(self) -> int: ...

def conv_get_algorithm() -> int: ...
def conv_padding(
    weight_shape: Sequence[int], stride: Any, padding: Any, dilation: Any
) -> list[tuple[int, int]]: ...
def conv_set_algorithm(algorithm: int) -> None: ...

# Copies.

def concat(tensors: Sequence, dim: int, out: Any) -> Array: ...
def copy(x: Any, dtype: Any, channels_last: bool, out: Any) -> Array: ...
def fill(out: Any, value: float) -> Array: ...
def pad(x: Any, padding: Sequence[int], mode: str, value: float, out: Any) -> Array: ...
def pad_backward(
    dy: Any, input_shape: Sequence[int], padding: Sequence[int], mode: str, out: Any
) -> Array: ...

# Embedding.

def embedding(indices: Any, weight: Any, padding_idx: int | None, out: Any) -> Array: ...
def embedding_backward(
    dy: Any, indices: Any, weight_shape: Sequence[int], padding_idx: int | None, out: Any
) -> Array: ...

# Matrix products.

def bias_backward(dy: Any, axis: int, out: Any) -> Array: ...
def gemm(a: Any, b: Any, bias: Any, activation: int, out: Any) -> Array: ...
def set_matmul_precision(precision: int) -> None: ...
def get_matmul_precision() -> int: ...
def linear(x: Any, weight: Any, bias: Any, activation: int, out: Any) -> Array: ...

class LinearPlan:
    def __init__(self, weight: Any, bias: Any, activation: int) -> None: ...
    def run(self, x: Any, out: Any) -> Any: ...
    @property
    def nbytes(self) -> int: ...

def linear_backward_input(dy: Any, weight: Any, out: Any) -> Array: ...
def linear_backward_weight(dy: Any, x: Any, out: Any) -> Array: ...

# Normalization. Forward gives (y, mean, rstd), backward (dx, dweight, dbias).

def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any,
    bias: Any,
    training: bool,
    momentum: float,
    eps: float,
    activation: int,
    out: Any,
    moments: Any = None,
) -> tuple[Any, ...]: ...
def batch_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    weight: Any,
    bias: Any,
    training: bool,
    activation: int,
    out: Any,
) -> tuple[Any, ...]: ...
def group_norm(
    x: Any,
    num_groups: int,
    weight: Any,
    bias: Any,
    eps: float,
    activation: int,
    out: Any,
    moments: Any = None,
) -> tuple[Any, ...]: ...
def group_norm_backward(
    dy: Any,
    x: Any,
    num_groups: int,
    mean: Any,
    rstd: Any,
    weight: Any,
    bias: Any,
    activation: int,
    out: Any,
) -> tuple[Any, ...]: ...
def instance_norm(
    x: Any, weight: Any, bias: Any, eps: float, activation: int, out: Any, moments: Any = None
) -> tuple[Any, ...]: ...
def instance_norm_backward(
    dy: Any, x: Any, mean: Any, rstd: Any, weight: Any, bias: Any, activation: int, out: Any
) -> tuple[Any, ...]: ...
def layer_norm(
    x: Any, normalized_shape: Any, weight: Any, bias: Any, eps: float, out: Any
) -> tuple[Any, ...]: ...
def layer_norm_backward(
    dy: Any, x: Any, normalized_shape: Any, mean: Any, rstd: Any, weight: Any, out: Any
) -> tuple[Any, ...]: ...

# Optimizer steps, in place.

def adam_steps(
    params: Sequence[Any],
    grads: Sequence[Any],
    exp_avgs: Sequence[Any],
    exp_avg_sqs: Sequence[Any],
    step: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    rounded: Any = None,
) -> None: ...
def sgd_steps(
    params: Sequence[Any],
    grads: Sequence[Any],
    momentum_buffers: Any,
    lr: float,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
    rounded: Any = None,
) -> None: ...

# The yardstick of benchmarks.

def fma_chain(x: Any, rounds: int, out: Any) -> Array: ...

# Pointwise.

class BinaryOp:
    __members__: dict[str, BinaryOp]
    def __init__(self, value: int) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    add: BinaryOp
    add_relu: BinaryOp
    div: BinaryOp
    maximum: BinaryOp
    minimum: BinaryOp
    mul: BinaryOp
    sub: BinaryOp

class CompareOp:
    __members__: dict[str, CompareOp]
    def __init__(self, value: int) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    eq: CompareOp
    ge: CompareOp
    gt: CompareOp
    le: CompareOp
    lt: CompareOp
    ne: CompareOp

class UnaryOp:
    __members__: dict[str, UnaryOp]
    def __init__(self, value: int) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    abs: UnaryOp
    clamp: UnaryOp
    elu: UnaryOp
    erf: UnaryOp
    exp: UnaryOp
    expm1: UnaryOp
    gelu: UnaryOp
    leaky_relu: UnaryOp
    log: UnaryOp
    log1p: UnaryOp
    neg: UnaryOp
    pow: UnaryOp
    reciprocal: UnaryOp
    relu: UnaryOp
    sigmoid: UnaryOp
    silu: UnaryOp
    softplus: UnaryOp
    sqrt: UnaryOp
    square: UnaryOp
    tanh: UnaryOp

def binary(op: BinaryOp, a: Any, b: Any, out: Any) -> Array: ...
def compare(op: CompareOp, a: Any, b: Any, out: Any) -> Array: ...
def unary(op: UnaryOp, x: Any, a: float, b: float, out: Any) -> Array: ...
def unary_backward(op: UnaryOp, dy: Any, saved: Any, a: float, b: float, out: Any) -> Array: ...
def where(mask: Any, a: Any, b: Any, out: Any) -> Array: ...

# Pooling.

def adaptive_avg_pool(x: Any, rank: int, output_size: Any, out: Any) -> Array: ...
def adaptive_avg_pool_backward(dy: Any, input_shape: Sequence[int], out: Any) -> Array: ...
def adaptive_max_pool(x: Any, rank: int, output_size: Any, return_indices: bool, out: Any) -> Any: ...
def adaptive_max_pool_backward(dy: Any, indices: Any, input_shape: Sequence[int], out: Any) -> Array: ...
def avg_pool(
    x: Any,
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    out: Any,
) -> Array: ...
def avg_pool_backward(
    dy: Any,
    input_shape: Sequence[int],
    rank: int,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    out: Any,
) -> Array: ...
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
    indices_out: Any = None,
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
def max_unpool(
    x: Any, indices: Any, rank: int, kernel_size: Any, stride: Any, padding: Any, output_size: Any, out: Any
) -> Array: ...
def max_unpool_backward(dy: Any, indices: Any, out: Any) -> Array: ...

# Random numbers.

def dropout(x: Any, p: float, seed: Any, offset: Any, out: Any) -> tuple[Any, ...]: ...
def dropout_backward(dy: Any, mask: Any, p: float, out: Any) -> Array: ...
def normal(
    shape: Sequence[int],
    dtype: Any,
    seed: Any,
    offset: Any,
    mean: float,
    std: float,
    out: Any,
    device: Any = None,
) -> tuple[Any, ...]: ...
def uniform(
    shape: Sequence[int],
    dtype: Any,
    seed: Any,
    offset: Any,
    low: float,
    high: float,
    out: Any,
    device: Any = None,
) -> tuple[Any, ...]: ...

# Recurrent layers.

class RecurrentPlan:
    def __init__(self, cell: str, single_step: bool, weights: Sequence[Any]) -> None: ...
    def run(self, x: Any, h0: Any, c0: Any, lengths: Any, out: Any) -> tuple[Any, ...]: ...
    def step(self, x: Any, h0: Any, c0: Any, out: Any) -> tuple[Any, ...]: ...
    @property
    def nbytes(self) -> int: ...

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

# Reductions.

class ReduceOp:
    __members__: dict[str, ReduceOp]
    def __init__(self, value: int) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def value(self) -> int: ...
    max: ReduceOp
    mean: ReduceOp
    min: ReduceOp
    sum: ReduceOp
    var: ReduceOp

def reduce(
    op: ReduceOp, x: Any, dim: Any, keepdim: bool, correction: float, return_indices: bool, out: Any
) -> Any: ...
def reduce_put(
    dy: Any, indices: Any, input_shape: Sequence[int], dim: Any, keepdim: bool, out: Any
) -> Array: ...
def reduce_shape(x: Any, dim: Any, keepdim: bool) -> tuple[Any, ...]: ...
def reduce_take(x: Any, indices: Any, dim: Any, keepdim: bool, out: Any) -> Array: ...

# Reading images at any places.

def affine_resample(
    x: Any,
    matrix: Any,
    size: Any,
    displacement: Any,
    spline: str,
    mode: str,
    padding_mode: str,
    value: float,
    out: Any,
) -> Array: ...
def grid_sample(
    x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool, value: float, out: Any
) -> Array: ...
def grid_sample_backward_grid(
    dy: Any, x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool, value: float, out: Any
) -> Array: ...
def grid_sample_backward_input(
    dy: Any,
    grid: Any,
    input_shape: Sequence[int],
    mode: str,
    padding_mode: str,
    align_corners: bool,
    out: Any,
) -> Array: ...

# Resizing.

def interpolate(x: Any, size: Any, scale_factor: Any, mode: str, align_corners: bool, out: Any) -> Array: ...
def interpolate_backward(
    dy: Any,
    input_shape: Sequence[int],
    size: Any,
    scale_factor: Any,
    mode: str,
    align_corners: bool,
    out: Any,
) -> Array: ...

# Softmax and cross-entropy.

def cross_entropy(
    logits: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float, out: Any
) -> tuple[Any, ...]: ...
def cross_entropy_backward(
    dloss: Any,
    logits: Any,
    target: Any,
    total_weight: Any,
    weight: Any,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
    out: Any,
) -> Array: ...
def softmax(x: Any, dim: int, logarithmic: bool, out: Any) -> Array: ...
def softmax_backward(dy: Any, y: Any, dim: int, logarithmic: bool, out: Any) -> Array: ...
