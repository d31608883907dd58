"""Resizing kernels."""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool = False,
    *,
    out: Any = None,
) -> Any:
    """Resizes the spatial axes of x: y[n, c, o] = x at the coordinates of o.

    Along each axis output o lies at coordinate

    - o * ratio, taking the element at or before it, for "nearest";
    - (o + 1/2) * ratio - 1/2, but not below 0, for the linear modes;
    - o * (size of x - 1) / (size of y - 1) for the linear modes with `align_corners`,

    where ratio is the size of x over that of y, or 1 / scale_factor if that is given. Linear modes weight the
    two elements around the coordinate along each axis; an element of weight 0 is not read.

    Args:
        x: (N, C, W), (N, C, H, W) or (N, C, D, H, W), float32 or float64; spatial sizes are at least 1.
        size: spatial size of the result, an int or one per axis.
        scale_factor: output size over input size, a number or one per axis, instead of `size`; the output
            size is rounded down.
        mode: "nearest", or "linear", "bilinear" and "trilinear" for 3, 4 and 5 dimensions.
        align_corners: whether the corner elements of x and y coincide; linear modes only.
        out: array for the result.

    Returns:
        (N, C, *size), in the memory format of x.

    Raises:
        ValueError: a shape, size, factor or `out` doesn't fit, or the mode is unknown.
        TypeError: x is not float32 or float64.

    Example:
        >>> x = np.array([[[1.0, 2.0]]], np.float32)
        >>> medkern.kernels.interpolate(x, scale_factor=2, mode="linear")[0, 0]
        array([1.  , 1.25, 1.75, 2.  ], dtype=float32)
    """
    return like(x, _C.interpolate(x, size, scale_factor, mode, align_corners, out))


def interpolate_backward(
    dy: Any,
    input_shape: tuple[int, ...],
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool = False,
    *,
    out: Any = None,
) -> Any:
    """The gradient of `interpolate`: dx = sum over the outputs that read each element of weight * dy.

    Args:
        dy: gradient of the result, shape of the result.
        input_shape: shape of x.
        size: as in the forward pass; so are the following.
        scale_factor: see there.
        mode: see there.
        align_corners: see there.
        out: array for the result.

    Returns:
        dx, of shape `input_shape`.

    Raises:
        ValueError: a shape doesn't fit.
    """
    return like(dy, _C.interpolate_backward(dy, input_shape, size, scale_factor, mode, align_corners, out))
