"""Losses of segmentation: Dice."""

from __future__ import annotations

from typing import Any

import numpy as np

from medkern import _C, functional
from medkern.autograd import widened
from medkern.losses._common import Loss, like_input, reduced
from medkern.losses.entropy import CrossEntropyLoss
from medkern.nn.module import Module
from medkern.tensor import Tensor


def dice_loss(
    input: Tensor,
    target: Any,
    *,
    activation: str | None = None,
    include_background: bool = True,
    smooth: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    """Soft Dice per sample and class.

        loss[n, c] = 1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth),   sums over space

    Args:
        input: probabilities p, or what becomes them by `activation`, (N, C, spatial...).
        target: t, either (N, C, spatial...) with values in [0, 1] or classes (N, spatial...), integers in
            [0, C).
        activation: "sigmoid", "softmax" (over the classes) or None.
        include_background: whether class 0 counts.
        smooth: keeps classes that occur nowhere defined; their loss is 0 if none is predicted.
        reduction: "mean", "sum" or "none".

    Returns:
        A single element, or (N, C) for "none", (N, C - 1) without background.

    Raises:
        ValueError: a shape doesn't fit, a class is out of range or an option is unknown.

    Example:
        >>> x = medkern.tensor(np.ones((1, 1, 2, 2), np.float32))
        >>> medkern.losses.dice_loss(x, np.ones((1, 1, 2, 2))).item()
        0.0
    """
    input = widened(input)
    if input.ndim < 3:
        raise ValueError(f"dice_loss: input must be (N, C, spatial...), got {input.shape}")
    if not include_background and input.shape[1] < 2:
        raise ValueError("dice_loss: include_background=False needs at least 2 classes, got 1")
    shape = np.shape(target)
    t = (
        one_hot("dice_loss", target, input)
        if len(shape) == input.ndim - 1
        else like_input("dice_loss", "target", target, input)
    )
    p = _activate("dice_loss", input, activation)
    if not include_background:
        p, t = p[:, 1:], t[:, 1:]
    space = tuple(range(2, input.ndim))
    overlap = functional.sum(functional.mul(p, t), space)
    total = functional.add(functional.sum(p, space), functional.sum(t, space))
    ratio = functional.div(
        functional.add(functional.mul(overlap, 2.0), smooth), functional.add(total, smooth)
    )
    return reduced("dice_loss", functional.sub(1.0, ratio), reduction)


def _activate(op: str, x: Tensor, activation: str | None) -> Tensor:
    if activation is None:
        return x
    if activation == "sigmoid":
        return functional.sigmoid(x)
    if activation == "softmax":
        return functional.softmax(x, 1)
    raise ValueError(f"{op}: activation must be None, 'sigmoid' or 'softmax', got {activation!r}")


def one_hot(op: str, target: Any, x: Tensor) -> Tensor:
    """Classes (N, spatial...) as (N, C, spatial...) of zeros and ones in x's type."""
    if isinstance(target, Tensor) and target.is_cuda:
        return _one_hot_rows(op, target, x)
    labels = np.asarray(target)
    _expect_classes(op, labels.dtype, labels.shape, x)
    classes = x.shape[1]
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"{op}: target must hold classes in [0, {classes}), got {wrong}")
    steps = np.arange(classes).reshape(classes, *(1,) * (labels.ndim - 1))
    return Tensor(_C.Array((labels[:, None] == steps).astype(x.dtype), x.device))


def _one_hot_rows(op: str, target: Tensor, x: Tensor) -> Tensor:
    """The same by kernels, for classes on a CUDA device: rows of the identity, channels-last in memory.

    A class out of range is reported when the device is waited for.
    """
    _expect_classes(op, target.dtype, target.shape, x)
    identity = Tensor(_C.Array(np.eye(x.shape[1], dtype=x.dtype), target.device))
    rows = functional.embedding(functional.to(target, "int64"), identity)
    last = rows.ndim - 1
    return functional.permute(rows, (0, last, *range(1, last)))


def _expect_classes(op: str, dtype: np.dtype, shape: tuple[int, ...], x: Tensor) -> None:
    if dtype.kind not in "iub":
        raise TypeError(f"{op}: a target of classes must hold integers, got {dtype}")
    if shape != (x.shape[0], *x.shape[2:]):
        raise ValueError(
            f"{op}: target must have shape {x.shape} or {(x.shape[0], *x.shape[2:])}, got {shape}"
        )


class DiceLoss(Loss):
    """`dice_loss` as a module, with its options."""

    operation = staticmethod(dice_loss)

    def __init__(
        self,
        activation: str | None = None,
        include_background: bool = True,
        smooth: float = 1.0,
        reduction: str = "mean",
    ):
        super().__init__(
            activation=activation, include_background=include_background, smooth=smooth, reduction=reduction
        )


class DiceCELoss(Module):
    """dice_weight * `dice_loss`(softmax) + ce_weight * `cross_entropy`, both from logits, both means.

    Args:
        dice_weight: factor of the Dice term.
        ce_weight: factor of the cross-entropy term.
        weight: a weight per class in the cross-entropy, or None.
        label_smoothing: of the cross-entropy.
        include_background: whether class 0 counts in the Dice term.
        smooth: of the Dice term.
    """

    def __init__(
        self,
        dice_weight: float = 1.0,
        ce_weight: float = 1.0,
        weight: Any = None,
        label_smoothing: float = 0.0,
        include_background: bool = True,
        smooth: float = 1.0,
    ):
        super().__init__()
        self.dice_weight = dice_weight
        self.ce_weight = ce_weight
        self.dice = DiceLoss("softmax", include_background, smooth)
        self.cross_entropy = CrossEntropyLoss(weight, label_smoothing=label_smoothing)

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss of logits (N, C, spatial...) against classes (N, spatial...)."""
        return functional.add(
            functional.mul(self.dice(input, target), self.dice_weight),
            functional.mul(self.cross_entropy(input, target), self.ce_weight),
        )

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return f"dice_weight={self.dice_weight}, ce_weight={self.ce_weight}"
