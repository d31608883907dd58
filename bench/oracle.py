"""The oracle: float64 NumPy from the formulas, fast enough for real sizes.

Convolutions go tap by tap, each a matrix product over channels; images are (N, C, spatial...).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

Array = np.ndarray


def _wide(x: Array) -> Array:
    return np.asarray(x, np.float64)


def _last(x: Array) -> Array:
    """Channels last, in memory too."""
    return np.ascontiguousarray(np.moveaxis(_wide(x), 1, -1))


def _first(x: Array) -> Array:
    return np.moveaxis(x, -1, 1)


def output_size(
    size: Sequence[int], kernel: Sequence[int], stride: int, padding: int, dilation: int
) -> list[int]:
    """Spatial size of a convolution's result."""
    return [
        (n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(size, kernel, strict=True)
    ]


def _taps(
    kernel: Sequence[int], output: Sequence[int], stride: int, dilation: int
) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
    """Each tap, and where in the padded, channels-last image it meets the outputs."""
    for tap in np.ndindex(*kernel):
        at = [
            slice(t * dilation, t * dilation + stride * (m - 1) + 1, stride)
            for t, m in zip(tap, output, strict=True)
        ]
        yield tap, (slice(None), *at, slice(None))


def _padded(x: Array, padding: int) -> Array:
    """Channels last, with zeros around."""
    return np.pad(_last(x), [(0, 0), *[(padding, padding)] * (x.ndim - 2), (0, 0)])


def conv(
    x: Array, w: Array, bias: Array | None, stride: int, padding: int, dilation: int, groups: int
) -> Array:
    """y[n, o, i] = bias[o] + sum over c, p of x[n, c, s i - pad + d p] w[o, c, p]."""
    size = output_size(x.shape[2:], w.shape[2:], stride, padding, dilation)
    image, w = _padded(x, padding), _wide(w)
    y = np.zeros((x.shape[0], *size, w.shape[0]))
    for tap, at in _taps(w.shape[2:], size, stride, dilation):
        window, w_tap = image[at], w[(slice(None), slice(None), *tap)]
        if groups == 1:
            y += (np.ascontiguousarray(window).reshape(-1, w.shape[1]) @ w_tap.T).reshape(y.shape)
        else:
            split = window.reshape(*window.shape[:-1], groups, -1)
            y += np.einsum("...gc,goc->...go", split, w_tap.reshape(groups, -1, w.shape[1])).reshape(y.shape)
    return _first(y if bias is None else y + bias)


def conv_backward_input(
    dy: Array, w: Array, shape: Sequence[int], stride: int, padding: int, dilation: int, groups: int
) -> Array:
    """dx[n, c, s i - pad + d p] += dy[n, o, i] w[o, c, p]: also what a transposed convolution is."""
    dy, w = _last(dy), _wide(w)
    # A window may end short of the padded image's end, where dx stays 0.
    dx = np.zeros((shape[0], *(n + 2 * padding for n in shape[2:]), shape[1]))
    for tap, at in _taps(w.shape[2:], dy.shape[1:-1], stride, dilation):
        w_tap = w[(slice(None), slice(None), *tap)]
        if groups == 1:
            dx[at] += (dy.reshape(-1, w.shape[0]) @ w_tap).reshape(*dy.shape[:-1], shape[1])
        else:
            split = dy.reshape(*dy.shape[:-1], groups, -1)
            part = np.einsum("...go,goc->...gc", split, w_tap.reshape(groups, -1, w.shape[1]))
            dx[at] += part.reshape(*dy.shape[:-1], shape[1])
    inside = tuple(slice(padding, padding + n) for n in shape[2:])
    return _first(dx[(slice(None), *inside)])


def conv_backward_weight(
    dy: Array, x: Array, shape: Sequence[int], stride: int, padding: int, dilation: int, groups: int
) -> Array:
    """dw[o, c, p] = sum over n, i of dy[n, o, i] x[n, c, s i - pad + d p]."""
    dy, image = _last(dy), _padded(x, padding)
    dw = np.zeros(shape)
    for tap, at in _taps(shape[2:], dy.shape[1:-1], stride, dilation):
        window = image[at]
        if groups == 1:
            rows = np.ascontiguousarray(window).reshape(-1, shape[1])
            part = dy.reshape(-1, shape[0]).T @ rows
        else:
            left, right = dy.reshape(-1, groups, shape[0] // groups), window.reshape(-1, groups, shape[1])
            part = np.einsum("mgo,mgc->goc", left, right).reshape(shape[0], shape[1])
        dw[(slice(None), slice(None), *tap)] = part
    return dw


def conv_transpose(
    x: Array, w: Array, bias: Array | None, stride: int, padding: int, groups: int = 1, dilation: int = 1
) -> Array:
    """y[n, o, s i - pad + d p] += x[n, c, i] w[c, o, p]."""
    size = [
        (n - 1) * stride - 2 * padding + dilation * (k - 1) + 1
        for n, k in zip(x.shape[2:], w.shape[2:], strict=True)
    ]
    shape = (x.shape[0], w.shape[1] * groups, *size)
    y = conv_backward_input(x, w, shape, stride, padding, dilation, groups)
    return y if bias is None else y + _wide(bias).reshape(-1, *[1] * len(size))


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def step(cell: str, x: Array, h: Array, c: Array, weights: Sequence[Array]) -> tuple[Array, Array, tuple]:
    """The next h and c of a batch, and the gates; formulas as in PyTorch."""
    w_ih, w_hh, b_ih, b_hh = weights
    a, b = x @ w_ih.T + b_ih, h @ w_hh.T + b_hh
    if cell == "lstm":
        i, f, g, o = np.split(a + b, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        c = f * c + i * g
        return o * np.tanh(c), c, (i, f, g, o)
    (a_r, a_z, a_n), (b_r, b_z, b_n) = np.split(a, 3, axis=1), np.split(b, 3, axis=1)
    r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
    n = np.tanh(a_n + r * b_n)
    return (1 - z) * n + z * h, c, (r, z, n, b_n)


def recurrent(
    cell: str, x: Array, weights: Sequence[Array], dy: Array | None
) -> tuple[Array, Array, tuple[Array, ...]]:
    """One direction of a layer over (N, T, I) from zero states: y, dx and the gradients of the weights."""
    x, wide = _wide(x), [_wide(w) for w in weights]
    w_ih, w_hh = wide[:2]
    batch, steps, _ = x.shape
    h = c = np.zeros((batch, w_hh.shape[1]))
    y, before = np.empty((batch, steps, w_hh.shape[1])), []
    for t in range(steps):
        h_next, c_next, gates = step(cell, x[:, t], h, c, wide)
        before.append((h, c, c_next, gates))
        y[:, t], h, c = h_next, h_next, c_next
    if dy is None:
        return y, np.empty(0), ()
    dx = np.empty(x.shape)
    dw_ih, dw_hh, db_ih, db_hh = (np.zeros(w.shape) for w in wide)
    dh_next = dc = np.zeros(h.shape)
    for t in reversed(range(steps)):
        h, c, c_next, gates = before[t]
        dh = _wide(dy[:, t]) + dh_next
        if cell == "lstm":
            i, f, g, o = gates
            dc = dc + dh * o * (1 - np.tanh(c_next) ** 2)
            do = dh * np.tanh(c_next) * o * (1 - o)
            da = np.concatenate([dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), do], 1)
            db, dh_next, dc = da, 0, dc * f
        else:
            r, z, n, b_n = gates
            dn = dh * (1 - z) * (1 - n**2)
            dr, dz = dn * b_n * r * (1 - r), dh * (h - n) * z * (1 - z)
            da, db = np.concatenate([dr, dz, dn], 1), np.concatenate([dr, dz, dn * r], 1)
            dh_next = dh * z
        dx[:, t] = da @ w_ih
        dh_next = dh_next + db @ w_hh
        dw_ih += da.T @ x[:, t]
        dw_hh += db.T @ h
        db_ih += da.sum(0)
        db_hh += db.sum(0)
    return y, dx, (dw_ih, dw_hh, db_ih, db_hh)
