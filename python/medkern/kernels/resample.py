"""Reading images at any places: grids, affine maps, smooth displacements."""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def grid_sample(
    x: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    value: float = 0.0,
    *,
    out: Any = None,
) -> Any:
    """Reads x where the grid says: y[n, c, o] = x[n, c] at grid[n, o].

    The last axis of the grid holds (x, y) or (x, y, z), the place along the last axis of x first. They run
    from -1 to 1: from the outer edge of the first element to that of the last, or, with `align_corners`,
    between their centers. "nearest" takes the nearest element (halves go to the even one), the others are
    linear along each axis. A neighbor of weight 0 is not read; a place that is NaN gives NaN.

    Args:
        x: (N, C, H, W) or (N, C, D, H, W), float32 or float64; spatial sizes are at least 1.
        grid: (N, sizes of the result, 2 or 3), the type of x.
        mode: "nearest", or "linear", "bilinear", "trilinear", which say the same.
        padding_mode: what lies outside of x: "zeros", "constant" (`value`), "border" (the element at the
            edge), "reflection" (mirrors stand at -1 and 1), "wrap" (x again, size after size).
        align_corners: see above.
        value: what lies outside for "constant"; neighbors outside count with it.
        out: array for the result.

    Returns:
        (N, C, sizes of the grid), in the memory format of x.

    Raises:
        ValueError: a shape, mode, value or `out` doesn't fit.
        TypeError: x is not float32 or float64, or the grid has another type.

    Example:
        >>> x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]], np.float32)
        >>> medkern.kernels.grid_sample(x, np.zeros((1, 1, 1, 2), np.float32)).item()
        2.5
    """
    return like(x, _C.grid_sample(x, grid, mode, padding_mode, align_corners, value, out))


def grid_sample_backward_input(
    dy: Any,
    grid: Any,
    input_shape: tuple[int, ...],
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    *,
    out: Any = None,
) -> Any:
    """The gradient of `grid_sample` for x: dx = sum over the outputs that read each element of weight * dy.

    On CUDA sums are in whole numbers, multiples of a power of 2 below 2^-40 of a sample's largest |dy| (for
    up to 2^20 outputs; float64 takes two of them), so that they are exact in any order.

    Args:
        dy: gradient of the result, shape of the result.
        grid: as in the forward pass; so are the following.
        input_shape: shape of x.
        mode: see there.
        padding_mode: see there.
        align_corners: see there.
        out: array for the result.

    Returns:
        dx, of shape `input_shape`.

    Raises:
        ValueError: a shape doesn't fit.
    """
    return like(
        dy, _C.grid_sample_backward_input(dy, grid, input_shape, mode, padding_mode, align_corners, out)
    )


def grid_sample_backward_grid(
    dy: Any,
    x: Any,
    grid: Any,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool = False,
    value: float = 0.0,
    *,
    out: Any = None,
) -> Any:
    """The gradient of `grid_sample` for the grid: dy times the slope of y along each coordinate.

    It is 0 in mode "nearest", and where "border" or "reflection" brought a coordinate back to the edge; where
    a coordinate is that of an element, it is the slope to the next one.

    Args:
        dy: gradient of the result, shape of the result.
        x: as in the forward pass; so are the following.
        grid: see there.
        mode: see there.
        padding_mode: see there.
        align_corners: see there.
        value: see there.
        out: array for the result.

    Returns:
        dgrid, of the shape of the grid.

    Raises:
        ValueError: a shape doesn't fit.
    """
    return like(dy, _C.grid_sample_backward_grid(dy, x, grid, mode, padding_mode, align_corners, value, out))


def affine_resample(
    x: Any,
    matrix: Any,
    size: Any = None,
    displacement: Any = None,
    spline: str = "cubic",
    mode: str = "linear",
    padding_mode: str = "constant",
    value: float = 0.0,
    *,
    out: Any = None,
) -> Any:
    """Reads x where an affine map and a smooth displacement lead, in one pass.

    The element with indices o of y lies in x at

        place[i] = sum over j of matrix[n, i, j] o[j] + matrix[n, i, -1] + displacement[i](o)

    in elements, axes in the order of x, as in `scipy.ndimage.affine_transform`. The displacement is a spline
    over control points that lie evenly from the first to the last element of y along each axis; a cubic one,
    which passes near its points rather than through them, has one more before and one behind these.

    Args:
        x: (N, C, H, W) or (N, C, D, H, W), float32 or float64; spatial sizes are at least 1.
        matrix: (N, 2, 3) or (N, 3, 4), float64.
        size: spatial sizes of the result, an int or one per axis; those of x where None.
        displacement: (N, 2 or 3, control points), the type of x, in elements of x; from 2 points along each
            axis, 4 where cubic, to 256. None for none.
        spline: "cubic" (a uniform B-spline) or "linear".
        mode: "linear", for images; or "nearest", for labels: halves go up.
        padding_mode: what lies outside of x: "constant" or "zeros", "border", "reflection" (mirrors stand at
            the outer edges of the elements: b a | a b), "wrap".
        value: what lies outside for "constant"; neighbors outside count with it.
        out: array for the result.

    Returns:
        (N, C, *size), in the memory format of x.

    Raises:
        ValueError: a shape, size, mode, value or `out` doesn't fit.
        TypeError: a type doesn't fit.

    Example:
        >>> x = np.arange(4.0).reshape(1, 1, 2, 2)
        >>> medkern.kernels.affine_resample(x, np.array([[[1.0, 0, 0], [0, 1, 1]]]))[0, 0]
        array([[1., 0.],
               [3., 0.]])
    """
    return like(x, _C.affine_resample(x, matrix, size, displacement, spline, mode, padding_mode, value, out))
