"""Initialisers. Each overwrites a tensor in place, outside of any gradient, and gives it back.

Random numbers come from `medkern.random`: after `manual_seed` the values are the same on every
machine, with any number of threads.

Fans: a weight (out, in, kernel...) has fan_in = in * prod(kernel) and fan_out = out * prod(kernel).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from medkern import _C, random
from medkern.tensor import Tensor


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Every element becomes `value`."""
    if tensor.is_cuda:
        _C.fill(tensor.array, value)
        tensor._version += 1
        return tensor
    return tensor.copy_(np.broadcast_to(value, tensor.shape))


def zeros_(tensor: Tensor) -> Tensor:
    """Every element becomes 0."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element becomes 1."""
    return constant_(tensor, 1)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Uniform in [a, b).

    Args:
        tensor: a float tensor.
        a: the lower end.
        b: the upper end.

    Returns:
        The tensor.

    Raises:
        ValueError: a > b.
    """
    if a > b:
        raise ValueError(f"uniform_: a must not exceed b, got {a} and {b}")
    return tensor.copy_(random.uniform(tensor.shape, a, b, tensor.dtype, tensor.device))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Normal with this mean and standard deviation.

    Args:
        tensor: a float tensor.
        mean: the mean.
        std: the standard deviation.

    Returns:
        The tensor.

    Raises:
        ValueError: std is negative.
    """
    if std < 0:
        raise ValueError(f"normal_: std must not be negative, got {std}")
    return tensor.copy_(random.normal(tensor.shape, mean, std, tensor.dtype, tensor.device))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor that keeps the variance of activations through a nonlinearity.

    Args:
        nonlinearity: "linear", "conv", "sigmoid" (1), "tanh" (5/3), "relu" (sqrt 2) or
            "leaky_relu" (sqrt(2 / (1 + slope^2))).
        param: the slope of leaky_relu, 0.01 if None.

    Returns:
        The gain.

    Raises:
        ValueError: the name is none of these.
    """
    slope = 0.01 if param is None else param
    gains = {
        "linear": 1.0,
        "conv": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + slope**2)),
    }
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: nonlinearity must be one of {list(gains)}, got {nonlinearity!r}")
    return gains[nonlinearity]


def _fans(op: str, tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ValueError(f"{op}: tensor must have at least 2 dimensions, got {tensor.shape}")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Uniform in +-gain sqrt(6 / (fan_in + fan_out)); Glorot and Bengio, 2010."""
    bound = gain * math.sqrt(6 / max(sum(_fans("xavier_uniform_", tensor)), 1))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out)); Glorot and Bengio, 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / max(sum(_fans("xavier_normal_", tensor)), 1)))


def _kaiming_std(op: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    fan_in, fan_out = _fans(op, tensor)
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{op}: mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = fan_in if mode == "fan_in" else fan_out
    return calculate_gain(nonlinearity, a) / math.sqrt(max(fan, 1))


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Uniform in +-gain sqrt(3 / fan); He et al., 2015.

    Args:
        tensor: a weight.
        a: the slope of leaky_relu.
        mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
        nonlinearity: what follows; see `calculate_gain`.

    Returns:
        The tensor.

    Raises:
        ValueError: a name is unknown or the tensor has fewer than two axes.
    """
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu"
) -> Tensor:
    """Normal with standard deviation gain / sqrt(fan); the arguments of `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity))


def orthogonal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """A random (semi-)orthogonal matrix times gain, axes after the first taken together; Saxe et al., 2013.

    Args:
        tensor: a weight with at least two axes.
        gain: the factor.

    Returns:
        The tensor.

    Raises:
        ValueError: the tensor has fewer than two axes.
    """
    if tensor.ndim < 2:
        raise ValueError(f"orthogonal_: tensor must have at least 2 dimensions, got {tensor.shape}")
    rows = tensor.shape[0]
    columns = math.prod(tensor.shape[1:])
    noise: Any = np.asarray(random.normal((max(rows, columns), min(rows, columns)), dtype="float64"))
    q, r = np.linalg.qr(noise)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)  # the sign makes the distribution uniform
    return tensor.copy_(gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def fan_in_uniform_(weight: Tensor, bias: Tensor | None) -> None:
    """How linear and convolution layers start: both uniform in +-1 / sqrt(fan_in of the weight).

    Args:
        weight: a weight with at least two axes.
        bias: its bias, or None.
    """
    kaiming_uniform_(weight, a=math.sqrt(5))
    if bias is not None:
        bound = 1 / math.sqrt(max(_fans("fan_in_uniform_", weight)[0], 1))
        uniform_(bias, -bound, bound)
