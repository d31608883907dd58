"""Reading images at any places as sums over neighbors, in float64, from the formulas."""

import itertools

import numpy as np


def places_of_grid(shape, grid, align_corners):
    """Coordinates along each axis of x, (rank, N, outputs), and what multiplies the grid."""
    sizes = np.array(shape[2:], np.float64)
    scale = (sizes - 1) / 2 if align_corners else sizes / 2
    flat = np.asarray(grid, np.float64).reshape(
        grid.shape[0], np.prod(grid.shape[1:-1], dtype=int), grid.shape[-1]
    )
    at = [flat[..., -1 - axis] * scale[axis] + (sizes[axis] - 1) / 2 for axis in range(len(sizes))]
    return np.stack(at), scale


def spline_weights(size, points, cubic):
    """(size, points): what each element takes of each control point."""
    weights = np.zeros((size, points))
    spans = points - (3 if cubic else 1)
    for o in range(size):
        at = o * spans / (size - 1) if size > 1 else 0.0
        for k in range(points):
            distance = abs(at - (k - 1 if cubic else k))
            if not cubic:
                weights[o, k] = max(0.0, 1 - distance)
            elif distance < 1:
                weights[o, k] = 2 / 3 - distance**2 + distance**3 / 2
            elif distance < 2:
                weights[o, k] = (2 - distance) ** 3 / 6
    return weights


def places_of_map(size, matrix, displacement, cubic):
    """Coordinates along each axis of x, (rank, N, outputs)."""
    rank = len(size)
    indices = np.indices(size).reshape(rank, -1)
    at = np.einsum("nij,jo->ino", matrix[:, :, :rank], indices) + matrix[:, :, rank].T[:, :, None]
    if displacement is not None:
        field = np.asarray(displacement, np.float64)
        for axis in range(rank):
            weights = spline_weights(size[axis], field.shape[2 + axis], cubic)
            field = np.moveaxis(np.tensordot(field, weights, (2 + axis, 1)), -1, 2 + axis)
        at = at + np.moveaxis(field.reshape(*field.shape[:2], -1), 1, 0)
    return at


def _inside(t, size, padding, at_centers):
    """(t where elements are, its derivative)."""
    sign = np.ones_like(t)
    if padding == "wrap":
        return np.mod(t, size), sign
    if padding == "reflection":
        low, span = (0, size - 1) if at_centers else (-0.5, size)
        if span == 0:
            return np.zeros_like(t), np.zeros_like(t)
        around = np.mod(t - low, 2 * span)
        sign = np.where(around < span, 1.0, -1.0)
        t = np.where(around < span, around, 2 * span - around) + low
    if padding in ("reflection", "border"):
        sign = np.where((t > 0) & (t < size - 1), sign, 0.0)
        t = np.clip(t, 0, size - 1)
    return t, sign


def matrix_and_slopes(shape, at, mode, padding, at_centers=False, ties_up=False):
    """Weights (N, outputs, elements), and [axis] their slopes along t."""
    rank, samples, outputs = at.shape
    sizes = shape[2:]
    count = int(np.prod(sizes))
    weights = np.zeros((samples, outputs, count))
    slopes = np.zeros((rank, samples, outputs, count))
    linear = mode != "nearest"
    ends = []
    for axis, size in enumerate(sizes):
        t, sign = _inside(at[axis], size, padding, at_centers)
        if linear:
            first = np.floor(t)
            options = [(first, 1 - (t - first), -sign), (first + 1, t - first, sign)]
        else:
            nearest = np.floor(t + 0.5) if ties_up else np.rint(t)
            options = [(nearest, np.ones_like(t), np.zeros_like(t))]
        if padding == "wrap":
            options = [(np.mod(i, size), w, s) for i, w, s in options]
        ends.append(
            [
                (
                    np.clip(i, 0, size - 1).astype(int),
                    np.where((i >= 0) & (i < size), w, 0.0),
                    s * ((i >= 0) & (i < size)),
                )
                for i, w, s in options
            ]
        )
    n, o = np.indices((samples, outputs))
    for chosen in itertools.product(*ends):
        flat = np.ravel_multi_index([index for index, _, _ in chosen], sizes)
        np.add.at(weights, (n, o, flat), np.prod([w for _, w, _ in chosen], axis=0))
        for axis in range(rank):
            parts = [s if a == axis else w for a, (_, w, s) in enumerate(chosen)]
            np.add.at(slopes[axis], (n, o, flat), np.prod(parts, axis=0))
    return weights, slopes


def _flat(x):
    return np.asarray(x, np.float64).reshape(*x.shape[:2], np.prod(x.shape[2:], dtype=int))


def sample(x, weights, value, size):
    """y from the weights; what they lack of 1 is that of `value`."""
    flat = _flat(x)
    y = np.einsum("nci,noi->nco", flat, weights) + value * (1 - weights.sum(-1))[:, None]
    return y.reshape(*x.shape[:2], *size)


def backward_input(dy, weights, shape):
    flat = _flat(dy)
    return np.einsum("nco,noi->nci", flat, weights).reshape(shape)


def backward_grid(dy, x, slopes, scale, value, shape):
    dy, x = _flat(dy), _flat(x)
    parts = []
    for axis in reversed(range(len(scale))):
        slope = np.einsum("nci,noi->nco", x, slopes[axis]) - value * slopes[axis].sum(-1)[:, None]
        parts.append((dy * slope).sum(1) * scale[axis])
    return np.stack(parts, -1).reshape(shape)
