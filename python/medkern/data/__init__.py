"""Data sets, batches, augmentation, folders of images with masks, and the demo's brain."""

from medkern.data.dataset import ArrayDataset, Dataset
from medkern.data.loader import DataLoader
from medkern.data.transforms import Augment, normalize

__all__ = ["ArrayDataset", "Augment", "DataLoader", "Dataset", "normalize"]
