"""Softmax, log-softmax and the cross-entropy of logits."""

from __future__ import annotations

from typing import Any

from medkern import _C
from medkern.kernels._kind import like


def softmax(x: Any, dim: int, *, out: Any = None) -> Any:
    """Softmax: y = exp(x) / sum(exp(x)), the sum along one axis.

    Args:
        x: any shape of at least one axis, float32 or float64.
        dim: the axis; negative ones count from the last.
        out: array for the result.

    Returns:
        y, of the shape and memory format of x. Where all of x along the axis is -inf, or one is inf or NaN,
        NaN.

    Raises:
        ValueError: dim is out of range or `out` doesn't fit.
        TypeError: x is not float32 or float64.

    Example:
        >>> medkern.kernels.softmax(np.log([1.0, 3.0]), 0).round(6)
        array([0.25, 0.75])
    """
    return like(x, _C.softmax(x, dim, False, out))


def softmax_backward(dy: Any, y: Any, dim: int, *, out: Any = None) -> Any:
    """The gradient of softmax: dx = y * (dy - sum(dy * y)), from its result y."""
    return like(dy, _C.softmax_backward(dy, y, dim, False, out))


def log_softmax(x: Any, dim: int, *, out: Any = None) -> Any:
    """The logarithm of `softmax`, accurate also where that is nearly 0: y = x - log(sum(exp(x)))."""
    return like(x, _C.softmax(x, dim, True, out))


def log_softmax_backward(dy: Any, y: Any, dim: int, *, out: Any = None) -> Any:
    """The gradient of log-softmax: dx = dy - exp(y) * sum(dy), from its result y."""
    return like(dy, _C.softmax_backward(dy, y, dim, True, out))


def cross_entropy(
    logits: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    return_total_weight: bool = False,
    *,
    out: Any = None,
) -> Any:
    """The cross-entropy of classes under the softmax of logits.

        loss = -(1 - e) weight[t] log p[t] - e / C sum_c weight[c] log p[c],   p = softmax(logits), t = target

    with e = label_smoothing. The mean is sum(loss) / sum(weight[t]) over the elements that are not ignored;
    over none, or where their weights add up to 0, it is 0 and so is its gradient (PyTorch gives NaN): a batch
    without a single label is to leave a network as it is.

    Args:
        logits: (N, C) or (N, C, spatial...), float32 or float64.
        target: (N,) or (N, spatial...), int64, int32 or uint8: classes from 0 to C - 1, or ignore_index.
        weight: (C,), dtype of logits: the weight of each class; None means 1.
        ignore_index: elements of this target have loss 0 and don't count in the mean.
        reduction: "mean", "sum", or "none" for a loss per element.
        label_smoothing: share of the target that is spread over all classes, from 0 to 1.
        return_total_weight: also give sum(weight[t]), which the gradient of the mean needs.
        out: array for the loss.

    Returns:
        The loss: of no axes, or with "none" of the shape of target. With `return_total_weight` a pair
        (loss, total_weight), the latter float64 of no axes.

    Raises:
        ValueError: a shape or option doesn't fit, or a target is out of range.
        TypeError: a dtype doesn't fit.

    Example:
        >>> logits = np.log([[1.0, 3.0], [1.0, 1.0]])
        >>> medkern.kernels.cross_entropy(logits, np.array([1, 0]), reduction="none").round(4)
        array([0.2877, 0.6931])
    """
    loss, total = _C.cross_entropy(logits, target, weight, ignore_index, reduction, label_smoothing, out)
    return (like(logits, loss), like(logits, total)) if return_total_weight else like(logits, loss)


def cross_entropy_backward(
    dloss: Any,
    logits: Any,
    target: Any,
    total_weight: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
    *,
    out: Any = None,
) -> Any:
    """The gradient of `cross_entropy` with respect to the logits.

        dlogits[c] = dloss (a p[c] - a[c]),   a[c] the factor of -log p[c] in the loss, a = sum_c a[c]

    for the mean divided by total_weight.

    Args:
        dloss: gradient of the loss, shape of the loss.
        logits: as in the forward pass; so are the following.
        target: see there.
        total_weight: as `return_total_weight` gave it.
        weight: see there.
        ignore_index: see there.
        reduction: see there.
        label_smoothing: see there.
        out: array for dlogits.

    Returns:
        dlogits, of the shape and memory format of logits.

    Raises:
        ValueError: a shape or option doesn't fit, or a target is out of range.
        TypeError: a dtype doesn't fit.
    """
    result = _C.cross_entropy_backward(
        dloss, logits, target, total_weight, weight, ignore_index, reduction, label_smoothing, out
    )
    return like(logits, result)
