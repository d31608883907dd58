"""`DataLoader`: batches from a data set."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from medkern.data.dataset import Dataset

Augmentation = Callable[[np.ndarray, np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
Sample = tuple[np.ndarray, np.ndarray]

_AHEAD = 2  # batches that are loaded before they are asked for


class Epochs:
    """What loaders share: an order of the samples for each epoch, and where a resumed run goes on.

    Args:
        seed: where the random numbers start.
        shuffle: a new order each epoch.
    """

    def __init__(self, seed: int, shuffle: bool):
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def next_epoch(self) -> int:
        """The number of the epoch that begins."""
        self.epoch += 1
        return self.epoch - 1

    def order(self, epoch: int, count: int) -> np.ndarray:
        """The numbers of the samples, from 0 to `count` - 1, as an epoch takes them."""
        order = np.arange(count)
        return np.random.default_rng((self.seed, epoch)).permutation(order) if self.shuffle else order

    def state_dict(self) -> dict[str, Any]:
        """What the coming epochs depend on."""
        return {"seed": self.seed, "epoch": self.epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where the loader that gave `state` was."""
        self.seed = int(state["seed"])
        self.epoch = int(state["epoch"])


class DataLoader(Epochs):
    """Gives the samples of a data set in batches, once per iteration.

    The order of an epoch and the random numbers of the augmentation depend on `seed`, the number of the
    epoch and the sample alone, so that a run that is resumed sees what an uninterrupted one would have, and
    any number of workers gives the same batches.

    Args:
        dataset: has a length and gives (x, y) arrays; all x, and all y, of a batch have one shape. With
            workers it is asked from several threads at once.
        batch_size: samples per batch.
        shuffle: a new order each epoch.
        seed: where the random numbers start.
        drop_last: leave out a last batch with fewer than `batch_size` samples.
        augment: changes a sample, `augment(x, y, generator)` -> (x, y).
        weights: how often each sample is to come, relative to the others: an epoch is then as many samples as
            the data set has, drawn with replacement (`class_weights` balances classes).
        workers: threads that load and augment samples while the caller is busy with a batch, two batches
            ahead; 0 does it in the caller's thread when it is asked.

    Raises:
        ValueError: `batch_size` is below 1, `seed` or `workers` below 0, or a weight is not a number of at
            least 0.

    Example:
        >>> for x, y in DataLoader(dataset, batch_size=4, shuffle=True, workers=2):
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
        weights: Sequence[float] | np.ndarray | None = None,
        workers: int = 0,
    ):
        if batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be at least 1, got {batch_size}")
        if seed < 0:
            raise ValueError(f"DataLoader: seed must be at least 0, got {seed}")
        if workers < 0:
            raise ValueError(f"DataLoader: workers must be at least 0, got {workers}")
        super().__init__(seed, shuffle)
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.augment = augment
        self.weights = None if weights is None else _shares(weights, len(dataset))
        self.workers = workers

    def __len__(self) -> int:
        """The number of batches."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Sample]:
        epoch = self.next_epoch()
        return self._batches(epoch) if self.workers == 0 else self._loaded_ahead(epoch)

    def _order(self, epoch: int) -> np.ndarray:
        count = len(self.dataset)
        if self.weights is not None:
            return np.random.default_rng((self.seed, epoch)).choice(count, count, p=self.weights)
        return self.order(epoch, count)

    def _plan(self, epoch: int) -> Iterator[list[tuple[int, ...]]]:
        """For each batch what the random numbers of its samples depend on; the last number is the sample's.

        A sample that comes again in an epoch has how often it came before as well.
        """
        seen: dict[int, int] = {}
        order = self._order(epoch)
        for batch in range(len(self)):
            keys: list[tuple[int, ...]] = []
            for index in map(int, order[batch * self.batch_size : (batch + 1) * self.batch_size]):
                before = seen.get(index, 0)
                seen[index] = before + 1
                keys.append((self.seed, epoch, before, index) if before else (self.seed, epoch, index))
            yield keys

    def _batches(self, epoch: int) -> Iterator[Sample]:
        for keys in self._plan(epoch):
            yield _batch([self._sample(key) for key in keys], keys)

    def _loaded_ahead(self, epoch: int) -> Iterator[Sample]:
        waiting: deque[tuple[list[Future[Sample]], list[tuple[int, ...]]]] = deque()
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="medkern-loader")
        try:
            for keys in self._plan(epoch):
                waiting.append(([pool.submit(self._sample, key) for key in keys], keys))
                if len(waiting) > _AHEAD:
                    yield _collected(waiting.popleft())
            while waiting:
                yield _collected(waiting.popleft())
        finally:  # also when the caller stops early, or a sample fails
            pool.shutdown(wait=True, cancel_futures=True)

    def _sample(self, key: tuple[int, ...]) -> Sample:
        try:
            x, y = self.dataset[key[-1]]
            if self.augment is not None:
                x, y = self.augment(x, y, np.random.default_rng(key))
        except Exception as error:
            if hasattr(error, "add_note"):  # from Python 3.11 on
                error.add_note(f"DataLoader: in sample {key[-1]} of the data set")
            raise
        return np.asarray(x), np.asarray(y)


def _collected(batch: tuple[list[Future[Sample]], list[tuple[int, ...]]]) -> Sample:
    futures, keys = batch
    return _batch([future.result() for future in futures], keys)


def _batch(samples: list[Sample], keys: list[tuple[int, ...]]) -> Sample:
    return _stack(samples, 0, keys), _stack(samples, 1, keys)


def _stack(samples: list[Sample], part: int, keys: list[tuple[int, ...]]) -> np.ndarray:
    first = samples[0][part]
    for key, sample in zip(keys, samples, strict=True):
        if sample[part].shape != first.shape or sample[part].dtype != first.dtype:
            raise ValueError(
                f"DataLoader: {'xy'[part]} of sample {key[-1]} must be {first.shape} {first.dtype} like "
                f"sample {keys[0][-1]} of the batch, got {sample[part].shape} {sample[part].dtype}"
            )
    return np.stack([sample[part] for sample in samples])


def _shares(weights: Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    """Weights with the sum 1."""
    shares = np.asarray(weights, np.float64)
    if shares.shape != (count,):
        raise ValueError(f"DataLoader: weights must have one number per sample, {count}, got {shares.shape}")
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise ValueError("DataLoader: weights must be numbers of at least 0, not all 0")
    return shares / shares.sum()
