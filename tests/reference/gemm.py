"""Matrix products in float64, from the formula."""

import numpy as np


def gemm(a, b, bias=None, activation=None):
    """act(a b + bias) and, for tolerances, the sum of the terms' magnitudes."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    c = (a[..., :, :, None] * b[..., None, :, :]).sum(-2)
    terms = (np.abs(a)[..., :, :, None] * np.abs(b)[..., None, :, :]).sum(-2)
    if bias is not None:
        c = c + np.asarray(bias, np.float64)
        terms = terms + np.abs(bias)
    return (np.maximum(c, 0) if activation == "relu" else c), terms


def bias_backward(dy, axis):
    dy = np.asarray(dy, np.float64)
    axes = tuple(i for i in range(dy.ndim) if i != axis)
    return dy.sum(axes), np.abs(dy).sum(axes)
