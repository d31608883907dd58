"""Layout, joining and padding of tensors.

Results of `reshape`, `permute`, `getitem` and their kin share memory with their input where the layout
allows it. No public operation changes a tensor in place while a graph needs it, so that can't be told from a
copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medkern import _C, kernels
from medkern.autograd import Cast, Function, Node
from medkern.devices import is_device
from medkern.functional._bfloat16 import Alike
from medkern.tensor import Tensor


class Move(Function):
    """The same values on another device."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, device: Any) -> _C.Array:
        """Keeps the device of x."""
        ctx.device = x.device
        return x.array.to(device)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The gradient, moved back."""
        return Move.apply(dy, device=ctx.device)


class Reshape(Function):
    """The elements in row-major order under another shape."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, shape: tuple[int, ...]) -> _C.Array:
        """Shares the memory of x if it is contiguous."""
        ctx.input_shape = x.shape
        return x.array.contiguous().with_layout(shape, _row_major_strides(shape))

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The gradient under the old shape."""
        return Reshape.apply(dy, shape=ctx.input_shape)


class Permute(Function):
    """The axes in another order; shares the memory of x."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, axes: tuple[int, ...]) -> _C.Array:
        """A view."""
        ctx.axes = axes
        array = x.array
        return array.with_layout([array.shape[a] for a in axes], [array.strides[a] for a in axes])

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The axes back in their order."""
        return Permute.apply(dy, axes=tuple(int(a) for a in np.argsort(ctx.axes)))


class GetItem(Function):
    """A part of a tensor; shares the memory of x."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, key: tuple[Any, ...]) -> _C.Array:
        """A view."""
        ctx.input_shape, ctx.key = x.shape, key
        return _part(x.array, key)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """Zero but for the part."""
        return PutItem.apply(dy, shape=ctx.input_shape, key=ctx.key)


class PutItem(Function):
    """A tensor of zeros with one part set: the gradient of `GetItem`."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, dy: Tensor, *, shape: tuple[int, ...], key: tuple[Any, ...]) -> _C.Array:
        """Fills a new array."""
        ctx.key = key
        same_rank = dy.ndim == len(shape)
        channels_last = same_rank and dy.array.keeps_channels_last
        dx = kernels.full(shape, 0, dy.dtype, channels_last=channels_last, device=dy.device)
        _C.copy(dy.array, None, False, _part(dx, key))
        return dx

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> Tensor:
        """The part of the gradient."""
        return GetItem.apply(ddx, key=ctx.key)


class Concat(Alike):
    """Tensors laid end to end."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, *tensors: Tensor, dim: int) -> _C.Array:
        """Keeps the sizes along the axis."""
        y = kernels.concat([x.array for x in tensors], dim)
        ctx.dim = dim % y.ndim
        ctx.sizes = [x.shape[ctx.dim] for x in tensors]
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor | None, ...]:
        """Each tensor's part of the gradient."""
        grads: list[Tensor | None] = []
        begin = 0
        for size, needed in zip(ctx.sizes, ctx.needs, strict=True):
            key = (slice(None),) * ctx.dim + (slice(begin, begin + size),)
            grads.append(GetItem.apply(dy, key=key) if needed else None)
            begin += size
        return tuple(grads)


