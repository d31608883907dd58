"""Random numbers and dropout from a counter."""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def _as_kind_of(out: Any, result: _C.Array) -> Any:
    return result.numpy() if out is None else like(out, result)


def uniform(
    shape: tuple[int, ...],
    dtype: Any = "float32",
    seed: int = 0,
    offset: int = 0,
    low: float = 0.0,
    high: float = 1.0,
    *,
    out: Any = None,
) -> Any:
    """Random numbers spread evenly over low <= y < high.

    They come from Philox 4x32-10: block b of a seed is four 32-bit words that depend on b and the seed only.
    Element i of a float32 array is word i, counted from block `offset`; a float64 element takes two words.
    So the same arguments give the same bits at any number of threads, on every instruction set and on CUDA
    devices. An array uses ceil(size / 4) blocks in float32, ceil(size / 2) in float64: add that to `offset`
    for the next one. (`medkern.random` keeps count by itself.)

    Args:
        shape: shape of the result.
        dtype: float32 or float64.
        seed: from 0 to 2**64 - 1.
        offset: number of the first block.
        low: the least value.
        high: the bound above; equal to `low` it gives `low` everywhere.
        out: array for the result; elements are numbered in the order of its memory.

    Raises:
        ValueError: a bound, the seed, the offset or `out` doesn't fit.
        TypeError: the dtype is not float32 or float64.

    Example:
        >>> medkern.kernels.uniform((2, 2), seed=1)
        array([[0.89025915, 0.8946847 ],
               [0.5857259 , 0.71126807]], dtype=float32)
    """
    return _as_kind_of(out, _C.uniform(shape, dtype, seed, offset, low, high, out)[0])


def normal(
    shape: tuple[int, ...],
    dtype: Any = "float32",
    seed: int = 0,
    offset: int = 0,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    out: Any = None,
) -> Any:
    """Random numbers from the normal distribution, by Box and Muller.

    Pairs u, v of `uniform` numbers give sqrt(-2 ln(1 - u)) times cos(2 pi v) and sin(2 pi v). Blocks are
    counted as there, and the bits are as reproducible.

    Args:
        shape: shape of the result.
        dtype: float32 or float64.
        seed: from 0 to 2**64 - 1.
        offset: number of the first block.
        mean: the mean.
        std: the standard deviation, at least 0.
        out: array for the result; elements are numbered in the order of its memory.

    Raises:
        ValueError: mean, std, the seed, the offset or `out` doesn't fit.
        TypeError: the dtype is not float32 or float64.

    Example:
        >>> medkern.kernels.normal((1000,), seed=1).std().round(1)
        np.float32(1.0)
    """
    return _as_kind_of(out, _C.normal(shape, dtype, seed, offset, mean, std, out)[0])


def dropout(x: Any, p: float = 0.5, seed: int = 0, offset: int = 0, *, out: Any = None) -> Any:
    """Sets elements of x to 0 with probability p and divides the others by 1 - p.

    Element i in the order of memory is kept if word i (see `uniform`) is at least p 2**32, so the mask is
    the same bits at any number of threads and on every instruction set; ceil(size / 4) blocks are used.

    Args:
        x: any shape, float32 or float64 (CUDA: bfloat16).
        p: probability of dropping an element, from 0 to 1.
        seed: from 0 to 2**64 - 1.
        offset: number of the first block.
        out: array for the result, in the memory format of x; may be x itself.

    Returns:
        (y, mask): y = x mask / (1 - p), and the mask of 0 and 1, uint8.

    Raises:
        ValueError: p, the seed, the offset or `out` doesn't fit.
        TypeError: x is not float32 or float64.

    Example:
        >>> y, mask = medkern.kernels.dropout(np.ones(4, np.float32), 0.5, seed=2)
        >>> y
        array([0., 0., 2., 0.], dtype=float32)
    """
    y, mask, _ = _C.dropout(x, p, seed, offset, out)
    return like(x, y), like(x, mask)


def dropout_backward(dy: Any, mask: Any, p: float = 0.5, *, out: Any = None) -> Any:
    """The gradient of dropout: dx = dy mask / (1 - p).

    Args:
        dy: gradient of the result.
        mask: as `dropout` gave it.
        p: as in the forward pass.
        out: array for the result, in the memory format of dy; may be dy itself.

    Returns:
        dx, of the shape of dy.

    Raises:
        ValueError: p or a shape doesn't fit.
    """
    return like(dy, _C.dropout_backward(dy, mask, p, out))
