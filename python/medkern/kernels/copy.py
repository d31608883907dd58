"""Kernels that move elements: copies between layouts and types, joining, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def copy(x: Any, *, dtype: Any = None, channels_last: bool = False, out: Any = None) -> Any:
    """A copy in another layout or type.

    A float becomes an integer by dropping its fraction, at the nearest value of the type where it lies
    outside, and 0 where it is NaN; anything becomes a bool by comparing with 0.

    Args:
        x: an array of any shape, type and strides.
        dtype: the type of the result; None keeps that of x.
        channels_last: whether the result has its channels (axis 1) varying fastest in memory; else it is
            contiguous.
        out: array for the result, to whose shape x is broadcast; its type and strides count.

    Returns:
        The copy.

    Raises:
        ValueError: x does not broadcast to `out`, or they share memory.
        TypeError: `dtype` is not one medkern knows.

    Example:
        >>> medkern.kernels.copy(np.array([0.7, -2.9], np.float32), dtype="int64")
        array([ 0, -2])
    """
    return like(x, _C.copy(x, dtype, channels_last, out))


def full(
    shape: Sequence[int],
    value: float,
    dtype: Any = "float32",
    *,
    channels_last: bool = False,
    device: Any = None,
) -> _C.Array:
    """A new array with every element equal to `value`.

    Args:
        shape: sizes along each axis.
        value: the number.
        dtype: the type of the elements.
        channels_last: the memory format, as in `copy`.
        device: where it is made; None is the default device.

    Returns:
        A `medkern._C.Array`.

    Raises:
        ValueError: a size is negative.
        MemoryError: the array is too large.
    """
    return _C.fill(_C.empty(shape, dtype, channels_last, device), value)


def concat(tensors: Sequence[Any], dim: int = 0, *, out: Any = None) -> Any:
    """The arrays laid end to end along an axis.

    Args:
        tensors: one or more arrays of the same type, which differ in their size along `dim` only.
        dim: the axis; negative counts from the last.
        out: array for the result.

    Returns:
        The joined array, in the memory format of the first.

    Raises:
        ValueError: there are none, or their shapes don't fit each other.
        TypeError: their types differ.

    Example:
        >>> medkern.kernels.concat([np.zeros((1, 2)), np.ones((1, 3))], dim=1)
        array([[0., 0., 1., 1., 1.]])
    """
    return like(tensors[0] if len(tensors) > 0 else None, _C.concat(tensors, dim, out))


def pad(
    x: Any, padding: Sequence[int], mode: str = "constant", value: float = 0.0, *, out: Any = None
) -> Any:
    """Extends the borders of an array.

    Args:
        x: float32 or float64 (CUDA: float16, bfloat16), any shape.
        padding: (before, after) of the last axis, then of the one before it, and so on, in one flat
            sequence, as in PyTorch. Negative numbers crop (mode "constant" only).
        mode: "constant" fills with `value`; "reflect" mirrors x about its edge element; "replicate" repeats
            the edge element; "circular" goes on at the other end.
        value: the number for mode "constant".
        out: array for the result.

    Returns:
        The padded array, in the memory format of x.

    Raises:
        ValueError: a padding doesn't fit the size of its axis, or `mode` is unknown.
        TypeError: x is not float32 or float64.

    Example:
        >>> medkern.kernels.pad(np.array([1.0, 2.0, 3.0]), (2, 1), "reflect")
        array([3., 2., 1., 2., 3., 2.])
    """
    return like(x, _C.pad(x, list(padding), mode, value, out))


def pad_backward(
    dy: Any, input_shape: Sequence[int], padding: Sequence[int], mode: str = "constant", *, out: Any = None
) -> Any:
    """The gradient of padding: for each element of x the sum of dy over the places it was copied to.

    Args:
        dy: gradient of the padded array.
        input_shape: shape of x.
        padding: as in the forward pass.
        mode: as in the forward pass.
        out: array for the result.

    Returns:
        dx, of shape `input_shape`.

    Raises:
        ValueError: the shapes don't fit.
    """
    return like(dy, _C.pad_backward(dy, list(input_shape), list(padding), mode, out))
