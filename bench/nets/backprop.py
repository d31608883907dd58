"""The oracle of networks: forward and backward in float64 NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import oracle
from ..case import Arrays
from .net import LSTM_NAMES, Layer, Net

_EPS = 1e-5
Array = np.ndarray


class Tape:
    """A forward pass, with what its backward pass needs.

    Args:
        net: the network.
        parameters: by name.
        x: the input.
        training: whether batch norm uses the statistics of the batch.

    Attributes:
        y: the result.
    """

    def __init__(self, net: Net, parameters: Arrays, x: Array, training: bool) -> None:
        self._net, self._training = net, training
        self._parameters = {name: value.astype(np.float64) for name, value in parameters.items()}
        self._values = [x if x.dtype.kind == "i" else x.astype(np.float64)]
        last = {i: n for n, layer in enumerate(net.layers) for i in layer.inputs}
        for n, layer in enumerate(net.layers):
            inputs = [self._values[i] for i in layer.inputs]
            self._values.append(forward(layer, self._of(layer), inputs, training))
            if not training:  # nothing will be asked for again
                for i in layer.inputs:
                    if last[i] == n:
                        self._values[i] = np.empty(0)
        self.y = self._values[-1]

    def _of(self, layer: Layer) -> Arrays:
        return {name: self._parameters[f"{layer.name}.{name}"] for name in self._net.shapes(layer)}

    def backward(self, dy: Array) -> tuple[Array, Arrays]:
        """The gradients of the input and, by name, of all parameters."""
        gradients: dict[int, Any] = {len(self._net.layers): dy}
        found: Arrays = {}
        for n in range(len(self._net.layers), 0, -1):
            layer = self._net.layers[n - 1]
            inputs = [self._values[i] for i in layer.inputs]
            parts, own = backward(layer, self._of(layer), inputs, self._values[n], gradients.pop(n))
            found.update({f"{layer.name}.{name}": value for name, value in own.items()})
            for i, part in zip(layer.inputs, parts, strict=True):
                gradients[i] = gradients[i] + part if i in gradients else part
        return gradients[0], found


def _window(layer: Layer) -> tuple[int, int, int, int]:
    """Stride, padding, dilation and groups."""
    return layer.options.get("stride", 1), layer.options.get("padding", 0), 1, 1


def forward(layer: Layer, p: Arrays, x: list[Array], training: bool) -> Array:
    """The result of a layer."""
    kind, o = layer.kind, layer.options
    if kind == "conv":
        return oracle.conv(x[0], p["weight"], p.get("bias"), *_window(layer))
    if kind == "conv_transpose":
        stride, padding, _, _ = _window(layer)
        return oracle.conv_transpose(x[0], p["weight"], p.get("bias"), stride, padding)
    if kind == "batch_norm":
        normed, _ = _normed(x[0], p, training)
        return normed * _wide(p["weight"], x[0]) + _wide(p["bias"], x[0])
    if kind == "linear":
        return x[0] @ p["weight"].T + p["bias"]
    if kind == "embedding":
        return p["weight"][x[0]]
    if kind == "lstm":
        return oracle.recurrent("lstm", x[0], [p[name] for name in LSTM_NAMES], None)[0]
    if kind == "max_pool":
        return np.max([window for _, window in _windows(layer, x[0], -np.inf)], axis=0)
    if kind == "global_average":
        return x[0].mean(tuple(range(2, x[0].ndim)))
    return {
        "relu": lambda: np.maximum(x[0], 0),
        "leaky_relu": lambda: np.where(x[0] > 0, x[0], o["slope"] * x[0]),
        "sigmoid": lambda: oracle.sigmoid(x[0]),
        "tanh": lambda: np.tanh(x[0]),
        "concat": lambda: np.concatenate(x, 1),
        "add": lambda: x[0] + x[1],
        "flatten": lambda: x[0].reshape(len(x[0]), -1),
        "last": lambda: x[0][:, -1],
    }[kind]()


def backward(layer: Layer, p: Arrays, x: list[Array], y: Array, dy: Array) -> tuple[list[Array], Arrays]:
    """The gradients of a layer's inputs, and of its parameters by name."""
    kind, o = layer.kind, layer.options
    axes = (0, *range(2, dy.ndim))
    if kind in ("conv", "conv_transpose"):
        w, options = p["weight"], _window(layer)
        if kind == "conv":
            dx = oracle.conv_backward_input(dy, w, x[0].shape, *options)
            own = {"weight": oracle.conv_backward_weight(dy, x[0], w.shape, *options)}
        else:
            dx = oracle.conv(dy, w, None, *options)
            own = {"weight": oracle.conv_backward_weight(x[0], dy, w.shape, *options)}
        return [dx], {**own, "bias": dy.sum(axes)} if "bias" in p else own
    if kind == "batch_norm":
        normed, rstd = _normed(x[0], p, True)
        g = dy * _wide(p["weight"], dy)
        centered = g - g.mean(axes, keepdims=True) - normed * (g * normed).mean(axes, keepdims=True)
        return [rstd * centered], {"weight": (dy * normed).sum(axes), "bias": dy.sum(axes)}
    if kind == "linear":
        return [dy @ p["weight"]], {"weight": dy.T @ x[0], "bias": dy.sum(0)}
    if kind == "embedding":
        table = np.zeros(p["weight"].shape)
        np.add.at(table, x[0], dy)
        return [np.zeros(())], {"weight": table}
    if kind == "lstm":
        _, dx, own_parts = oracle.recurrent("lstm", x[0], [p[name] for name in LSTM_NAMES], dy)
        return [dx], dict(zip(LSTM_NAMES, own_parts, strict=True))
    if kind == "max_pool":
        return [_unpool(layer, x[0], y, dy)], {}
    if kind == "concat":
        return np.split(dy, np.cumsum([part.shape[1] for part in x])[:-1], axis=1), {}
    if kind == "add":
        return [dy, dy], {}
    if kind == "last":
        dx = np.zeros(x[0].shape)
        dx[:, -1] = dy
        return [dx], {}
    spatial = x[0].shape[2:]
    return [
        {
            "relu": lambda: np.where(y > 0, dy, 0),
            "leaky_relu": lambda: np.where(x[0] > 0, dy, o["slope"] * dy),
            "sigmoid": lambda: dy * y * (1 - y),
            "tanh": lambda: dy * (1 - y**2),
            "flatten": lambda: dy.reshape(x[0].shape),
            "global_average": lambda: np.broadcast_to(
                dy.reshape(*dy.shape, *[1] * len(spatial)) / np.prod(spatial), x[0].shape
            ),
        }[kind]()
    ], {}


