"""Data sets that read files when a sample is asked for: class folders, image and mask volumes, `.npz`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from medkern import kernels
from medkern.data.dataset import ArrayDataset
from medkern.data.folder import Pair, list_images
from medkern.io.files import DataError
from medkern.io.image import check_image, read_image
from medkern.io.nifti import nifti_shape, read_nifti, read_nifti_mask
from medkern.io.npz import read_npz


class ImageFolder:
    """Images in a folder per class, the classes in order of name: x float32 (C, H, W), y its class.

    All files are checked when it is made, so that one that can't be read is named before training time is
    spent; pixels are decoded when a sample is asked for.

    Args:
        folder: holds a folder for each class, with PNG or TIFF files.
        size: (H, W), or one number for both; images are resized, linear along both axes.
        channels: 1 or 3; gray becomes three equal channels, colors become their luminance.
        scale: what values are multiplied by, as `rescale` of Keras: 1 / 255 takes bytes to [0, 1].

    Attributes:
        classes: their names.
        files: the path of each sample.
        labels: the class of each sample, int64.

    Raises:
        DataError: there are fewer than two classes, one has no image, or a file can't be read.

    Example:
        >>> data = ImageFolder("train", size=150, channels=3)
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        size: int | tuple[int, int],
        channels: int = 1,
        scale: float = 1 / 255,
    ):
        folder = Path(folder)
        if channels not in (1, 3):
            raise ValueError(f"ImageFolder: channels must be 1 or 3, got {channels}")
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
        self.classes = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        if len(self.classes) < 2:
            raise DataError(f"{folder}: holds {len(self.classes)} folders, one for each of 2 or more classes")
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        self.channels, self.scale = channels, scale
        self.files: list[Path] = []
        labels: list[int] = []
        for number, name in enumerate(self.classes):
            if not any(not p.name.startswith(".") for p in (folder / name).iterdir()):
                raise DataError(f"{folder / name}: the class has no sample")
            for path in list_images(folder / name).values():
                check_image(path)
                self.files.append(path)
                labels.append(number)
        self.labels = np.array(labels, np.int64)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        x = read_image(self.files[index])
        if self.channels == 1 and len(x) == 3:
            x = np.einsum("chw,c->hw", x, np.array([0.299, 0.587, 0.114], np.float32))[None]
        elif self.channels == 3 and len(x) == 1:
            x = np.repeat(x, 3, axis=0)
        if x.shape[1:] != self.size:
            x = kernels.interpolate(x[None], size=self.size, mode="bilinear")[0]
        return np.multiply(x, self.scale, dtype=np.float32), self.labels[index]


class VolumePairs:
    """NIfTI volumes with their masks: x float32 (1, D, H, W), y int64 (D, H, W), slices first.

    Args:
        pairs: what `find_pairs` of a folder with `images/` and `masks/` gives.
        labels: the labels that may occur, ascending; number i becomes class i.

    Raises:
        DataError: a pair is no volume, the sizes of one differ, or, when it is read, a mask holds another
            label.

    Example:
        >>> data = VolumePairs(pairs := find_pairs("scans"), find_labels(pairs))
    """

    def __init__(self, pairs: Sequence[Pair], labels: Sequence[int]):
        for pair in pairs:
            image, mask = nifti_shape(pair.image), nifti_shape(pair.mask)
            if image != mask:
                raise DataError(f"{pair.mask}: is {mask}, but its image {pair.image} is {image}")
        self.pairs, self.labels = list(pairs), np.asarray(labels)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        pair = self.pairs[index]
        x = np.ascontiguousarray(read_nifti(pair.image).transpose(2, 0, 1), np.float32)[None]
        y = read_nifti_mask(pair.mask).transpose(2, 0, 1)
        classes = np.searchsorted(self.labels, y).clip(max=len(self.labels) - 1)
        wrong = self.labels[classes] != y
        if wrong.any():
            known = ", ".join(map(str, self.labels))
            raise DataError(f"{pair.mask}: holds the label {y[wrong][0]}; expected {known}")
        return x, classes.astype(np.int64)


def npz_dataset(path: str | os.PathLike[str], x: str = "x", y: str = "y") -> ArrayDataset:
    """Two arrays of a `.npz` file as a data set.

    Args:
        path: the file.
        x: name of the samples' array.
        y: name of what belongs to them.

    Raises:
        DataError: the file can't be read, has no such array, or they don't fit; the message names it.

    Example:
        >>> train = npz_dataset("breastmnist.npz", "train_images", "train_labels")
    """
    arrays = read_npz(path)
    for name in (x, y):
        if name not in arrays:
            raise DataError(f"{path}: has no array {name!r}, only {', '.join(sorted(arrays))}")
    try:
        return ArrayDataset(arrays[x], arrays[y])
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error
