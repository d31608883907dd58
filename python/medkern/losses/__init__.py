"""Losses, as functions and as modules.

Predictions are tensors; targets are tensors or arrays of the same shape and any type unless said otherwise.
Every loss takes `reduction`: "mean" over all elements (the default), "sum", or "none".
"""

from medkern.losses.adversarial import AdversarialLoss, gradient_penalty, r1_penalty
from medkern.losses.dice import DiceCELoss, DiceLoss, dice_loss
from medkern.losses.entropy import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
)
from medkern.losses.registration import RegistrationLoss, ncc_loss, smoothness_loss
from medkern.losses.regression import L1Loss, MSELoss, l1_loss, mse_loss
from medkern.losses.weights import WeightPenalty

__all__ = [
    "AdversarialLoss",
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "DiceCELoss",
    "DiceLoss",
    "L1Loss",
    "MSELoss",
    "RegistrationLoss",
    "WeightPenalty",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dice_loss",
    "gradient_penalty",
    "l1_loss",
    "mse_loss",
    "ncc_loss",
    "r1_penalty",
    "smoothness_loss",
]
