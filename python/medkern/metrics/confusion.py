"""Measures that come from counts of true and predicted classes.

All are ratios, per class. Where a class is neither in the truth nor in the prediction there is
nothing to get wrong and the value is 1; where only the denominator of precision or recall is empty it is 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def confusion_matrix(prediction: np.ndarray, target: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts of every pair of true and predicted class; those of several arrays can be added.

    Args:
        prediction: class of every element, integers from 0 to `num_classes` - 1, any shape.
        target: the truth, same shape.
        num_classes: the number of classes.

    Returns:
        int64 (num_classes, num_classes), the truth along the rows.

    Raises:
        ValueError: the shapes differ or a class is out of range.
        TypeError: an array does not hold integers.
    """
    prediction, target = np.asarray(prediction), np.asarray(target)
    if prediction.shape != target.shape:
        raise ValueError(
            f"confusion_matrix: prediction and target must have the same shape, got {prediction.shape} and "
            f"{target.shape}"
        )
    for name, array in (("prediction", prediction), ("target", target)):
        if array.dtype.kind not in "iub":
            raise TypeError(f"confusion_matrix: {name} must hold integers, got {array.dtype}")
        if array.size and (array.min() < 0 or array.max() >= num_classes):
            wrong = array.min() if array.min() < 0 else array.max()
            raise ValueError(f"confusion_matrix: {name} must be from 0 to {num_classes - 1}, got {wrong}")
    pairs = target.astype(np.int64).ravel() * num_classes + prediction.astype(np.int64).ravel()
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def _ratio(confusion: np.ndarray, numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    absent = confusion.sum(axis=0) + confusion.sum(axis=1) == 0
    return np.where(absent, 1.0, numerator / np.maximum(denominator, 1))


def dice(confusion: np.ndarray) -> np.ndarray:
    """2 |truth and prediction| / (|truth| + |prediction|) per class, from a `confusion_matrix`.

    Example:
        >>> dice(confusion_matrix(np.array([0, 1, 1]), np.array([0, 0, 1]), 2))
        array([0.66666667, 0.66666667])
    """
    return _ratio(confusion, 2 * np.diag(confusion), confusion.sum(axis=0) + confusion.sum(axis=1))


def iou(confusion: np.ndarray) -> np.ndarray:
    """|truth and prediction| / |truth or prediction| per class, from a `confusion_matrix`."""
    hits = np.diag(confusion)
    return _ratio(confusion, hits, confusion.sum(axis=0) + confusion.sum(axis=1) - hits)


def precision(confusion: np.ndarray) -> np.ndarray:
    """|truth and prediction| / |prediction| per class, from a `confusion_matrix`."""
    return _ratio(confusion, np.diag(confusion), confusion.sum(axis=0))


def recall(confusion: np.ndarray) -> np.ndarray:
    """|truth and prediction| / |truth| per class, from a `confusion_matrix`."""
    return _ratio(confusion, np.diag(confusion), confusion.sum(axis=1))


def specificity(confusion: np.ndarray) -> np.ndarray:
    """|neither truth nor prediction| / |not truth| per class, from a `confusion_matrix`.

    1 where every element is of the class: there is nothing to take for it by mistake.
    """
    total = confusion.sum()
    negatives = total - confusion.sum(axis=1)
    right = negatives - (confusion.sum(axis=0) - np.diag(confusion))
    return np.where(negatives == 0, 1.0, right / np.maximum(negatives, 1))


def accuracy(confusion: np.ndarray) -> float:
    """The share of elements whose class is right; 1 if there are none."""
    total = int(confusion.sum())
    return float(np.trace(confusion) / total) if total else 1.0


def predicted_classes(output: np.ndarray) -> np.ndarray:
    """The class of every element from a network's output (N, C, ...), int64 (N, ...).

    With several channels it is the largest one, the first of equals; a single channel holds the
    probability of class 1 and is cut at 0.5.
    """
    return output.argmax(axis=1) if output.shape[1] > 1 else (output[:, 0] > 0.5).astype(np.int64)


def expect_class_names(collector: object, class_names: Sequence[str]) -> None:
    """Raises unless there are names for at least two classes."""
    if len(class_names) < 2:
        raise ValueError(
            f"{type(collector).__name__}: class_names must name at least 2 classes, got {len(class_names)}"
        )
