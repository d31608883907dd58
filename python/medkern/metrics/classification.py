"""Measures of classifications, from the probabilities a network gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from medkern import kernels
from medkern.extras import optional_import
from medkern.metrics.confusion import (
    accuracy,
    confusion_matrix,
    dice,
    expect_class_names,
    precision,
    recall,
    specificity,
)


def roc_auc(scores: np.ndarray, target: np.ndarray) -> float:
    """The area under the ROC curve: how likely a positive sample has a higher score than a negative one.

    Args:
        scores: of the positive class, any real numbers (N).
        target: whether each sample is positive (N).

    Returns:
        From 0 to 1; NaN if all samples are of one class, for which there is no curve.

    Example:
        >>> roc_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1]))
        0.75
    """
    scores, target = np.asarray(scores), np.asarray(target) != 0
    if scores.shape != target.shape or scores.ndim != 1:
        raise ValueError(
            f"roc_auc: scores and target must have the same shape (N,), got {scores.shape} and {target.shape}"
        )
    if target.all() or not target.any():
        return float("nan")
    return float(optional_import("sklearn.metrics", "metrics").roc_auc_score(target, scores))


def calibration_curve(
    probabilities: np.ndarray, target: np.ndarray, bins: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How sure a classifier is and how often it is right, for `medkern.plot.reliability`; Guo et al., 2017.

    Samples are put into `bins` bins of equal width by the probability of the predicted class.

    Args:
        probabilities: (N, C), rows that sum to 1.
        target: true classes (N).
        bins: their number.

    Returns:
        For each bin the mean probability of the predicted class, the share of samples that are of that
        class, both NaN in a bin without samples, and the number of samples.
    """
    return _calibration("calibration_curve", probabilities, target, bins)


def calibration_error(probabilities: np.ndarray, target: np.ndarray, bins: int = 10) -> float:
    """The expected calibration error, sum_b |B_b| / N |accuracy(B_b) - confidence(B_b)|; Guo et al., 2017.

    Args:
        probabilities: (N, C), rows that sum to 1.
        target: true classes (N).
        bins: as in `calibration_curve`.
    """
    confidence, right, counts = _calibration("calibration_error", probabilities, target, bins)
    filled = counts > 0
    return float((np.abs(right - confidence) * counts)[filled].sum() / counts.sum())


def _calibration(
    op: str, probabilities: np.ndarray, target: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    probabilities, target = _expect(op, probabilities, target)
    if bins < 1:
        raise ValueError(f"{op}: bins must be at least 1, got {bins}")
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == target
    number = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(number, minlength=bins)
    divisor = np.where(counts > 0, counts, np.nan)
    return np.bincount(number, confidence, bins) / divisor, np.bincount(number, right, bins) / divisor, counts


def brier_score(probabilities: np.ndarray, target: np.ndarray) -> float:
    """mean_n sum_c (p_nc - [c is the class of n])^2; Brier, 1950. From 0 to 2, less is better.

    Args:
        probabilities: (N, C).
        target: true classes (N).
    """
    probabilities, target = _expect("brier_score", probabilities, target)
    truth = np.eye(probabilities.shape[1])[target]
    return float(((probabilities - truth) ** 2).sum(axis=1).mean())


def _expect(op: str, probabilities: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities, target = np.asarray(probabilities, np.float64), np.asarray(target)
    if probabilities.ndim != 2 or target.shape != probabilities.shape[:1] or not len(target):
        raise ValueError(
            f"{op}: probabilities must have shape (N, C) and target (N,), N at least 1, got "
            f"{probabilities.shape} and {target.shape}"
        )
    if target.dtype.kind not in "iub" or target.min() < 0 or target.max() >= probabilities.shape[1]:
        raise ValueError(f"{op}: target must hold integers from 0 to {probabilities.shape[1] - 1}")
    return probabilities, target


class ClassificationMetrics:
    """Measures over all samples of a pass together, for `Trainer` and evaluation.

    Args:
        class_names: one per class.
        logits: whether the network gives logits, not probabilities.

    Example:
        >>> metrics = ClassificationMetrics(["healthy", "ill"])
        >>> metrics.update(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 1]))
        >>> metrics.compute()["accuracy"]
        1.0
    """

    def __init__(self, class_names: Sequence[str], logits: bool = True):
        expect_class_names(self, class_names)
        self.class_names = list(class_names)
        self.logits = logits
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        self._probabilities: list[np.ndarray] = []
        self._target: list[np.ndarray] = []

    def update(self, output: np.ndarray, target: np.ndarray) -> None:
        """Adds a batch: the network's output (N, C) and the true classes (N)."""
        probabilities, target = _expect("ClassificationMetrics", output, target)
        if probabilities.shape[1] != len(self.class_names):
            raise ValueError(
                f"ClassificationMetrics: output must have {len(self.class_names)} columns, one per class, "
                f"got {probabilities.shape}"
            )
        self._probabilities.append(kernels.softmax(probabilities, 1) if self.logits else probabilities)
        self._target.append(target)

    @property
    def probabilities(self) -> np.ndarray:
        """Of all samples so far (N, C)."""
        return np.concatenate(self._probabilities)

    @property
    def target(self) -> np.ndarray:
        """The true classes of all samples so far (N)."""
        return np.concatenate(self._target)

    @property
    def confusion(self) -> np.ndarray:
        """The `confusion_matrix` of all samples so far."""
        return confusion_matrix(self.probabilities.argmax(axis=1), self.target, len(self.class_names))

    def compute(self) -> dict[str, float]:
        """The accuracy, and F1 and AUC averaged over the classes.

        With two classes F1 and AUC are those of the second. A class without a sample, or with all, has no
        AUC and is left out of its mean.
        """
        report = self.report()
        named = self.class_names[1:] if len(self.class_names) == 2 else self.class_names
        areas = [report[name]["auc"] for name in named if not np.isnan(report[name]["auc"])]
        return {
            "accuracy": report["all"]["accuracy"],
            "f1": float(np.mean([report[name]["f1"] for name in named])),
            "auc": float(np.mean(areas)) if areas else float("nan"),
        }

    def report(self) -> dict[str, dict[str, Any]]:
        """Per class precision, recall, specificity, F1, AUC (one against the rest) and the samples.

        Under "all": accuracy, calibration error, Brier score and the number of samples.
        """
        confusion, probabilities, target = self.confusion, self.probabilities, self.target
        columns = {
            "precision": precision(confusion),
            "recall": recall(confusion),
            "specificity": specificity(confusion),
            "f1": dice(confusion),  # the same ratio under another name
        }
        found: dict[str, dict[str, Any]] = {}
        for i, name in enumerate(self.class_names):
            found[name] = {measure: float(values[i]) for measure, values in columns.items()}
            found[name]["auc"] = roc_auc(probabilities[:, i], target == i)
            found[name]["samples"] = int((target == i).sum())
        found["all"] = {
            "accuracy": accuracy(confusion),
            "calibration_error": calibration_error(probabilities, target),
            "brier_score": brier_score(probabilities, target),
            "samples": len(target),
        }
        return found
