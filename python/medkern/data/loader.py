"""`DataLoader`: batches from a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from medkern.data.dataset import Dataset

Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]


class DataLoader:
    """Gives the samples of a data set in batches, once per iteration.

    The order of an epoch and the random numbers of the augmentation depend on `seed`, the number of the
    epoch and the sample alone, so that a run that is resumed sees what an uninterrupted one would have.

    Args:
        dataset: has a length and gives (x, y) arrays; all x, and all y, of a batch have one shape.
        batch_size: samples per batch.
        shuffle: a new order each epoch.
        seed: where the random numbers start.
        drop_last: leave out a last batch with fewer than `batch_size` samples.
        augment: changes a sample, `augment(x, y, generator)` -> (x, y).

    Raises:
        ValueError: `batch_size` is below 1 or `seed` below 0.

    Example:
        >>> for x, y in DataLoader(dataset, batch_size=4, shuffle=True):
        ...     loss = criterion(model(medkern.tensor(x)), medkern.tensor(y))
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int = 1,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        augment: Augmentation | None = None,
    ):
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, got {batch_size}")
        if seed < 0:
            raise ValueError(f"DataLoader: seed must be at least 0, got {seed}")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.augment = augment
        self.epoch = 0

    def __len__(self) -> int:
        """The number of batches."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        epoch = self.epoch
        self.epoch += 1
        return self._batches(epoch)

    def state_dict(self) -> dict[str, Any]:
        """What the coming epochs depend on."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the loader that gave `state` was."""
        self.seed = int(state["seed"])
        self.epoch = int(state["epoch"])

    def _batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order = np.arange(len(self.dataset))
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(order)
        for batch in range(len(self)):
            indices = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            samples = [self._sample(epoch, int(index)) for index in indices]
            yield _stack(samples, 0, indices), _stack(samples, 1, indices)

    def _sample(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = self.dataset[index]
        if self.augment is not None:
            x, y = self.augment(x, y, np.random.default_rng((self.seed, epoch, index)))
        return np.asarray(x), np.asarray(y)


def _stack(samples: list[tuple[np.ndarray, np.ndarray]], part: int, indices: np.ndarray) -> np.ndarray:
    first = samples[0][part]
    for index, sample in zip(indices, samples, strict=True):
        if sample[part].shape != first.shape or sample[part].dtype != first.dtype:
            raise ValueError(
                f"DataLoader: {'xy'[part]} of sample {index} must be {first.shape} {first.dtype} like sample "
                f"{indices[0]} of the batch, got {sample[part].shape} {sample[part].dtype}"
            )
    return np.stack([sample[part] for sample in samples])
