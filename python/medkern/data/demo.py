"""The data of `medkern train --demo`: a real T1 brain with what a scanner adds.

The image is the ICBM 2009a template, the average of 152 registered scans, with its maps of gray and white
matter, as `nilearn` ships them; nothing is downloaded. Clean, it is too easy: two intensity thresholds
reach a Dice of 0.96. So every slice, in training and in the test, gets a bias field and noise:

    x = |t (1 + 0.3 f) + n1 + i n2|

where t is the template (largest value 1), f a smooth random field with largest absolute value 1 (the
receiver coil's bias) and n1, n2 normal noise with standard deviation 0.05 (which makes Rician noise). The
slices of validation and test are scanned once, with random numbers that depend on the seed and the slice
alone; training sees its slices scanned anew in every epoch (`Rescan`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medkern.data.dataset import ArrayDataset
from medkern.data.transforms import Augment, fit, normalize, smooth_field
from medkern.extras import optional_import

CLASSES = ("background", "gray matter", "white matter")
BIAS = 0.3
NOISE = 0.05
SHAPE = (192, 160)  # of a slice: the brain (181 x 145 mm) with a margin, multiples of 16

# Axial slices, 1 mm apart; the brain reaches from 0 to 154. At least 6 mm lie between the parts, so that
# no slice has a neighbor in another part.
TRAIN = (*range(8, 78), *range(124, 148))
VALIDATION = tuple(range(112, 118))
TEST = tuple(range(84, 106))


@dataclass
class Slices:
    """Axial slices of one part of the brain.

    Attributes:
        numbers: where each slice lies, in mm from the lowest.
        clean: the template, float32 (N, H, W).
        intensity: what the scanner gives, float32 (N, H, W).
        labels: 0 background, 1 gray matter, 2 white matter, int64 (N, H, W).
    """

    numbers: tuple[int, ...]
    clean: np.ndarray
    intensity: np.ndarray
    labels: np.ndarray

    def dataset(self) -> ArrayDataset:
        """The slices, each normalized for itself, as samples for a network."""
        return ArrayDataset(np.stack([normalize(x[None]) for x in self.intensity]), self.labels)

    def clean_dataset(self) -> ArrayDataset:
        """The slices before scanning, as samples for `Rescan`."""
        return ArrayDataset(self.clean[:, None], self.labels)


@dataclass
class Demo:
    """The three parts of the demo's data."""

    train: Slices
    validation: Slices
    test: Slices


@functools.lru_cache(maxsize=1)
def volumes() -> tuple[np.ndarray, np.ndarray]:
    """The template, float32 (X, Y, Z), 1 mm apart, and the label of every voxel, int64; read-only.

    The label is the largest of the three: the gray map, the white map, and what is missing to 1 (background,
    which includes fluid).

    Raises:
        ModuleNotFoundError: nilearn is not installed.
    """
    datasets = optional_import("nilearn.datasets", "demo")
    template, gray, white = (
        np.asarray(load_map(resolution=1).dataobj, dtype=np.float32)
        for load_map in (
            datasets.load_mni152_template,
            datasets.load_mni152_gm_template,
            datasets.load_mni152_wm_template,
        )
    )
    labels = np.argmax(np.stack([1 - gray - white, gray, white]), axis=0)
    for array in (template, labels):  # they are kept for the next call
        array.setflags(write=False)
    return template, labels


def slices(numbers: Sequence[int], seed: int = 0, shape: tuple[int, int] = SHAPE) -> Slices:
    """Axial slices of the template, scanned once each.

    Args:
        numbers: which, in mm from the lowest, from 0 to 154.
        seed: of bias fields and noise.
        shape: the height and width of a slice.

    Raises:
        ValueError: there is no slice of such a number.
        ModuleNotFoundError: nilearn is not installed.
    """
    return _cut(*volumes(), tuple(numbers), seed, shape)


def load(seed: int = 0) -> Demo:
    """Reads the template and makes the three parts; see `slices`."""
    template, labels = volumes()
    return Demo(*(_cut(template, labels, numbers, seed, SHAPE) for numbers in (TRAIN, VALIDATION, TEST)))


def _cut(
    template: np.ndarray, labels: np.ndarray, numbers: tuple[int, ...], seed: int, shape: tuple[int, int]
) -> Slices:
    wrong = [number for number in numbers if not 0 <= number < template.shape[2]]
    if wrong or not numbers:
        raise ValueError(f"slices: numbers must be from 0 to {template.shape[2] - 1}, got {wrong or 'none'}")

    # Rows from front to back, columns from left to right: the usual view.
    def view(volume: np.ndarray, number: int) -> np.ndarray:
        return fit(volume[:, :, number].T[::-1], shape, fill=0)

    clean = np.stack([view(template, number) for number in numbers])
    return Slices(
        numbers,
        clean,
        np.stack([scan(x, np.random.default_rng((seed, n))) for x, n in zip(clean, numbers, strict=True)]),
        np.stack([view(labels, number) for number in numbers]),
    )


def scan(clean: np.ndarray, rng: np.random.Generator, bias: float = BIAS, noise: float = NOISE) -> np.ndarray:
    """What a scanner makes of a slice (H, W): bias field and Rician noise, float32."""
    biased = clean * (1 + bias * smooth_field(clean.shape, rng))
    real = biased + rng.normal(0, noise, clean.shape)
    imaginary = rng.normal(0, noise, clean.shape)
    return np.hypot(real, imaginary).astype(np.float32)


class Rescan:
    """Augmentation of a clean slice: a new scan of it, normalized, mirrored and moved at random.

    Both mirrors and the large moves keep the network from learning where in the head it is instead of what
    tissue looks like: the slab of the test is a part of the brain it has not seen.
    """

    def __init__(self) -> None:
        self._place = Augment(flip=(0, 1), shift=24)

    def __call__(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The scanned sample; x and y stay as they are."""
        return self._place(normalize(scan(x[0], rng)[None]), y, rng)


def best_thresholds(intensity: np.ndarray, labels: np.ndarray, steps: int = 150) -> tuple[float, float]:
    """The rule to beat: below the first threshold background, above the second white matter.

    Args:
        intensity: any shape.
        labels: of the same shape, 0, 1 or 2.
        steps: how finely the range of the intensities is searched.

    Returns:
        The pair with the largest sum of Dice for gray and for white matter.
    """
    edges = np.linspace(intensity.min(), intensity.max(), steps + 1)
    counts = np.stack([np.histogram(intensity[labels == label], edges)[0] for label in range(3)])
    below = np.concatenate([np.zeros((3, 1), np.int64), counts.cumsum(axis=1)], axis=1)  # (3, steps + 1)
    total = below[:, -1]
    first, second = np.triu_indices(steps + 1)
    found_gray = below[:, second] - below[:, first]  # by true label
    found_white = total[:, None] - below[:, second]
    gray = 2 * found_gray[1] / np.maximum(1, total[1] + found_gray.sum(axis=0))
    white = 2 * found_white[2] / np.maximum(1, total[2] + found_white.sum(axis=0))
    best = np.argmax(gray + white)
    return float(edges[first[best]]), float(edges[second[best]])


def apply_thresholds(intensity: np.ndarray, thresholds: tuple[float, float]) -> np.ndarray:
    """The label of every pixel by the rule of two thresholds, int64."""
    return np.digitize(intensity, thresholds)
