"""Measures of segmentations: overlap over all voxels together, and overlap and distance case by case."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medkern.extras import optional_import
from medkern.metrics.confusion import (
    accuracy,
    confusion_matrix,
    dice,
    expect_class_names,
    iou,
    precision,
    predicted_classes,
    recall,
)
from medkern.metrics.interval import bootstrap_interval


def hausdorff95(prediction: np.ndarray, target: np.ndarray, spacing: Sequence[float] | None = None) -> float:
    """The distance that 95 % of either surface keep to the other: max(p95 d(P, T), p95 d(T, P)).

    d(A, B) are the distances of the surface voxels of A to the nearest surface voxel of B, where a surface
    voxel is one of the mask with a neighbor along an axis outside of it (or of the image).

    Args:
        prediction: a mask, any number of axes.
        target: the true mask, same shape.
        spacing: of the voxels along each axis, in mm, say; 1 if None.

    Returns:
        In the unit of `spacing`; 0 if both masks are empty, NaN if only one is: there is no distance then.

    Raises:
        ValueError: shapes differ, or `spacing` isn't one positive number per axis.

    Example:
        >>> a, b = np.zeros((9, 9)), np.zeros((9, 9))
        >>> a[2, 2] = b[5, 6] = 1
        >>> hausdorff95(a, b, (2.0, 1.0))
        7.211102550927978
    """
    surfaces = _surface_distances("hausdorff95", prediction, target, spacing)
    return surfaces if isinstance(surfaces, float) else float(max(np.percentile(d, 95) for d in surfaces))


def average_surface_distance(
    prediction: np.ndarray, target: np.ndarray, spacing: Sequence[float] | None = None
) -> float:
    """The mean distance of all surface voxels of either mask to the other's surface; see `hausdorff95`."""
    surfaces = _surface_distances("average_surface_distance", prediction, target, spacing)
    return surfaces if isinstance(surfaces, float) else float(np.concatenate(surfaces).mean())


def _surface_distances(
    op: str, prediction: np.ndarray, target: np.ndarray, spacing: Sequence[float] | None
) -> list[np.ndarray] | float:
    """Distances from P to T and from T to P, or the value where a mask is empty."""
    ndimage = optional_import("scipy.ndimage", "metrics")
    masks = [np.asarray(prediction) != 0, np.asarray(target) != 0]
    if masks[0].shape != masks[1].shape:
        raise ValueError(
            f"{op}: prediction and target must have the same shape, got {masks[0].shape} and {masks[1].shape}"
        )
    axes = masks[0].ndim
    spacing = (1.0,) * axes if spacing is None else tuple(spacing)
    if len(spacing) != axes or not all(math.isfinite(step) and step > 0 for step in spacing):
        raise ValueError(f"{op}: spacing must be {axes} positive numbers, got {spacing}")
    filled = [bool(mask.any()) for mask in masks]
    if not all(filled):
        return math.nan if any(filled) else 0.0
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
    return [
        ndimage.distance_transform_edt(~other, sampling=spacing)[one]
        for one, other in (surfaces, surfaces[::-1])
    ]


