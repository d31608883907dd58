"""Normalization kernels.

Every one gives y = (x - mean) / sqrt(var + eps) * weight + bias; they differ in what mean and var run over.
"""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._activation import activation_number
from medkern.kernels._kind import like


def _results(x: Any, results: tuple[_C.Array, ...], return_stats: bool) -> Any:
    if return_stats:
        return tuple(like(x, result) for result in results)
    return like(x, results[0])


def _gradients(dy: Any, results: tuple[_C.Array, ...]) -> tuple[Any, Any, Any]:
    dx, dweight, dbias = results
    return like(dy, dx), like(dy, dweight), like(dy, dbias)


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    return_stats: bool = False,
    *,
    activation: str | None = None,
    out: Any = None,
) -> Any:
    """Batch normalization: y = (x - mean) / sqrt(var + eps) * weight + bias, per channel.

    With `training` mean and var are those of the batch, over N and all positions, and

        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var = (1 - momentum) * running_var + momentum * var * n / (n - 1),   n values per channel

    are updated in place. Without, mean and var are running_mean and running_var. An empty batch leaves them
    alone.

    Args:
        x: (N, C), (N, C, W), (N, C, H, W) or (N, C, D, H, W), float32 or float64 (CUDA: bfloat16).
        running_mean: (C,), dtype of x; with `training` may be None, together with running_var.
        running_var: (C,), dtype of x.
        weight: (C,), dtype of x, float32 beside bfloat16; None means 1.
        bias: (C,), dtype of x; None means 0.
        training: whether to use the statistics of the batch.
        momentum: share of the batch in the running statistics, from 0 to 1.
        eps: added to the variance, above 0.
        return_stats: also give mean and rstd = 1 / sqrt(var + eps), which the gradient needs.
        activation: "relu" makes y max(y, 0), in the same pass; None leaves it.
        out: array for the result.

    Returns:
        y, of the shape and memory format of x; with `return_stats` (y, mean, rstd), both (C,) and float64.

    Raises:
        ValueError: a shape or option doesn't fit, or training on a single value per channel.
        TypeError: x is not float32 or float64, or another array has another dtype.

    Example:
        >>> x = np.array([[1.0, 10.0], [3.0, 30.0]], np.float32)
        >>> medkern.kernels.batch_norm(x, None, None, training=True).round(3)
        array([[-1., -1.],
               [ 1.,  1.]], dtype=float32)
    """
    number = activation_number("batch_norm", activation)
    results = _C.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps, number, out)
    return _results(x, results, return_stats)


def batch_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    weight: Any = None,
    training: bool = True,
    *,
    bias: Any = None,
    activation: str | None = None,
    out: Any = None,
) -> tuple[Any, Any, Any]:
    """The gradients of batch normalization.

        dx = rstd * (g - mean(g) - xhat * mean(g * xhat)),   g = dy * weight,   xhat = (x - mean) * rstd
        dweight = sum(dy * xhat),   dbias = sum(dy)

    Without `training` mean and rstd are constants: dx = rstd * g. With `activation` dy is 0 where y is, which
    is computed anew.

    Args:
        dy: gradient of the result, shape of x.
        x: as in the forward pass.
        mean: (C,), float64, as `batch_norm` gave it.
        rstd: (C,), float64, as `batch_norm` gave it.
        weight: as in the forward pass.
        training: as in the forward pass.
        bias: as in the forward pass; it matters only with `activation`.
        activation: as in the forward pass.
        out: array for dx.

    Returns:
        dx, dweight, dbias; dx has the memory format of x.

    Raises:
        ValueError: a shape doesn't fit.
        TypeError: a dtype doesn't fit.

    Example:
        >>> x = np.array([[1.0], [3.0]])
        >>> y, mean, rstd = medkern.kernels.batch_norm(x, None, None, training=True, return_stats=True)
        >>> dx, dweight, dbias = medkern.kernels.batch_norm_backward(np.ones_like(x), x, mean, rstd)
        >>> dbias
        array([2.])
    """
    number = activation_number("batch_norm_backward", activation)
    return _gradients(dy, _C.batch_norm_backward(dy, x, mean, rstd, weight, bias, training, number, out))


def instance_norm(
    x: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    return_stats: bool = False,
    *,
    activation: str | None = None,
    out: Any = None,
) -> Any:
    """Instance normalization: as `batch_norm`, with a mean and a variance per sample and channel.

    Args:
        x: (N, C, W), (N, C, H, W) or (N, C, D, H, W), float32 or float64, more than one position.
        weight: (C,), dtype of x, float32 beside bfloat16; None means 1.
        bias: (C,), dtype of x; None means 0.
        eps: added to the variance, above 0.
        return_stats: also give mean and rstd, which the gradient needs.
        activation: "relu" makes y max(y, 0), in the same pass; None leaves it.
        out: array for the result.

    Returns:
        y, of the shape and memory format of x; with `return_stats` (y, mean, rstd), both (N, C) and float64.

    Raises:
        ValueError: a shape or option doesn't fit, or x has a single position.
        TypeError: x is not float32 or float64, or another array has another dtype.

    Example:
        >>> medkern.kernels.instance_norm(np.array([[[1.0, 3.0]]])).round(3)
        array([[[-1.,  1.]]])
    """
    number = activation_number("instance_norm", activation)
    return _results(x, _C.instance_norm(x, weight, bias, eps, number, out), return_stats)