class Pad(Function):
    """Extended borders."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, padding: tuple[int, ...], mode: str, value: float) -> _C.Array:
        """Keeps the shape of x."""
        ctx.input_shape, ctx.padding, ctx.mode = x.shape, padding, mode
        return kernels.pad(x.array, padding, mode, value)

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """The gradient of every copy, summed."""
        return PadBackward.apply(dy, input_shape=ctx.input_shape, padding=ctx.padding, mode=ctx.mode)


class PadBackward(Function):
    """The gradient of `Pad`, a linear map of its own."""

    twice_differentiable = takes_bfloat16 = True

    @staticmethod
    def forward(
        ctx: Node, dy: Tensor, *, input_shape: tuple[int, ...], padding: tuple[int, ...], mode: str
    ) -> _C.Array:
        """Sums over the places each element was copied to."""
        ctx.padding, ctx.mode = padding, mode
        return kernels.pad_backward(dy.array, input_shape, padding, mode)

    @staticmethod
    def backward(ctx: Node, ddx: Tensor) -> Tensor:
        """Padding again, with zeros for a constant."""
        return Pad.apply(ddx, padding=ctx.padding, mode=ctx.mode, value=0.0)


def _row_major_strides(shape: Sequence[int]) -> list[int]:
    return [math.prod(shape[i + 1 :]) for i in range(len(shape))]


def _axis(operation: str, dim: int, ndim: int) -> int:
    if not -ndim <= dim < ndim:
        raise ValueError(f"{operation}: dim must be from {-ndim} to {ndim - 1}, got {dim}")
    return dim % ndim


def _part(array: _C.Array, key: tuple[Any, ...]) -> _C.Array:
    """The view `array[key]` for ints, slices with a positive step, None and at most one Ellipsis."""
    axes = sum(1 for item in key if item is not None and item is not Ellipsis)
    if axes > array.ndim:
        raise IndexError(f"too many indices: {axes} for a tensor with {array.ndim} dimensions")
    shape: list[int] = []
    strides: list[int] = []
    offset = 0
    axis = 0
    for item in key if Ellipsis in key else (*key, Ellipsis):
        if item is None:
            shape.append(1)
            strides.append(0)
            continue
        if item is Ellipsis:
            skipped = array.ndim - axes
            shape.extend(array.shape[axis : axis + skipped])
            strides.extend(array.strides[axis : axis + skipped])
            axis += skipped
            continue
        size, stride = array.shape[axis], array.strides[axis]
        if isinstance(item, slice):
            start, stop, step = item.indices(size)
            if step < 0:
                raise ValueError(f"a slice must have a positive step, got {step}")
            count = len(range(start, stop, step))
            offset += start * stride if count > 0 else 0
            shape.append(count)
            strides.append(stride * step)
        else:
            if not -size <= item < size:
                raise IndexError(f"index {item} is out of range for axis {axis} of size {size}")
            offset += item % size * stride
        axis += 1
    if 0 in shape:
        offset = 0
    return array.with_layout(shape, strides, offset)


def getitem(x: Tensor, key: Any) -> Tensor:
    """A part of x: `x[key]` for ints, slices with a positive step, None (a new axis) and Ellipsis.

    Raises:
        IndexError: an int is out of range, or there are more of them than axes.
        TypeError: the key holds something else; index arrays and masks are not supported.
    """
    keys = key if isinstance(key, tuple) else (key,)
    plain: list[Any] = []
    for item in keys:
        if item is None or item is Ellipsis or isinstance(item, slice):
            plain.append(item)
        elif isinstance(item, (int, np.integer)) and not isinstance(item, bool):
            plain.append(int(item))
        else:
            raise TypeError(
                f"a tensor is indexed by ints, slices, None and Ellipsis, got {type(item).__name__}"
            )
    if plain.count(Ellipsis) > 1:
        raise IndexError("at most one Ellipsis can be in an index")
    return GetItem.apply(x, key=tuple(plain))


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """The elements of x in row-major order under another shape.

    Args:
        x: any tensor.
        shape: the new sizes; one of them may be -1, which means whatever is left.

    Returns:
        A tensor of that shape, which shares the memory of x if that is contiguous.

    Raises:
        ValueError: the number of elements differs.

    Example:
        >>> medkern.functional.reshape(medkern.tensor([1.0, 2.0, 3.0, 4.0]), (2, -1)).shape
        (2, 2)
    """
    sizes = [int(size) for size in shape]
    if sizes.count(-1) == 1:
        known = -math.prod(sizes)
        if known > 0 and x.size % known == 0:
            sizes[sizes.index(-1)] = x.size // known
    if any(size < 0 for size in sizes) or math.prod(sizes) != x.size:
        raise ValueError(f"reshape: shape {tuple(shape)} does not fit a tensor of shape {x.shape}")
    return Reshape.apply(x, shape=tuple(sizes))


def flatten(x: Tensor, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """Axes `start_dim` to `end_dim` made one; see `reshape`.

    Raises:
        ValueError: an axis is out of range or they are in the wrong order.
    """
    if x.ndim == 0:
        return reshape(x, (1,))
    start, end = _axis("flatten", start_dim, x.ndim), _axis("flatten", end_dim, x.ndim)
    if start > end:
        raise ValueError(f"flatten: start_dim {start_dim} comes after end_dim {end_dim}")
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def permute(x: Tensor, dims: Sequence[int]) -> Tensor:
    """The axes of x in the order `dims`; shares the memory of x.

    Raises:
        ValueError: `dims` is not an order of the axes of x.

    Example:
        >>> medkern.functional.permute(medkern.tensor([[1.0, 2.0, 3.0]]), (1, 0)).shape
        (3, 1)
    """
    axes = tuple(_axis("permute", dim, x.ndim) for dim in dims)
    if sorted(axes) != list(range(x.ndim)):
        raise ValueError(f"permute: dims must name each of {x.ndim} axes once, got {tuple(dims)}")
    return Permute.apply(x, axes=axes)


def transpose(x: Tensor, dim0: int, dim1: int) -> Tensor:
    """X with two axes exchanged; shares the memory of x. See `permute`."""
    axes = list(range(x.ndim))
    a, b = _axis("transpose", dim0, x.ndim), _axis("transpose", dim1, x.ndim)
    axes[a], axes[b] = axes[b], axes[a]
    return permute(x, axes)


def unsqueeze(x: Tensor, dim: int) -> Tensor:
    """X with a new axis of size 1 at `dim`, which may be from -(ndim + 1) to ndim."""
    axis = _axis("unsqueeze", dim, x.ndim + 1)
    return getitem(x, (slice(None),) * axis + (None,))


def squeeze(x: Tensor, dim: int | None = None) -> Tensor:
    """X without the axis `dim` if its size is 1, or without all axes of size 1."""
    axes = range(x.ndim) if dim is None else [_axis("squeeze", dim, x.ndim)]
    key = tuple(0 if i in axes and x.shape[i] == 1 else slice(None) for i in range(x.ndim))
    return getitem(x, key) if 0 in key else x


def contiguous(x: Tensor) -> Tensor:
    """X itself if its memory is contiguous, else a contiguous copy."""
    return reshape(x, x.shape)


def to(x: Tensor, *targets: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """X on a device, with its elements converted to a type, or both; x itself if nothing is to be done.

    Gradients pass back to the device of x. Only conversions between float types pass them on; see
    `medkern.kernels.copy` for the rules.

    Args:
        x: any tensor.
        targets: a device ("cpu", "cuda", "cuda:1", ...), an element type, or one of each.
        dtype: the element type by name.
        device: the device by name.

    Raises:
        TypeError: one of them is neither a device nor a type that medkern knows.
        DeviceError: there is no such device.

    Example:
        >>> medkern.tensor([1, 2]).to("cpu", "float32").dtype
        dtype('float32')
    """
    for target in (*targets, *(named for named in (device, dtype) if named is not None)):
        if is_device(target):
            x = x if _C.device_name(target) == x.device else Move.apply(x, device=target)
        else:
            wanted = _C.dtype(target)
            x = x if x.dtype == wanted else Cast.apply(x, dtype=wanted)
    return x


def concat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Differentiable `medkern.kernels.concat`; the same arguments, shapes and errors."""
    return Concat.apply(*tensors, dim=dim)


cat = concat  # PyTorch has both names


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Tensors of one shape side by side along a new axis; see `concat`."""
    return concat([unsqueeze(x, dim) for x in tensors], dim)


def pad(x: Tensor, padding: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """Differentiable `medkern.kernels.pad`; the same arguments, shapes and errors."""
    return Pad.apply(x, padding=tuple(padding), mode=mode, value=value)
