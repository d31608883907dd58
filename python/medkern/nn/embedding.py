"""Embedding layers."""

from __future__ import annotations

import numpy as np

from medkern import functional, random
from medkern.nn import init
from medkern.nn._checks import expect_positive
from medkern.nn.module import Module, Parameter
from medkern.tensor import Tensor


class Embedding(Module):
    """A learnt vector for each integer; see `medkern.functional.embedding`.

    The table starts standard normal, the row of `padding_idx` 0.

    Args:
        num_embeddings: number of rows.
        embedding_dim: size of each.
        padding_idx: a row that is not learnt, negative to count from the end.

    Attributes:
        weight: (num_embeddings, embedding_dim).

    Raises:
        ValueError: a size is not positive, or padding_idx is out of range.

    Example:
        >>> layer = medkern.nn.Embedding(10, 4, padding_idx=0)
        >>> layer(medkern.tensor([[1, 5, 0]])).shape
        (1, 3, 4)
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None):
        super().__init__()
        expect_positive(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise ValueError(
                f"Embedding: padding_idx must be from {-num_embeddings} to {num_embeddings - 1}, "
                f"got {padding_idx}"
            )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws a new table."""
        values = random.normal(self.weight.shape, dtype=self.weight.dtype)
        if self.padding_idx is not None:
            init.zeros_(values[self.padding_idx])
        self.weight.copy_(values)

    def forward(self, indices: Tensor) -> Tensor:
        """Integers of any shape to that shape followed by embedding_dim."""
        return functional.embedding(indices, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
