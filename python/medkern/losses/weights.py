"""Penalties of large weights."""

from __future__ import annotations

import math

from medkern import functional, nn
from medkern.tensor import Tensor, zeros


class WeightPenalty:
    """l1 sum |w| + l2 sum w^2 over a model's weights, the regularizers of Keras.

    Weights are the parameters with two axes or more: biases and the scales of norms are left alone. The
    `weight_decay` c of `medkern.optim.SGD` acts as l2 = c / 2 does, on all parameters.

    Args:
        l1: factor of the absolute values, which drives weights to 0.
        l2: factor of the squares.

    Raises:
        ValueError: a factor is negative or not finite.

    Example:
        >>> trainer = medkern.Trainer(model, loss, optimizer, penalty=medkern.losses.WeightPenalty(l2=1e-4))
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        for name, value in (("l1", l1), ("l2", l2)):
            if not 0 <= value < math.inf:
                raise ValueError(f"WeightPenalty: {name} must be finite and at least 0, got {value}")
        self.l1 = l1
        self.l2 = l2

    def __call__(self, model: nn.Module) -> Tensor:
        """The penalty, a single element."""
        terms = []
        for weight in model.parameters():
            if weight.ndim < 2:
                continue
            if self.l1:
                terms.append(functional.mul(functional.sum(functional.abs(weight)), self.l1))
            if self.l2:
                terms.append(functional.mul(functional.sum(functional.square(weight)), self.l2))
        if not terms:
            return zeros((), requires_grad=True)
        total = terms[0]
        for term in terms[1:]:
            total = functional.add(total, term)
        return total

    def __repr__(self) -> str:
        return f"WeightPenalty(l1={self.l1}, l2={self.l2})"
