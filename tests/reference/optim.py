"""Optimizer steps in float64, from the formulas."""

import numpy as np


def sgd_step(param, grad, buffer, lr, momentum, dampening, weight_decay, nesterov):
    """The new param and buffer (None stays None)."""
    g = grad + weight_decay * param
    if buffer is None:
        return param - lr * g, None
    buffer = momentum * buffer + (1 - dampening) * g
    return param - lr * (g + momentum * buffer if nesterov else buffer), buffer


def adam_step(param, grad, m, v, step, lr, beta1, beta2, eps, weight_decay, decoupled):
    """The new param, m and v."""
    if decoupled:
        param = param - lr * weight_decay * param
    else:
        grad = grad + weight_decay * param
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    return param - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def sgd(param, grads, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    """param after one step for each gradient; the first buffer is the gradient itself, undampened."""
    buffer = None
    for grad in grads:
        first = momentum and buffer is None
        param, buffer = sgd_step(
            param,
            grad,
            np.zeros_like(param) if first else buffer,
            lr,
            momentum,
            0.0 if first else dampening,
            weight_decay,
            nesterov,
        )
    return param


def adam(param, grads, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled=False):
    """param after one step for each gradient."""
    m = v = np.zeros_like(param)
    for step, grad in enumerate(grads, 1):
        param, m, v = adam_step(param, grad, m, v, step, lr, *betas, eps, weight_decay, decoupled)
    return param
