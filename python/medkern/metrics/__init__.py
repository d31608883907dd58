"""Measures: of segmentations, classifications, images and texts, and how sure they are."""

from medkern.metrics.classification import (
    ClassificationMetrics,
    brier_score,
    calibration_curve,
    calibration_error,
    roc_auc,
)
from medkern.metrics.confusion import (
    accuracy,
    confusion_matrix,
    dice,
    iou,
    precision,
    predicted_classes,
    recall,
    specificity,
)
from medkern.metrics.image import psnr, ssim
from medkern.metrics.interval import bootstrap_interval
from medkern.metrics.registration import count_folds, jacobian_determinant
from medkern.metrics.segmentation import (
    SegmentationCases,
    SegmentationMetrics,
    average_surface_distance,
    hausdorff95,
)
from medkern.metrics.synthesis import frechet_distance, inception_score, kernel_distance
from medkern.metrics.text import bleu, rouge_l

__all__ = [
    "ClassificationMetrics",
    "SegmentationCases",
    "SegmentationMetrics",
    "accuracy",
    "average_surface_distance",
    "bleu",
    "bootstrap_interval",
    "brier_score",
    "calibration_curve",
    "calibration_error",
    "confusion_matrix",
    "count_folds",
    "dice",
    "frechet_distance",
    "hausdorff95",
    "inception_score",
    "iou",
    "jacobian_determinant",
    "kernel_distance",
    "precision",
    "predicted_classes",
    "psnr",
    "recall",
    "roc_auc",
    "rouge_l",
    "specificity",
    "ssim",
]
