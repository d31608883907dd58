"""Resizing as one matrix per axis, in float64, from the coordinates."""

import math

import numpy as np


def output_size(shape, size, scale_factor):
    if size is not None:
        return list(size)
    return [math.floor(s * f) for s, f in zip(shape[2:], scale_factor, strict=True)]


def axis_matrix(size, count, scale_factor, linear, align_corners):
    """(outputs, inputs): the weight each output gives to each input."""
    matrix = np.zeros((count, size))
    ratio = size / count if scale_factor is None else 1 / scale_factor
    if size == count:
        ratio = 1.0
    for o in range(count):
        if not linear:
            # float32, as in the field: rounding decides which element is taken.
            matrix[o, min(int(np.floor(np.float32(o) * np.float32(ratio))), size - 1)] = 1
            continue
        if align_corners:
            at = o * (size - 1) / (count - 1) if count > 1 else 0.0
        else:
            at = max((o + 0.5) * ratio - 0.5, 0.0)
        first = min(int(at), size - 1)
        second = min(first + 1, size - 1)
        matrix[o, first] += 1 - (at - first)
        matrix[o, second] += at - first
    return matrix


def matrices(shape, size, scale_factor, linear, align_corners):
    counts = output_size(shape, size, scale_factor)
    factors = [None] * len(counts) if scale_factor is None else scale_factor
    return [
        axis_matrix(s, count, f, linear, align_corners)
        for s, count, f in zip(shape[2:], counts, factors, strict=True)
    ]


def apply_matrices(x, axis_matrices):
    y = np.asarray(x, np.float64)
    for axis, matrix in enumerate(axis_matrices, start=2):
        y = np.moveaxis(np.tensordot(matrix, y, axes=(1, axis)), 0, axis)
    return y
