"""Optimizers, schedules, gradient clipping and averages of weights. Names are those of `torch.optim`."""

from medkern.optim.adam import Adam, AdamW
from medkern.optim.average import ExponentialMovingAverage
from medkern.optim.clip import clip_grad_norm_, clip_grad_value_
from medkern.optim.optimizer import Optimizer
from medkern.optim.schedule import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearWarmup,
    MultiStepLR,
    PolynomialLR,
    ReduceLROnPlateau,
    Schedule,
    StepLR,
)
from medkern.optim.sgd import SGD

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "CosineAnnealingLR",
    "ExponentialLR",
    "ExponentialMovingAverage",
    "LinearWarmup",
    "MultiStepLR",
    "Optimizer",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "Schedule",
    "StepLR",
    "clip_grad_norm_",
    "clip_grad_value_",
]
