"""Losses of classification: cross-entropies."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkern import _C, functional, kernels
from medkern.autograd import Function, Node, widened
from medkern.losses._common import Loss, constant, like_input, reduced
from medkern.tensor import Tensor

_LEAST_LOG = -100.0  # binary_cross_entropy clamps its logarithms here, so that it stays finite


def cross_entropy(
    input: Tensor,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The negative log-likelihood of classes under softmax; see `medkern.functional.cross_entropy`.

        loss = -weight[t] log softmax(input)[t],   mean: sum of losses / sum of weight[t]

    With label smoothing s the target is the distribution (1 - s) onehot(t) + s / C.

    Args:
        input: logits, (N, C, spatial...).
        target: classes, (N, spatial...), integers in [0, C) or `ignore_index`.
        weight: a weight per class, (C,), or None.
        ignore_index: elements of this class don't count.
        reduction: "mean", "sum" or "none".
        label_smoothing: s, in [0, 1].

    Returns:
        A single element, or the shape of `target` for "none".

    Raises:
        ValueError: a shape doesn't fit or a class is out of range.
    """
    return functional.cross_entropy(input, target, weight, ignore_index, reduction, label_smoothing)


class _BinaryCrossEntropy(Function):
    """-(t log p + (1 - t) log(1 - p)) with logarithms clamped, whose own derivative would be 0 * inf."""

    twice_differentiable = True

    @staticmethod
    def forward(ctx: Node, p: Tensor, t: Tensor) -> _C.Array:
        ctx.save(p, t)
        rest, other = (_C.binary(_C.BinaryOp.sub, 1.0, x.array, None) for x in (p, t))
        logs = [kernels.clamp(kernels.log(q), _LEAST_LOG, None) for q in (p.array, rest)]
        return kernels.neg(kernels.add(kernels.mul(t.array, logs[0]), kernels.mul(other, logs[1])))

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> tuple[Tensor, None]:
        p, t = ctx.saved
        variance = functional.mul(p, functional.sub(1.0, p))
        slope = functional.div(functional.sub(p, t), functional.clamp(variance, 1e-12, None))
        return functional.mul(dy, slope), None


def binary_cross_entropy(input: Tensor, target: Any, weight: Any = None, reduction: str = "mean") -> Tensor:
    """The negative log-likelihood of probabilities.

        loss = -weight (t max(log p, -100) + (1 - t) max(log(1 - p), -100))

    Logits with `binary_cross_entropy_with_logits` are more accurate than sigmoid followed by this.

    Args:
        input: probabilities p in [0, 1], any shape.
        target: t in [0, 1], the same shape; no gradient flows to it.
        weight: a factor, an array that broadcasts against the loss, or None.
        reduction: "mean", "sum" or "none".

    Returns:
        A single element, or the shape of `input` for "none".

    Raises:
        ValueError: shapes differ, a probability is outside [0, 1] or `reduction` is unknown. On a CUDA device
            probabilities are not looked at, since that would wait for them; there the loss becomes NaN.
    """
    input = widened(input)
    target = like_input("binary_cross_entropy", "target", target, input)
    if target.requires_grad:
        raise ValueError("binary_cross_entropy: target must not require a gradient")
    if not input.is_cuda:
        _expect_probabilities(input.numpy())
    loss = _BinaryCrossEntropy.apply(input, target)
    if weight is not None:
        loss = functional.mul(loss, constant(weight, input))
    return reduced("binary_cross_entropy", loss, reduction)


def _expect_probabilities(values: np.ndarray) -> None:
    if values.size and not (values.min() >= 0 and values.max() <= 1) and not np.isnan(values).any():
        raise ValueError(
            f"binary_cross_entropy: input must lie in [0, 1], got [{values.min()}, {values.max()}]"
        )


def binary_cross_entropy_with_logits(
    input: Tensor, target: Any, weight: Any = None, reduction: str = "mean", pos_weight: Any = None
) -> Tensor:
    """The negative log-likelihood of probabilities sigmoid(x), computed from the logits x.

        loss = weight (pos_weight t softplus(-x) + (1 - t) softplus(x)),   softplus(x) = log(1 + exp(x))

    Neither term cancels or overflows, for logits of any size.

    Args:
        input: logits x, any shape.
        target: t in [0, 1], the same shape.
        weight: a factor, an array that broadcasts against the loss, or None.
        reduction: "mean", "sum" or "none".
        pos_weight: a factor for the positive term, an array that broadcasts, or None; for one per channel of
            (N, C, H, W) use shape (C, 1, 1).

    Returns:
        A single element, or the shape of `input` for "none".

    Raises:
        ValueError: shapes differ or `reduction` is unknown.
    """
    op = "binary_cross_entropy_with_logits"
    input = widened(input)
    target = like_input(op, "target", target, input)
    positive = functional.mul(target, functional.softplus(functional.neg(input)))
    if pos_weight is not None:
        positive = functional.mul(positive, constant(pos_weight, input))
    negative = functional.mul(functional.sub(1.0, target), functional.softplus(input))
    loss = functional.add(positive, negative)
    if weight is not None:
        loss = functional.mul(loss, constant(weight, input))
    return reduced(op, loss, reduction)


class CrossEntropyLoss(Loss):
    """`cross_entropy` as a module, with its options."""

    operation = staticmethod(cross_entropy)

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ):
        super().__init__(
            weight=weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
        )


class BCELoss(Loss):
    """`binary_cross_entropy` as a module, with its options."""

    operation = staticmethod(binary_cross_entropy)

    def __init__(self, weight: Any = None, reduction: str = "mean"):
        super().__init__(weight=weight, reduction=reduction)


class BCEWithLogitsLoss(Loss):
    """`binary_cross_entropy_with_logits` as a module, with its options."""

    operation = staticmethod(binary_cross_entropy_with_logits)

    def __init__(self, weight: Any = None, reduction: str = "mean", pos_weight: Any = None):
        super().__init__(weight=weight, reduction=reduction, pos_weight=pos_weight)
