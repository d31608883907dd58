"""Sequences of different lengths in batches, padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from medkern.data.loader import Epochs


def pad_sequences(sequences: Sequence[np.ndarray], fill: float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sequences (T_i, ...) in one array, filled up to the longest.

    Args:
        sequences: of one type, and of one shape but for their lengths.
        fill: what stands after a sequence's end.

    Returns:
        The array (N, T, ...) and the lengths, int64 (N,).

    Raises:
        ValueError: there are none, one is empty, or one differs; names it.

    Example:
        >>> x, lengths = pad_sequences([np.ones((3, 2)), np.ones((1, 2))])
        >>> x.shape, lengths
        ((2, 3, 2), array([3, 1]))
    """
    if not len(sequences):
        raise ValueError("pad_sequences: needs at least one sequence, got none")
    first = sequences[0]
    for i, sequence in enumerate(sequences):
        if sequence.ndim < 1 or not len(sequence):
            raise ValueError(f"pad_sequences: sequence {i} must have at least one step, got {sequence.shape}")
        if sequence.shape[1:] != first.shape[1:] or sequence.dtype != first.dtype:
            raise ValueError(
                f"pad_sequences: sequence {i} must be (T, {', '.join(map(str, first.shape[1:]))}) "
                f"{first.dtype} like the first, got {sequence.shape} {sequence.dtype}"
            )
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    result = np.full((len(sequences), lengths.max(), *first.shape[1:]), fill, first.dtype)
    for row, sequence in zip(result, sequences, strict=True):
        row[: len(sequence)] = sequence
    return result, lengths


class PartsLoader(Epochs):
    """Batches of samples whose x has several parts, for models that take more than one input.

    As `DataLoader`, but from arrays, and x is a tuple. Arrays beyond a batch's longest sequence are cut off.

    Args:
        x: the parts, each (N, ...).
        y: (N, ...).
        batch_size: samples per batch.
        shuffle: a new order each epoch, from `seed` and the number of the epoch.
        seed: where the random numbers start.
        lengths: which part holds the lengths of sequences (N) that the first part has, or None. They are
            checked here, and a batch has as many steps as its longest sequence.

    Raises:
        ValueError: parts and y differ in length or there are none, a length is below 1 or beyond its
            sequence, or an option is out of range.

    Example:
        >>> x, lengths = pad_sequences(frames)
        >>> for (x, lengths), y in PartsLoader((x, lengths), y, 16, shuffle=True, lengths=1):
        ...     loss = criterion(model(medkern.tensor(x), medkern.tensor(lengths)), medkern.tensor(y))
    """

    def __init__(
        self,
        x: Sequence[np.ndarray],
        y: np.ndarray,
        batch_size: int = 1,
        *,
        shuffle: bool = False,
        seed: int = 0,
        lengths: int | None = None,
    ):
        if batch_size < 1 or seed < 0:
            raise ValueError(f"PartsLoader: needs batch_size >= 1 and seed >= 0, got {batch_size} and {seed}")
        counts = [len(part) for part in (*x, y)]
        if not len(x) or min(counts) != max(counts) or not counts[0]:
            raise ValueError(f"PartsLoader: x and y must have one length, at least 1, got {counts}")
        super().__init__(seed, shuffle)
        self.x = tuple(x)
        self.y = y
        self.batch_size = batch_size
        self.lengths = lengths
        if lengths is not None:
            self._check_lengths(self.x[0], self.x[lengths])

    def __len__(self) -> int:
        """The number of batches."""
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray]]:
        order = self.order(self.next_epoch(), len(self.y))
        for first in range(0, len(order), self.batch_size):
            chosen = order[first : first + self.batch_size]
            parts = [part[chosen] for part in self.x]
            if self.lengths is not None:
                parts[0] = np.ascontiguousarray(parts[0][:, : parts[self.lengths].max()])
            yield tuple(parts), self.y[chosen]

    @staticmethod
    def _check_lengths(sequences: np.ndarray, lengths: np.ndarray) -> None:
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or sequences.ndim < 2:
            raise ValueError(
                f"PartsLoader: lengths must be integers (N,) of sequences (N, T, ...), got {lengths.dtype} "
                f"{lengths.shape} and {sequences.shape}"
            )
        wrong = np.nonzero((lengths < 1) | (lengths > sequences.shape[1]))[0]
        if len(wrong):
            raise ValueError(
                f"PartsLoader: lengths must be from 1 to {sequences.shape[1]}, the steps there are, got "
                f"{lengths[wrong[0]]} for sample {wrong[0]}"
            )