class SegmentationMetrics:
    """Measures over all samples of a pass together, for `Trainer` and evaluation.

    Args:
        class_names: one per class; class 0 counts as background and is left out of the means.

    Example:
        >>> metrics = SegmentationMetrics(["background", "lesion"])
        >>> metrics.update(output, target)
        >>> metrics.compute()["dice"]
    """

    def __init__(self, class_names: Sequence[str]):
        expect_class_names(self, class_names)
        self.class_names = list(class_names)
        self.reset()

    def reset(self) -> None:
        """Forgets all samples."""
        count = len(self.class_names)
        self.confusion = np.zeros((count, count), np.int64)

    def update(self, output: np.ndarray, target: np.ndarray) -> None:
        """Adds a batch: the network's output (N, C, ...) and the true classes (N, ...)."""
        self.confusion += confusion_matrix(predicted_classes(output), target, len(self.class_names))

    def compute(self) -> dict[str, float]:
        """The mean Dice over the classes but the first, and their Dice one by one."""
        values = dice(self.confusion)
        named = {f"dice {name}": float(value) for name, value in zip(self.class_names, values, strict=True)}
        named.pop(f"dice {self.class_names[0]}")
        return {"dice": float(values[1:].mean()), **named}

    def report(self) -> dict[str, dict[str, float]]:
        """All measures per class, and the accuracy."""
        columns = {f.__name__: f(self.confusion) for f in (dice, iou, precision, recall)}
        per_class = {
            name: {measure: float(values[i]) for measure, values in columns.items()}
            for i, name in enumerate(self.class_names)
        }
        return {**per_class, "all": {"accuracy": accuracy(self.confusion)}}


class SegmentationCases:
    """Dice, IoU and HD95 of every class, case by case, and what they come to over the patients.

    Where a class is neither in the truth nor in the prediction, Dice and IoU are 1 and the distance is 0.
    Where it is in one of the two only, Dice and IoU are 0 and there is no distance: such a case has failed,
    is left out of the mean distance and is counted beside it.

    Args:
        class_names: one per class; class 0 counts as background and has no figures of its own.

    Example:
        >>> cases = SegmentationCases(["background", "lesion"])
        >>> cases.add("scan 1", prediction, truth, spacing=(1.0, 0.9, 0.9), patient="A")
        >>> cases.summary()["lesion"]["dice"]["mean"]
    """

    def __init__(self, class_names: Sequence[str]):
        expect_class_names(self, class_names)
        self.class_names = list(class_names)
        self.rows: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        prediction: np.ndarray,
        target: np.ndarray,
        spacing: Sequence[float] | None = None,
        patient: str | None = None,
    ) -> None:
        """Adds an image or volume.

        Args:
            name: of the case.
            prediction: class of every voxel.
            target: the truth, same shape.
            spacing: see `hausdorff95`.
            patient: whose it is; cases of one patient count together. None for a patient of its own.
        """
        confusion = confusion_matrix(prediction, target, len(self.class_names))
        overlap, union = dice(confusion), iou(confusion)
        for i, label in list(enumerate(self.class_names))[1:]:
            distance = hausdorff95(np.asarray(prediction) == i, np.asarray(target) == i, spacing)
            self.rows.append(
                {
                    "case": name,
                    "patient": name if patient is None else patient,
                    "class": label,
                    "dice": float(overlap[i]),
                    "iou": float(union[i]),
                    "hd95": distance,
                }
            )

    def summary(self, confidence: float = 0.95, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Per class: the mean over the patients of each measure with its bootstrap interval.

        Args:
            confidence: of the intervals.
            seed: of the bootstrap.

        Returns:
            For each class "cases", "patients", "failed" (cases without a distance), and for "dice", "iou" and
            "hd95" a dict with "mean", "low" and "high", or None if no case has the measure.
        """
        found: dict[str, dict[str, Any]] = {}
        for label in self.class_names[1:]:
            rows = [row for row in self.rows if row["class"] == label]
            found[label] = {
                "cases": len(rows),
                "patients": len({row["patient"] for row in rows}),
                "failed": sum(math.isnan(row["hd95"]) for row in rows),
            }
            for measure in ("dice", "iou", "hd95"):
                values: dict[str, list[float]] = {}
                for row in rows:
                    if not math.isnan(row[measure]):
                        values.setdefault(row["patient"], []).append(row[measure])
                means = np.array([np.mean(of_patient) for of_patient in values.values()])
                found[label][measure] = None
                if len(means):
                    low, high = bootstrap_interval(means, confidence=confidence, seed=seed)
                    found[label][measure] = {"mean": float(means.mean()), "low": low, "high": high}
        return found
