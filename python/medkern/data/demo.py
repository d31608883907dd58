"""The data of `medkern train --demo`: a real T1 brain with what a scanner adds.

The image is the ICBM 2009a template, the average of 152 registered scans, with its maps of gray and white
matter, as `nilearn` ships them; nothing is downloaded. Clean, it is too easy: two intensity thresholds
reach a Dice of 0.96. So every slice, in training and in the test, is changed once, with random numbers that
depend on the seed and the slice alone:

    x = |t (1 + 0.3 f) + n1 + i n2|

where t is the template (largest value 1), f a smooth random field with largest absolute value 1 (the
receiver coil's bias) and n1, n2 normal noise with standard deviation 0.05 (which makes Rician noise).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medkern.data.dataset import ArrayDataset
from medkern.data.transforms import fit, normalize, smooth_field
from medkern.io.files import optional_import

CLASSES = ("background", "gray matter", "white matter")
BIAS = 0.3
NOISE = 0.05
SHAPE = (160, 192)  # of a slice: the brain (145 x 181 mm) with a margin, multiples of 16

# Axial slices, 1 mm apart; the brain reaches from 0 to 154. At least 6 mm lie between the parts, so that
# no slice has a neighbor in another part.
TRAIN = (*range(8, 78), *range(112, 126))
VALIDATION = tuple(range(132, 142))
TEST = tuple(range(84, 106))


@dataclass
class Slices:
    """Axial slices of one part of the brain.

    Attributes:
        numbers: where each slice lies, in mm from the lowest.
        intensity: what the scanner gives, float32 (N, H, W).
        labels: 0 background, 1 gray matter, 2 white matter, int64 (N, H, W).
    """

    numbers: tuple[int, ...]
    intensity: np.ndarray
    labels: np.ndarray

    def dataset(self) -> ArrayDataset:
        """The slices, each normalized for itself, as samples for a network."""
        return ArrayDataset(np.stack([normalize(x[None]) for x in self.intensity]), self.labels)


@dataclass
class Demo:
    """The three parts of the demo's data."""

    train: Slices
    validation: Slices
    test: Slices


def load(seed: int = 0) -> Demo:
    """Reads the template and makes the three parts.

    The label of a voxel is the largest of the three: the gray map, the white map, and what is missing to
    1 (background, which includes fluid).

    Args:
        seed: of bias fields and noise.

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

    def part(numbers: tuple[int, ...]) -> Slices:
        # Rows from front to back, columns from left to right: the usual view.
        def view(volume: np.ndarray, number: int) -> np.ndarray:
            return fit(volume[:, :, number].T[::-1], SHAPE[::-1], fill=0)

        return Slices(
            numbers,
            np.stack([scan(view(template, number), seed, number) for number in numbers]),
            np.stack([view(labels, number) for number in numbers]),
        )

    return Demo(part(TRAIN), part(VALIDATION), part(TEST))


def scan(clean: np.ndarray, seed: int, number: int) -> np.ndarray:
    """What a scanner makes of slice `number` (H, W): bias field and Rician noise, float32."""
    rng = np.random.default_rng((seed, number))
    biased = clean * (1 + BIAS * smooth_field(clean.shape, rng))
    real = biased + rng.normal(0, NOISE, clean.shape)
    imaginary = rng.normal(0, NOISE, clean.shape)
    return np.hypot(real, imaginary).astype(np.float32)


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