def instance_norm_backward(
    dy: Any,
    x: Any,
    mean: Any,
    rstd: Any,
    weight: Any = None,
    *,
    bias: Any = None,
    activation: str | None = None,
    out: Any = None,
) -> tuple[Any, Any, Any]:
    """The gradients of instance normalization; see `batch_norm_backward`. mean and rstd are (N, C)."""
    number = activation_number("instance_norm_backward", activation)
    return _gradients(dy, _C.instance_norm_backward(dy, x, mean, rstd, weight, bias, number, out))


def group_norm(
    x: Any,
    num_groups: int,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    return_stats: bool = False,
    *,
    activation: str | None = None,
    out: Any = None,
) -> Any:
    """Group normalization: as `batch_norm`, with a mean and a variance per sample and group of channels.

    Args:
        x: (N, C), (N, C, W), (N, C, H, W) or (N, C, D, H, W), float32 or float64 (CUDA: bfloat16).
        num_groups: the number of groups of C / num_groups adjacent channels; divides C.
        weight: (C,), dtype of x, float32 beside bfloat16; None means 1.
        bias: (C,), dtype of x; None means 0.
        eps: added to the variance, above 0.
        return_stats: also give mean and rstd, which the gradient needs.
        activation: "relu" makes y max(y, 0), in the same pass; None leaves it.
        out: array for the result.

    Returns:
        y, of the shape and memory format of x; with `return_stats` (y, mean, rstd), both (N, num_groups) and
        float64.

    Raises:
        ValueError: a shape or option doesn't fit.
        TypeError: x is not float32 or float64, or another array has another dtype.

    Example:
        >>> medkern.kernels.group_norm(np.array([[1.0, 3.0, 5.0, 9.0]]), 2).round(3)
        array([[-1.,  1., -1.,  1.]])
    """
    number = activation_number("group_norm", activation)
    return _results(x, _C.group_norm(x, num_groups, weight, bias, eps, number, out), return_stats)


def group_norm_backward(
    dy: Any,
    x: Any,
    num_groups: int,
    mean: Any,
    rstd: Any,
    weight: Any = None,
    *,
    bias: Any = None,
    activation: str | None = None,
    out: Any = None,
) -> tuple[Any, Any, Any]:
    """The gradients of group normalization; see `batch_norm_backward`. mean and rstd are (N, num_groups)."""
    number = activation_number("group_norm_backward", activation)
    return _gradients(dy, _C.group_norm_backward(dy, x, num_groups, mean, rstd, weight, bias, number, out))


def layer_norm(
    x: Any,
    normalized_shape: Any,
    weight: Any = None,
    bias: Any = None,
    eps: float = 1e-5,
    return_stats: bool = False,
    *,
    out: Any = None,
) -> Any:
    """Layer normalization: as `batch_norm`, with a mean and a variance over the last axes of x.

    Args:
        x: (..., *normalized_shape), float32 or float64. Memory that is not contiguous is copied once.
        normalized_shape: the sizes of the axes to normalize, an int or a sequence.
        weight: of shape normalized_shape, dtype of x; None means 1.
        bias: of shape normalized_shape, dtype of x; None means 0.
        eps: added to the variance, above 0.
        return_stats: also give mean and rstd, which the gradient needs.
        out: array for the result, contiguous.

    Returns:
        y, of the shape of x, contiguous; with `return_stats` (y, mean, rstd), both of the shape of the
        leading axes and float64.

    Raises:
        ValueError: a shape or option doesn't fit.
        TypeError: x is not float32 or float64, or another array has another dtype.

    Example:
        >>> medkern.kernels.layer_norm(np.array([[1.0, 3.0], [10.0, 30.0]]), 2).round(3)
        array([[-1.,  1.],
               [-1.,  1.]])
    """
    return _results(x, _C.layer_norm(x, normalized_shape, weight, bias, eps, out), return_stats)


def layer_norm_backward(
    dy: Any, x: Any, normalized_shape: Any, mean: Any, rstd: Any, weight: Any = None, *, out: Any = None
) -> tuple[Any, Any, Any]:
    """The gradients of layer normalization; see `batch_norm_backward`.

    mean and rstd have the shape of the leading axes, dweight and dbias normalized_shape.
    """
    return _gradients(dy, _C.layer_norm_backward(dy, x, normalized_shape, mean, rstd, weight, out))
