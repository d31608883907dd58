"""Reductions in float64, result by result."""

import numpy as np


def _groups(x, dim):
    """Kept index -> the reduced elements in order, with the shape of the kept axes."""
    x = np.asarray(x, np.float64)
    axes = range(x.ndim) if dim is None else [d % x.ndim for d in np.atleast_1d(dim)]
    kept = [i for i in range(x.ndim) if i not in axes]
    moved = x.transpose(kept + sorted(axes))
    shape = moved.shape[: len(kept)]
    count = int(np.prod(moved.shape[len(kept) :]))
    return shape, moved.reshape(*shape, count)


def _each(function):
    def call(x, dim, *options):
        shape, groups = _groups(x, dim)
        y = np.empty(shape)
        with np.errstate(all="ignore"):
            for at in np.ndindex(shape):
                y[at] = function(groups[at], *options)
        return y

    return call


def _first_extreme(better):
    def find(values):
        best = 0
        for i, value in enumerate(values):
            if np.isnan(values[best]):
                break
            if np.isnan(value) or better(value, values[best]):
                best = i
        return best

    return find


sum = _each(lambda v: v.sum())
mean = _each(lambda v: v.sum() / np.float64(len(v)))
var = _each(
    lambda v, correction: (
        ((v - v.sum() / max(len(v), 1)) ** 2).sum() / np.float64(max(len(v) - correction, 0))
    )
)
argmax = _each(_first_extreme(lambda a, b: a > b))
argmin = _each(_first_extreme(lambda a, b: a < b))


def take(x, indices, dim):
    shape, groups = _groups(x, dim)
    y = np.empty(shape)
    for at in np.ndindex(shape):
        y[at] = groups[at][int(indices[at])]
    return y


def magnitude(x, dim):
    """Sum of |x|: what rounding errors are measured by."""
    return sum(np.abs(x), dim)
