"""Normalization in float64: one function over explicit axes; its gradient from the chain rule.

Besides each result a scale is given, the sum of the magnitudes of the terms it is made of, to which rounding
errors are compared.
"""

import numpy as np


def statistics(x, axes, eps):
    x = np.asarray(x, np.float64)
    mean = x.mean(axes, keepdims=True)
    var = np.mean((x - mean) ** 2, axes, keepdims=True)
    return mean, 1 / np.sqrt(var + eps)


def normalize(x, mean, rstd, weight, bias):
    """weight and bias broadcast against x."""
    xhat = (np.asarray(x, np.float64) - mean) * rstd
    return xhat * weight + bias, np.abs(xhat * weight) + np.abs(bias) + np.abs(weight)


def gradients(dy, x, mean, rstd, weight, axes, parameter_axes, constant_statistics=False):
    """dx, dweight, dbias with their scales. `axes` are those of the statistics, `parameter_axes` those along
    which weight is constant."""
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    xhat = (x - mean) * rstd
    g = dy * weight

    def average(v):
        return v.mean(axes, keepdims=True)

    if constant_statistics:
        dx, dx_scale = rstd * g, rstd * np.abs(g)
    else:
        dx = rstd * (g - average(g) - xhat * average(g * xhat))
        dx_scale = rstd * (np.abs(g) + average(np.abs(g)) + np.abs(xhat) * average(np.abs(g * xhat)))
    return (
        (dx, dx_scale),
        (np.sum(dy * xhat, parameter_axes), np.sum(np.abs(dy) * (np.abs(xhat) + 1), parameter_axes)),
        (np.sum(dy, parameter_axes), np.sum(np.abs(dy), parameter_axes)),
    )
