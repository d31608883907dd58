"""Pooling in float64, element by element, from the formula."""

import itertools

import numpy as np


def windows(size, kernel_size, stride, padding, dilation, ceil_mode):
    """For each output position along one axis the list of (tap, input position) inside the input."""
    before, after = padding
    room = size + before + after - dilation * (kernel_size - 1) - 1
    count = room // stride + 1
    if ceil_mode and room % stride and count * stride < size + before:
        count += 1
    result = []
    for o in range(count):
        positions = [(t, o * stride - before + t * dilation) for t in range(kernel_size)]
        result.append([(t, p) for t, p in positions if 0 <= p < size])
    return result


def max_pool(x, kernel_size, stride, padding, dilation, ceil_mode):
    """y and the flat spatial index of each maximum; every option is a list with an entry per axis."""
    x = np.asarray(x, np.float64)
    spatial = x.shape[2:]
    axes = [
        windows(*each, ceil_mode)
        for each in zip(spatial, kernel_size, stride, padding, dilation, strict=True)
    ]
    shape = x.shape[:2] + tuple(len(axis) for axis in axes)
    y = np.full(shape, -np.inf)
    indices = np.full(shape, -1, np.int64)
    for n, c, *out in np.ndindex(shape):
        for taps in itertools.product(*(axis[o] for axis, o in zip(axes, out, strict=True))):
            at = tuple(position for _, position in taps)
            value, best = x[(n, c, *at)], y[(n, c, *out)]
            first = indices[(n, c, *out)] < 0
            if first or (not np.isnan(best) and (value > best or np.isnan(value))):
                y[(n, c, *out)] = value
                indices[(n, c, *out)] = np.ravel_multi_index(at, spatial)
    return y, indices


def max_pool_backward(dy, indices, input_shape):
    dx = np.zeros(input_shape)
    flat = dx.reshape(*input_shape[:2], int(np.prod(input_shape[2:])))
    for at in np.ndindex(dy.shape):
        flat[at[0], at[1], indices[at]] += dy[at]
    return dx
