"""A user's own data: a folder with `images/` and `masks/`, files matched by name.

Images are PNG, TIFF or NIfTI; a mask holds the label of every pixel. A NIfTI volume counts as a stack of
slices along its third axis. Everything is read into memory at once.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medkern.data.transforms import fit, normalize, round_up
from medkern.io.files import DataError
from medkern.io.image import IMAGE_SUFFIXES, image_shape, read_image, read_mask
from medkern.io.nifti import NIFTI_SUFFIXES, nifti_shape, read_nifti, read_nifti_mask

MAX_LABELS = 32
MAX_TOTAL = 2**31  # pixels of a folder: 8 GiB as float32
_SUFFIXES = (*IMAGE_SUFFIXES, *NIFTI_SUFFIXES)


@dataclass(frozen=True)
class Pair:
    """An image and its mask."""

    name: str
    image: Path
    mask: Path


@dataclass
class Case:
    """An image or volume, normalized and as slices, with the class of every pixel.

    Attributes:
        name: the file's name without its suffix.
        x: float32 (S, C, H, W); S is 1 for an image.
        y: class indices, uint8 (S, H, W).
    """

    name: str
    x: np.ndarray
    y: np.ndarray


def split_name(path: Path) -> tuple[str, str]:
    """The name of a file and its suffix in lower case, where ".nii.gz" counts as one suffix."""
    suffix = next((s for s in _SUFFIXES if path.name.lower().endswith(s)), path.suffix)
    return path.name[: len(path.name) - len(suffix)], suffix.lower()


def is_volume(path: Path) -> bool:
    """Whether the name is that of a NIfTI file."""
    return split_name(path)[1] in NIFTI_SUFFIXES


def list_images(folder: str | os.PathLike[str]) -> dict[str, Path]:
    """The readable files of a folder, by name without suffix, in order of name.

    Raises:
        DataError: there is no such folder, it holds a file of another kind, or two files of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        name, suffix = split_name(path)
        if suffix not in _SUFFIXES or not path.is_file():
            raise DataError(f"{path}: not a file that ends in {', '.join(_SUFFIXES)}")
        if name in found:
            raise DataError(f"{path}: has the same name as {found[name]}")
        found[name] = path
    if not found:
        raise DataError(f"{folder}: holds no file that ends in {', '.join(_SUFFIXES)}")
    return found


def find_pairs(folder: str | os.PathLike[str]) -> list[Pair]:
    """Matches `images/` and `masks/` of a folder by name and compares their sizes, reading headers only.

    Raises:
        DataError: an image has no mask or a mask no image, a pair differs in kind or size, or a file can't
            be read; the message names it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    images, masks = list_images(folder / "images"), list_images(folder / "masks")
    for name, path in images.items():
        if name not in masks:
            raise DataError(f"{path}: has no mask of that name in {folder / 'masks'}")
    for name, path in masks.items():
        if name not in images:
            raise DataError(f"{path}: has no image of that name in {folder / 'images'}")
    pairs = [Pair(name, path, masks[name]) for name, path in images.items()]
    total = 0
    for pair in pairs:
        if is_volume(pair.image) != is_volume(pair.mask):
            raise DataError(f"{pair.mask}: an image and its mask must both be NIfTI or neither")
        size = nifti_shape if is_volume(pair.image) else image_shape
        of_image, of_mask = size(pair.image), size(pair.mask)
        if of_image != of_mask:
            raise DataError(f"{pair.mask}: is {_by(of_mask)}, but its image {pair.image} is {_by(of_image)}")
        total += int(np.prod(of_image, dtype=np.int64))
    if total > MAX_TOTAL:
        raise DataError(f"{folder}: holds {total} pixels; at most {MAX_TOTAL} are read into memory")
    return pairs


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes))


def read_slices(path: Path) -> np.ndarray:
    """An image or volume as normalized slices, float32 (S, C, H, W)."""
    if is_volume(path):
        volume = normalize(read_nifti(path)[None])[0]
        return np.ascontiguousarray(volume.transpose(2, 0, 1))[:, None]
    return normalize(read_image(path))[None]


def _read_labels(path: Path) -> np.ndarray:
    """A mask as slices, int64 (S, H, W)."""
    return read_nifti_mask(path).transpose(2, 0, 1) if is_volume(path) else read_mask(path)[None]


def find_labels(pairs: Sequence[Pair]) -> tuple[int, ...]:
    """The labels that occur in any of the masks, smallest first; the first counts as background.

    Raises:
        DataError: there are fewer than 2 or more than 32.
    """
    found: set[int] = set()
    for pair in pairs:
        here = np.unique(_read_labels(pair.mask))
        found.update(here[: MAX_LABELS + 1].tolist())
        if len(found) > MAX_LABELS:
            raise DataError(
                f"{pair.mask}: holds {len(here)} different labels; a data set has at most {MAX_LABELS} in all"
            )
    if len(found) < 2:
        raise DataError(f"{pairs[0].mask.parent}: all masks hold the one label {found.pop()}")
    return tuple(sorted(found))


def read_case(pair: Pair, labels: Sequence[int], channels: int | None = None) -> Case:
    """Reads a pair; label number i of `labels` becomes class i.

    Args:
        pair: what to read.
        labels: all the labels that may occur, ascending.
        channels: how many the image must have, or None for any.

    Raises:
        DataError: a file can't be read, the mask holds another label, or the channels don't fit.
    """
    x, y = read_slices(pair.image), _read_labels(pair.mask)
    if channels is not None and x.shape[1] != channels:
        raise DataError(f"{pair.image}: has {x.shape[1]} channels, expected {channels}")
    classes = np.searchsorted(labels, y).clip(max=len(labels) - 1)
    wrong = np.asarray(labels)[classes] != y
    if wrong.any():
        raise DataError(f"{pair.mask}: holds the label {y[wrong][0]}; expected {', '.join(map(str, labels))}")
    return Case(pair.name, x, classes.astype(np.uint8))


def read_cases(pairs: Sequence[Pair], labels: Sequence[int], channels: int | None = None) -> list[Case]:
    """Reads all pairs; without `channels` all images must have as many as the first."""
    cases: list[Case] = []
    for pair in pairs:
        cases.append(read_case(pair, labels, channels))
        channels = cases[0].x.shape[1]
    return cases


class SliceDataset:
    """The slices of cases as samples of one size.

    Args:
        cases: where they come from.
        multiple: both sizes of a sample are the smallest multiples of this that hold every slice; images
            are filled by repeating their edge, labels with class 0.
        shape: (H, W) to use instead.
    """

    def __init__(self, cases: Sequence[Case], multiple: int = 1, shape: tuple[int, int] | None = None):
        if shape is None:
            sizes = np.max([case.y.shape[1:] for case in cases], axis=0)
            shape = (round_up(int(sizes[0]), multiple), round_up(int(sizes[1]), multiple))
        self.cases = list(cases)
        self.shape = shape
        self.index = [(case, s) for case in self.cases for s in range(len(case.y))]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        case, s = self.index[index]
        return fit(case.x[s], self.shape), fit(case.y[s].astype(np.int64), self.shape, fill=0)
