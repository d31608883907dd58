"""Which samples go where: weights against imbalance, splits and folds that keep patients together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from medkern.extras import optional_import


def class_weights(labels: Sequence[int] | np.ndarray, classes: int | None = None) -> np.ndarray:
    """A weight for each sample, so that all classes come equally often: 1 / number of its class.

    Args:
        labels: the class of each sample.
        classes: how many there are; one more than the largest label where None.

    Raises:
        ValueError: a class has no sample, or a label is none of them.

    Example:
        >>> loader = DataLoader(data, 32, weights=class_weights(data.y))
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or len(labels) == 0 or labels.dtype.kind not in "iu":
        raise ValueError(f"class_weights: labels must be one class each, got {labels.dtype} {labels.shape}")
    if labels.min() < 0 or (classes is not None and labels.max() >= classes):
        index = int(np.argmin(labels)) if labels.min() < 0 else int(np.argmax(labels))
        raise ValueError(
            f"class_weights: sample {index} has the class {labels[index]}, expected 0 to {classes}"
        )
    counts = np.bincount(labels, minlength=classes or 0)
    if (counts == 0).any():
        raise ValueError(f"class_weights: class {int(np.argmin(counts))} has no sample")
    return 1 / counts[labels]


def oversample(
    features: np.ndarray, labels: np.ndarray, seed: int = 0, neighbors: int = 5
) -> tuple[np.ndarray, np.ndarray]:
    """SMOTE: adds samples between neighbors of the rarer classes until all have as many; for tables.

    Args:
        features: (N, F).
        labels: (N,).
        seed: of the random numbers.
        neighbors: how many nearest samples of the class a new one may lie towards.

    Returns:
        The samples with the new ones behind them.

    Raises:
        ValueError: a rarer class has no more than `neighbors` samples.
        ModuleNotFoundError: imbalanced-learn is not installed.
    """
    smote = optional_import("imblearn.over_sampling", "imbalance").SMOTE
    classes, counts = np.unique(labels, return_counts=True)
    for name, count in zip(classes, counts, strict=True):
        if count < counts.max() and count <= neighbors:
            raise ValueError(
                f"oversample: class {name} has {count} samples, must have more than neighbors, {neighbors}"
            )
    x, y = smote(random_state=seed, k_neighbors=neighbors).fit_resample(features, labels)
    return x, y


def folds(
    labels: np.ndarray, patients: np.ndarray | None = None, count: int = 5, seed: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Cross-validation: (indices for training, indices for the test) for each fold.

    Every fold has about the same share of each class, and all samples of a patient are in one fold.

    Args:
        labels: the class of each sample, by which the folds are balanced.
        patients: whose each sample is, numbers or names; each its own where None.
        count: how many folds.
        seed: of the order.

    Raises:
        ValueError: there are fewer patients than folds, or fewer that have samples of some class.
        ModuleNotFoundError: scikit-learn is not installed.

    Example:
        >>> for train, test in folds(labels, patients):
        ...     loader = DataLoader(Subset(data, train), 8, shuffle=True)
    """
    selection: Any = optional_import("sklearn.model_selection", "metrics")
    labels = np.asarray(labels)
    groups = np.arange(len(labels)) if patients is None else np.asarray(patients)
    if len(groups) != len(labels):
        raise ValueError(f"folds: patients must be as many as labels, {len(labels)}, got {len(groups)}")
    found = len(np.unique(groups))
    if not 2 <= count <= found:
        raise ValueError(f"folds: count must be from 2 to the number of patients, {found}, got {count}")
    for name in np.unique(labels):
        having = len(np.unique(groups[labels == name]))
        if having < count:
            raise ValueError(
                f"folds: class {name} must have samples of {count} patients, one for each fold, got {having}"
            )
    splitter = selection.StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    yield from splitter.split(np.zeros(len(labels)), labels, groups)


def split(
    labels: np.ndarray, patients: np.ndarray | None = None, test: float = 0.2, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """(indices for training, indices for the test): one fold of about 1 / test folds, see `folds`.

    Raises:
        ValueError: `test` is not above 0 and at most a half.
    """
    if not 0 < test <= 0.5:
        raise ValueError(f"split: test must be above 0 and at most 0.5, got {test}")
    return next(folds(labels, patients, round(1 / test), seed))


class Subset:
    """Some samples of a data set.

    Example:
        >>> train, test = split(data.labels)
        >>> train_set, test_set = Subset(data, train), Subset(data, test)
    """

    def __init__(self, dataset: Any, indices: Sequence[int] | np.ndarray):
        self.dataset = dataset
        self.indices = np.asarray(indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset[int(self.indices[index])]
