"""Dropout layers."""

from __future__ import annotations

from medkern import functional
from medkern.nn._checks import expect_probability
from medkern.nn.module import Module
from medkern.tensor import Tensor


class Dropout(Module):
    """In training, zeroes each element with probability p and scales the others by 1 / (1 - p).

    Args:
        p: the probability, in [0, 1].

    Raises:
        ValueError: p is out of range.
    """

    def __init__(self, p: float = 0.5):
        super().__init__()
        expect_probability(self, "p", p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """A tensor like x; x itself in evaluation."""
        return functional.dropout(x, self.p, self.training)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return f"p={self.p}"
