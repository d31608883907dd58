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