def _wide(v: Array, x: Array) -> Array:
    """A number per channel, to go with x."""
    return v.reshape(-1, *[1] * (x.ndim - 2))


def _normed(x: Array, p: Arrays, training: bool) -> tuple[Array, Array]:
    """X without mean and with variance 1, and 1 / sqrt(var + eps)."""
    if training:
        axes = (0, *range(2, x.ndim))
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    else:
        mean, var = _wide(p["running_mean"], x), _wide(p["running_var"], x)
    rstd = 1 / np.sqrt(var + _EPS)
    return (x - mean) * rstd, rstd


def _windows(layer: Layer, x: Array, around: float) -> Iterator[tuple[tuple[slice, ...], Array]]:
    """For each tap of a pooling window: where it lies in the padded image, and what is there."""
    k, (stride, padding, _, _) = layer.options["kernel"], _window(layer)
    padded = np.pad(x, [(0, 0), (0, 0), *[(padding, padding)] * (x.ndim - 2)], constant_values=around)
    size = oracle.output_size(x.shape[2:], [k] * (x.ndim - 2), stride, padding, 1)
    for tap in np.ndindex(*[k] * len(size)):
        at = (
            slice(None),
            slice(None),
            *(slice(t, t + stride * (m - 1) + 1, stride) for t, m in zip(tap, size, strict=True)),
        )
        yield at, padded[at]


def _unpool(layer: Layer, x: Array, y: Array, dy: Array) -> Array:
    """Each gradient to the first element that equals its window's maximum."""
    padding = _window(layer)[1]
    dx = np.zeros((*x.shape[:2], *(n + 2 * padding for n in x.shape[2:])))
    free = np.ones(y.shape, bool)
    for at, window in _windows(layer, x, -np.inf):
        won = free & (window == y)
        dx[at] += np.where(won, dy, 0)
        free &= ~won
    return dx[(slice(None), slice(None), *(slice(padding, padding + n) for n in x.shape[2:]))]
