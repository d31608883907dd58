"""Arrays in the memory formats medkern reads."""

import numpy as np


def channels_last(x):
    """The same array with its channels varying fastest in memory."""
    axes = (0, *range(2, x.ndim), 1)
    back = (0, x.ndim - 1, *range(1, x.ndim - 1))
    return np.ascontiguousarray(x.transpose(axes)).transpose(back)


def strided(x):
    """The same array as every other element of a larger one: neither contiguous nor channels-last."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


FORMATS = [np.ascontiguousarray, channels_last, strided]


def slice_of(shape, before, after):
    """(a larger channels-last array, the slice of its channels that has this shape), filled with 7."""
    n, c, *spatial = shape
    whole = channels_last(np.full((n, before + c + after, *spatial), 7, np.float32))
    return whole, whole[:, before : before + c]
