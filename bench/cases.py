"""The cases: layers of real networks at their real sizes.

unet64 is the classic 2-D U-Net (64 filters at the top, 256 x 256), unet3d its 3-D kin (32 filters, 64^3).
To add a case, write a function that makes it ready and a line in CASES.
"""

from __future__ import annotations

import functools

import numpy as np
from medkern.bench.harness import Case, Work

from medkern import kernels


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _channels_last(x: np.ndarray) -> np.ndarray:
    """The same array with channels varying fastest in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def max_pool(rng: np.random.Generator, shape: tuple[int, ...], channels_last: bool = False) -> Work:
    """2 x 2 (x 2) max pooling with stride 2."""
    x = _normal(rng, *shape)
    spatial = range(2, len(shape))
    blocks = x.reshape(*shape[:2], *(n for axis in spatial for n in (shape[axis] // 2, 2)))
    expected = blocks.max(axis=tuple(range(3, blocks.ndim, 2)))
    pool = {1: kernels.max_pool1d, 2: kernels.max_pool2d, 3: kernels.max_pool3d}[len(spatial)]
    x = _channels_last(x) if channels_last else x
    return Work(lambda: pool(x, 2), lambda: expected, 0, x.nbytes + expected.nbytes, 0.0)


CASES = [
    Case("unet64_pool1", "pool", functools.partial(max_pool, shape=(1, 64, 256, 256))),
    Case(
        "unet64_pool1_channels_last",
        "pool",
        functools.partial(max_pool, shape=(1, 64, 256, 256), channels_last=True),
    ),
    Case(
        "unet3d_pool1_channels_last",
        "pool",
        functools.partial(max_pool, shape=(1, 32, 64, 64, 64), channels_last=True),
    ),
]
