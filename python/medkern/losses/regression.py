"""Losses of regression."""

from __future__ import annotations

from typing import Any

from medkern import functional
from medkern.autograd import widened
from medkern.losses._common import Loss, like_input, reduced
from medkern.tensor import Tensor


def mse_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Squared error: (input - target)^2.

    Args:
        input: predictions, any shape.
        target: the truth, the same shape.
        reduction: "mean", "sum" or "none".

    Returns:
        A single element, or the shape of `input` for "none".

    Raises:
        ValueError: shapes differ or `reduction` is unknown.

    Example:
        >>> medkern.losses.mse_loss(medkern.tensor([1.0, 3.0]), np.array([1.0, 1.0])).item()
        2.0
    """
    input = widened(input)
    difference = functional.sub(input, like_input("mse_loss", "target", target, input))
    return reduced("mse_loss", functional.square(difference), reduction)


def l1_loss(input: Tensor, target: Any, reduction: str = "mean") -> Tensor:
    """Absolute error: |input - target|; the arguments of `mse_loss`."""
    input = widened(input)
    difference = functional.sub(input, like_input("l1_loss", "target", target, input))
    return reduced("l1_loss", functional.abs(difference), reduction)


class MSELoss(Loss):
    """`mse_loss` as a module."""

    operation = staticmethod(mse_loss)

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction=reduction)


class L1Loss(Loss):
    """`l1_loss` as a module: the mean absolute error."""

    operation = staticmethod(l1_loss)

    def __init__(self, reduction: str = "mean"):
        super().__init__(reduction=reduction)
