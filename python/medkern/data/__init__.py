"""Data sets, batches, augmentation, folders of images with masks, and the demo's brain."""

from medkern.data.dataset import ArrayDataset, Dataset
from medkern.data.files import ImageFolder, VolumePairs, npz_dataset
from medkern.data.loader import DataLoader
from medkern.data.splits import Subset, class_weights, folds, oversample, split
from medkern.data.transforms import Augment, normalize

__all__ = [
    "ArrayDataset",
    "Augment",
    "DataLoader",
    "Dataset",
    "ImageFolder",
    "Subset",
    "VolumePairs",
    "class_weights",
    "folds",
    "normalize",
    "npz_dataset",
    "oversample",
    "split",
]
