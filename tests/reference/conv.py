"""Convolution in float64, tap by tap, from the formula.

Every option is a list with an entry per axis; padding has (before, after) pairs.
"""

import numpy as np


def output_size(size, kernel, stride, padding, dilation):
    return [
        (n + before + after - d * (k - 1) - 1) // s + 1
        for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True)
    ]


def _meetings(input_size, output, kernel, stride, padding, dilation, groups, inputs, outputs):
    """For each tap and group: index of x, index of y and of the weight, where they meet."""
    for tap in np.ndindex(*kernel):
        at_x, at_y = [], []
        for t, n, m, s, (before, _), d in zip(
            tap, input_size, output, stride, padding, dilation, strict=True
        ):
            o = np.arange(m)
            q = o * s - before + t * d
            inside = (q >= 0) & (q < n)
            at_x.append(q[inside])
            at_y.append(o[inside])
        for g in range(groups):
            c = np.arange(g * inputs, (g + 1) * inputs)
            o = np.arange(g * outputs, (g + 1) * outputs)
            yield (c, at_x), (o, at_y), (slice(g * outputs, (g + 1) * outputs), slice(None), *tap)


def _ix(x, channels, at):
    return np.ix_(np.arange(x.shape[0]), channels, *at)


def _all(x, y, w, stride, padding, dilation, groups):
    return _meetings(
        x.shape[2:],
        y.shape[2:],
        w.shape[2:],
        stride,
        padding,
        dilation,
        groups,
        w.shape[1],
        w.shape[0] // groups,
    )


def conv(x, w, bias, stride, padding, dilation, groups):
    x, w = np.asarray(x, np.float64), np.asarray(w, np.float64)
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    y = np.zeros((x.shape[0], w.shape[0], *size))
    for (c, at_x), (o, at_y), at_w in _all(x, y, w, stride, padding, dilation, groups):
        y[_ix(y, o, at_y)] += np.einsum("nc...,oc->no...", x[_ix(x, c, at_x)], w[at_w])
    return y if bias is None else y + np.reshape(bias, (1, -1) + (1,) * len(size))


def conv_backward_input(dy, w, input_shape, stride, padding, dilation, groups):
    dy, w = np.asarray(dy, np.float64), np.asarray(w, np.float64)
    dx = np.zeros(input_shape)
    for (c, at_x), (o, at_y), at_w in _all(dx, dy, w, stride, padding, dilation, groups):
        dx[_ix(dx, c, at_x)] += np.einsum("no...,oc->nc...", dy[_ix(dy, o, at_y)], w[at_w])
    return dx


def conv_backward_weight(dy, x, weight_shape, stride, padding, dilation, groups):
    dy, x = np.asarray(dy, np.float64), np.asarray(x, np.float64)
    dw = np.zeros(weight_shape)
    for (c, at_x), (o, at_y), at_w in _all(x, dy, dw, stride, padding, dilation, groups):
        left, right = dy[_ix(dy, o, at_y)], x[_ix(x, c, at_x)]
        axes = [0, *range(2, x.ndim)]
        dw[at_w] += np.tensordot(left, right, (axes, axes))
    return dw


def conv_transpose(x, w, bias, stride, padding, output_padding, groups, dilation):
    size = [
        (n - 1) * s - before - after + d * (k - 1) + extra + 1
        for n, k, s, (before, after), d, extra in zip(
            np.shape(x)[2:], w.shape[2:], stride, padding, dilation, output_padding, strict=True
        )
    ]
    shape = (np.shape(x)[0], w.shape[1] * groups, *size)
    y = conv_backward_input(x, w, shape, stride, padding, dilation, groups)
    return y if bias is None else y + np.reshape(bias, (1, -1) + (1,) * len(size))
