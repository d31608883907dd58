"""Padding, element by element, from the rule of each mode."""

import numpy as np


def source(mode, position, size):
    """The position in x that position `position` (0 is the first of x) is a copy of; None: the constant."""
    if 0 <= position < size:
        return position
    if mode == "constant":
        return None
    if mode == "replicate":
        return 0 if position < 0 else size - 1
    if mode == "circular":
        return position % size
    return -position if position < 0 else 2 * (size - 1) - position


def sources(shape, padding, mode):
    """For each element of the padded array the index in x it comes from, or None."""
    rank = len(shape)
    pairs = [(0, 0)] * rank
    for i in range(len(padding) // 2):
        pairs[rank - 1 - i] = tuple(padding[2 * i : 2 * i + 2])
    padded = [size + before + after for size, (before, after) in zip(shape, pairs, strict=True)]
    result = {}
    for at in np.ndindex(*padded):
        where = [
            source(mode, i - before, size) for i, size, (before, _) in zip(at, shape, pairs, strict=True)
        ]
        result[at] = None if None in where else tuple(where)
    return padded, result


def pad(x, padding, mode, value):
    padded, where = sources(x.shape, padding, mode)
    y = np.full(padded, value, np.float64)
    for at, index in where.items():
        if index is not None:
            y[at] = x[index]
    return y


def pad_backward(dy, shape, padding, mode):
    _, where = sources(shape, padding, mode)
    dx = np.zeros(shape)
    for at, index in where.items():
        if index is not None:
            dx[index] += dy[at]
    return dx
