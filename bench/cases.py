"""The cases: layers of real networks at their real sizes.

unet64 is the classic 2-D U-Net (64 filters at the top, 256 x 256), unet3d its 3-D kin (32 filters, 64^3).
To add a case, write a function that makes it ready and a line in CASES.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from medkern.bench.harness import Case, Work

from medkern import kernels


def _normal(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _channels_last(x: np.ndarray) -> np.ndarray:
    """The same array with channels varying fastest in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)


def max_pool(rng: np.random.Generator, shape: tuple[int, ...], channels_last: bool = False) -> Work:
    """2 x 2 (x 2) max pooling with stride 2."""
    x = _normal(rng, *shape)
    spatial = range(2, len(shape))
    blocks = x.reshape(*shape[:2], *(n for axis in spatial for n in (shape[axis] // 2, 2)))
    expected = blocks.max(axis=tuple(range(3, blocks.ndim, 2)))
    pool = {1: kernels.max_pool1d, 2: kernels.max_pool2d, 3: kernels.max_pool3d}[len(spatial)]
    x = _channels_last(x) if channels_last else x
    return Work(lambda: pool(x, 2), lambda: expected, 0, x.nbytes + expected.nbytes, 0.0)


def conv(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    filters: int,
    channels_last: bool = True,
    direction: str = "forward",
) -> Work:
    """A 3 x 3 (x 3) convolution that keeps the size, or one of its gradients."""
    spatial = len(shape) - 2
    taps = list(np.ndindex((3,) * spatial))
    x, weight = _normal(rng, *shape), _normal(rng, filters, shape[1], *(3,) * spatial)
    dy = _normal(rng, shape[0], filters, *shape[2:])

    def shifted(array: np.ndarray, tap: tuple[int, ...]) -> np.ndarray:
        """array[n, c, at + tap - 1], 0 outside, as a (pixels, channels) matrix in float64."""
        padded = np.pad(array.astype(np.float64), [(0, 0), (0, 0), *[(1, 1)] * spatial])
        window = (slice(None), slice(None), *(slice(t, t + n) for t, n in zip(tap, shape[2:], strict=True)))
        return np.moveaxis(padded[window], 1, -1).reshape(-1, array.shape[1])

    def as_image(matrix: np.ndarray) -> np.ndarray:
        return np.moveaxis(matrix.reshape(shape[0], *shape[2:], -1), -1, 1)

    def expected() -> np.ndarray:
        w = weight.astype(np.float64)
        if direction == "forward":
            return as_image(sum(shifted(x, tap) @ w[(..., *tap)].T for tap in taps))
        if direction == "backward_input":
            flipped = [tuple(2 - t for t in tap) for tap in taps]
            return as_image(
                sum(shifted(dy, f) @ w[(..., *tap)] for tap, f in zip(taps, flipped, strict=True))
            )
        rows = shifted(dy, (1,) * spatial).T
        return np.stack([rows @ shifted(x, tap) for tap in taps], -1).reshape(weight.shape)

    form = _channels_last if channels_last else np.ascontiguousarray
    x_in, dy_in = form(x), form(dy)
    call = {
        "forward": lambda: _CONV[spatial](x_in, weight, padding=1),
        "backward_input": lambda: kernels.conv_backward_input(dy_in, weight, shape, padding=1),
        "backward_weight": lambda: kernels.conv_backward_weight(dy_in, x_in, weight.shape, padding=1),
    }[direction]
    return Work(call, expected, 2 * weight.size * dy.size // filters, x.nbytes + dy.nbytes, 2e-5)


def gemm(rng: np.random.Generator, m: int, n: int, k: int) -> Work:
    """A (m, k) times b (k, n)."""
    a, b = _normal(rng, m, k), _normal(rng, k, n)
    size = 4 * (a.size + b.size + m * n)
    return Work(
        lambda: kernels.gemm(a, b), lambda: a.astype(float) @ b.astype(float), 2 * m * n * k, size, 2e-5
    )


def linear(rng: np.random.Generator, batch: int, inputs: int, outputs: int) -> Work:
    """A fully connected layer with bias and ReLU."""
    x, weight, bias = _normal(rng, batch, inputs), _normal(rng, outputs, inputs), _normal(rng, outputs)
    return Work(
        lambda: kernels.linear(x, weight, bias, activation="relu"),
        lambda: np.maximum(x.astype(float) @ weight.astype(float).T + bias, 0),
        2 * batch * inputs * outputs,
        4 * (x.size + weight.size + batch * outputs),
        2e-5,
    )


def instance_norm(rng: np.random.Generator, shape: tuple[int, ...]) -> Work:
    """Instance normalization of a channels-last array; x is read twice where it doesn't fit the cache."""
    x = _normal(rng, *shape)

    def expected() -> np.ndarray:
        axes = tuple(range(2, x.ndim))
        centered = x - x.mean(axis=axes, keepdims=True, dtype=np.float64)
        return centered / np.sqrt((centered**2).mean(axis=axes, keepdims=True) + 1e-5)

    x_in = _channels_last(x)
    return Work(lambda: kernels.instance_norm(x_in), expected, 0, 3 * x.nbytes, 2e-5)


def lstm(rng: np.random.Generator, steps: int, batch: int, size: int) -> Work:
    """One layer, one direction, over whole sequences."""
    x = _normal(rng, batch, steps, size)
    scale = size**-0.5
    w_ih, w_hh = scale * _normal(rng, 4 * size, size), scale * _normal(rng, 4 * size, size)
    bias = _normal(rng, 4 * size)

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    def expected() -> np.ndarray:
        h = c = np.zeros((batch, size))
        y = np.empty((batch, steps, size))
        for t in range(steps):
            gates = x[:, t].astype(float) @ w_ih.T.astype(float) + h @ w_hh.T.astype(float) + bias
            i, f, g, o = np.split(gates, 4, axis=1)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            y[:, t] = h
        return y

    flops = 2 * steps * batch * 8 * size * size
    zero = np.zeros_like(bias)
    return Work(
        lambda: kernels.lstm(x, [[w_ih, w_hh, bias, zero]])[0],
        expected,
        flops,
        4 * (2 * x.size + w_ih.size + steps * w_hh.size),
        2e-5,
    )


_CONV = {2: kernels.conv2d, 3: kernels.conv3d}


def _case(name: str, family: str, make: Callable[..., Work], **sizes: Any) -> Case:
    return Case(name, family, lambda rng: make(rng, **sizes))


_TOP = (1, 64, 256, 256)

CASES = [
    _case("unet64_enc1", "conv", conv, shape=_TOP, filters=64),
    _case("unet64_enc1_contiguous", "conv", conv, shape=_TOP, filters=64, channels_last=False),
    _case("unet64_enc1_backward_input", "conv", conv, shape=_TOP, filters=64, direction="backward_input"),
    _case("unet64_enc1_backward_weight", "conv", conv, shape=_TOP, filters=64, direction="backward_weight"),
    _case("unet64_enc3", "conv", conv, shape=(1, 256, 64, 64), filters=256),
    _case("unet64_first", "conv", conv, shape=(1, 1, 256, 256), filters=64),
    _case("unet3d_enc2", "conv", conv, shape=(1, 64, 32, 32, 32), filters=64),
    _case("gemm_1024", "gemm", gemm, m=1024, n=1024, k=1024),
    _case("classifier_head", "gemm", linear, batch=32, inputs=2048, outputs=1000),
    _case("unet64_norm1", "norm", instance_norm, shape=_TOP),
    _case("unet64_pool1", "pool", max_pool, shape=_TOP),
    _case("unet64_pool1_channels_last", "pool", max_pool, shape=_TOP, channels_last=True),
    _case("unet3d_pool1", "pool", max_pool, shape=(1, 32, 64, 64, 64), channels_last=True),
    _case("report_lstm", "recurrent", lstm, steps=64, batch=16, size=512),
]
