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


def divisor(window, start, kernel, size, padding, count_include_pad):
    """What one axis contributes to the divisor of a window that begins at `start`."""
    if not count_include_pad:
        return len(window)
    return min(start + kernel, size + padding[1]) - start


def avg_pool_weights(shape, kernel_size, stride, padding, ceil_mode, count_include_pad):
    """For each axis a matrix (outputs, inputs) with 1 / divisor where the output covers the input."""
    matrices = []
    for size, k, s, p in zip(shape[2:], kernel_size, stride, padding, strict=True):
        axis = windows(size, k, s, p, 1, ceil_mode)
        matrix = np.zeros((len(axis), size))
        for o, window in enumerate(axis):
            for _, position in window:
                matrix[o, position] = 1 / divisor(window, o * s - p[0], k, size, p, count_include_pad)
        matrices.append(matrix)
    return matrices


def adaptive_weights(shape, output_size):
    matrices = []
    for size, count in zip(shape[2:], output_size, strict=True):
        matrix = np.zeros((count, size))
        for o in range(count):
            begin, end = o * size // count, -(-(o + 1) * size // count)
            matrix[o, begin:end] = 1 / (end - begin)
        matrices.append(matrix)
    return matrices


def apply_weights(x, matrices):
    """Each spatial axis of x times its matrix."""
    y = np.asarray(x, np.float64)
    for axis, matrix in enumerate(matrices, start=2):
        y = np.moveaxis(np.tensordot(matrix, y, axes=(1, axis)), 0, axis)
    return y


def adaptive_max_pool(x, output_size):
    x = np.asarray(x, np.float64)
    y = np.zeros(x.shape[:2] + tuple(output_size))
    indices = np.zeros(y.shape, np.int64)
    for n, c, *out in np.ndindex(y.shape):
        ranges = [
            range(o * size // count, -(-(o + 1) * size // count))
            for o, size, count in zip(out, x.shape[2:], output_size, strict=True)
        ]
        best = None
        for at in itertools.product(*ranges):
            value = x[(n, c, *at)]
            if best is None or (not np.isnan(best) and (value > best or np.isnan(value))):
                best = value
                indices[(n, c, *out)] = np.ravel_multi_index(at, x.shape[2:])
        y[(n, c, *out)] = best
    return y, indices


def max_unpool(x, indices, spatial):
    y = np.zeros((*x.shape[:2], int(np.prod(spatial))))
    for at in np.ndindex(x.shape):
        if indices[at] >= 0:
            y[at[0], at[1], indices[at]] = x[at]
    return y.reshape(x.shape[:2] + tuple(spatial))


def max_unpool_backward(dy, indices):
    flat = dy.reshape(*dy.shape[:2], int(np.prod(dy.shape[2:])))
    dx = np.zeros(indices.shape)
    for at in np.ndindex(indices.shape):
        if indices[at] >= 0:
            dx[at] = flat[at[0], at[1], indices[at]]
    return dx
