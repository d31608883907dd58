"""Softmax and cross-entropy in float64, from the formulas."""

import numpy as np


def log_softmax(x, dim):
    x = np.asarray(x, np.float64)
    shifted = x - x.max(dim, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(dim, keepdims=True))


def softmax(x, dim):
    return np.exp(log_softmax(x, dim))


def softmax_backward(dy, y, dim):
    return y * (dy - np.sum(dy * y, dim, keepdims=True))


def log_softmax_backward(dy, y, dim):
    return dy - np.exp(y) * np.sum(dy, dim, keepdims=True)


def factors(shape, target, weight, ignore_index, label_smoothing):
    """a[n, c, ...], the factor of -log p[c] in the loss, and weight[target], both 0 where ignored."""
    classes = shape[1]
    a = np.zeros(shape)
    weights = np.zeros(target.shape)
    for index in np.ndindex(target.shape):
        t = int(target[index])
        if t == ignore_index:
            continue
        n, *at = index
        weights[index] = weight[t]
        for c in range(classes):
            smooth = label_smoothing / classes * weight[c]
            a[(n, c, *at)] = smooth + ((1 - label_smoothing) * weight[t] if c == t else 0)
    return a, weights


def cross_entropy(logits, target, weight, ignore_index, reduction, label_smoothing):
    a, weights = factors(logits.shape, target, weight, ignore_index, label_smoothing)
    losses = -np.sum(a * log_softmax(logits, 1), 1)
    if reduction == "none":
        return losses
    total = losses.sum()
    if reduction == "sum":
        return total
    return total / weights.sum() if weights.sum() else 0.0


def cross_entropy_backward(dloss, logits, target, weight, ignore_index, reduction, label_smoothing):
    a, weights = factors(logits.shape, target, weight, ignore_index, label_smoothing)
    dlogits = a.sum(1, keepdims=True) * softmax(logits, 1) - a
    if reduction == "none":
        return dlogits * np.expand_dims(dloss, 1)
    if reduction == "sum":
        return dlogits * dloss
    return dlogits * (dloss / weights.sum() if weights.sum() else 0.0)
