"""Optimizer steps, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from medkern import _C


def sgd_step(
    param: Any,
    grad: Any,
    momentum_buffer: Any,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> None:
    """One step of stochastic gradient descent, in place.

        g = grad + weight_decay param
        b = momentum b + (1 - dampening) g,   b being momentum_buffer
        param -= lr d,   d = g + momentum b if nesterov, b if there is a buffer, else g

    Args:
        param: float32 or float64, contiguous or channels-last; updated.
        grad: shape and dtype of param; copied once if its memory has another layout.
        momentum_buffer: shape, dtype and layout of param, zeros before the first step; updated. May be None
            where momentum is 0.
        lr: learning rate, at least 0.
        momentum: the share of b kept, at least 0.
        dampening: of the gradient in b. PyTorch leaves it out in the first step: pass 0 there.
        weight_decay: factor of the penalty on param, at least 0.
        nesterov: whether to look ahead; needs a momentum above 0 and no dampening.

    Raises:
        ValueError: a shape, layout or option doesn't fit.
        TypeError: a dtype doesn't fit.

    Example:
        >>> param = np.array([1.0, 2.0])
        >>> medkern.kernels.sgd_step(param, np.array([1.0, 1.0]), None, lr=0.5)
        >>> param
        array([0.5, 1.5])
    """
    buffers = None if momentum_buffer is None else [momentum_buffer]
    _C.sgd_steps([param], [grad], buffers, lr, momentum, dampening, weight_decay, nesterov)


def sgd_steps(
    params: Sequence[Any],
    grads: Sequence[Any],
    momentum_buffers: Sequence[Any] | None,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    rounded: Sequence[Any] | None = None,
) -> None:
    """`sgd_step` for many parameters of one dtype and device, which a CUDA device takes in few launches.

    Args:
        params: as `param` of `sgd_step`, each; so are the following.
        grads: one for each.
        momentum_buffers: one for each, or None where momentum is 0.
        lr: see `sgd_step`.
        momentum: see there.
        dampening: see there.
        weight_decay: see there.
        nesterov: see there.
        rounded: for each parameter None or a bfloat16 array of its shape and layout that gets its new values;
            CUDA devices and float32 only.

    Raises:
        ValueError: a shape, layout, number of arrays or option doesn't fit.
        TypeError: a dtype doesn't fit.
    """
    _C.sgd_steps(params, grads, momentum_buffers, lr, momentum, dampening, weight_decay, nesterov, rounded)


def adam_step(
    param: Any,
    grad: Any,
    exp_avg: Any,
    exp_avg_sq: Any,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """One step of Adam, or of AdamW with `decoupled`, in place.

        g = grad + weight_decay param;   decoupled: g = grad and param *= 1 - lr weight_decay
        m = beta1 m + (1 - beta1) g,   v = beta2 v + (1 - beta2) g^2,   m, v being exp_avg, exp_avg_sq
        param -= lr (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)

    Args:
        param: float32 or float64, contiguous or channels-last; updated.
        grad: shape and dtype of param; copied once if its memory has another layout.
        exp_avg: shape, dtype and layout of param, zeros before the first step; updated.
        exp_avg_sq: as exp_avg.
        step: the number of this step, from 1.
        lr: learning rate, at least 0.
        beta1: the share of m kept, at least 0 and below 1.
        beta2: the share of v kept, at least 0 and below 1.
        eps: keeps the division finite, at least 0.
        weight_decay: at least 0.
        decoupled: whether weight_decay shrinks param itself instead of adding to the gradient.

    Raises:
        ValueError: a shape, layout or option doesn't fit.
        TypeError: a dtype doesn't fit.

    Example:
        >>> param, m, v = np.array([1.0]), np.zeros(1), np.zeros(1)
        >>> medkern.kernels.adam_step(param, np.array([3.0]), m, v, step=1, lr=0.5)
        >>> param.round(6)
        array([0.5])
    """
    options = (step, lr, beta1, beta2, eps, weight_decay, decoupled)
    _C.adam_steps([param], [grad], [exp_avg], [exp_avg_sq], *options)


def adam_steps(
    params: Sequence[Any],
    grads: Sequence[Any],
    exp_avgs: Sequence[Any],
    exp_avg_sqs: Sequence[Any],
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    rounded: Sequence[Any] | None = None,
) -> None:
    """`adam_step` for many parameters of one dtype and device, which a CUDA device takes in few launches.

    Args:
        params: as `param` of `adam_step`, each; so are the following.
        grads: one for each.
        exp_avgs: one for each.
        exp_avg_sqs: one for each.
        step: see `adam_step`.
        lr: see there.
        beta1: see there.
        beta2: see there.
        eps: see there.
        weight_decay: see there.
        decoupled: see there.
        rounded: see `sgd_steps`.

    Raises:
        ValueError: a shape, layout, number of arrays or option doesn't fit.
        TypeError: a dtype doesn't fit.
    """
    options = (step, lr, beta1, beta2, eps, weight_decay, decoupled, rounded)
    _C.adam_steps(params, grads, exp_avgs, exp_avg_sqs, *options)
