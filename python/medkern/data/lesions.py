"""Simulated lesions in slices of a brain: spots of uneven outline, brighter or darker than the tissue.

    x' = x (1 - p) + t (1 + c) p,  p = clip((r(a) - d) / e + 1/2, 0, 1)

at distance d and angle a from the center, where t is the tissue's mean intensity, c the contrast, e = 2 mm
the width of the edge and

    r(a) = radius (1 + sum_{k = 2..5} s_k cos(k a + f_k)),  s_k normal with standard deviation 0.2 / k.

With |c| from 0.3 on lesions are brighter than white matter or darker than gray matter, as fluid is. Pixels
are 1 mm wide, as those of `medkern.data.demo`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medkern.data.demo import BIAS, Slices, scan
from medkern.data.transforms import Augment

_EDGE = 2.0
_UNEVENNESS = 0.2
_HARMONICS = range(2, 6)
_GAP = 4.0  # mm at least between two lesions
_MIDLINE = 4.0  # mm to the middle at least, so that a lesion has a side
_INSIDE = 0.85  # the share of a lesion that must be tissue
_TRIES = 200  # to find such places
_SMALL, _LARGE = 6.5, 10.5  # mm, the radii between which a lesion is medium

SIZES = ("small", "medium", "large")
SIDES = ("left", "right")


@dataclass(frozen=True)
class Lesion:
    """One lesion of a slice.

    Attributes:
        row: of its center.
        column: of its center.
        radius: the mean one, in mm.
        contrast: of its intensity to the tissue's mean, below 0 for a dark one.
        side: "left" or "right" of the middle of the tissue, as seen in the image.
    """

    row: int
    column: int
    radius: float
    contrast: float
    side: str

    @property
    def size(self) -> str:
        """From a radius of 10.5 mm on "large", below 6.5 mm "small", else "medium"."""
        return SIZES[(self.radius >= _SMALL) + (self.radius >= _LARGE)]


@dataclass(frozen=True)
class Scan:
    """A simulated scan.

    Attributes:
        number: of the slice it was made from.
        image: what the scanner gives, float32 (H, W).
        mask: where there are lesions, bool (H, W).
        lesions: what they are, from left to right.
    """

    number: int
    image: np.ndarray
    mask: np.ndarray
    lesions: tuple[Lesion, ...]


def place_lesions(
    labels: np.ndarray,
    count: int,
    rng: np.random.Generator,
    *,
    radius: Sequence[float] | Sequence[Sequence[float]] = (4.0, 14.0),
    contrast: tuple[float, float] = (0.3, 0.7),
    dark: float = 0.5,
) -> list[Lesion]:
    """Draws lesions in the tissue of a slice, 4 mm apart at least, with most of each in tissue.

    Args:
        labels: (H, W), 0 where there is no tissue.
        count: how many; fewer where there is no room for all.
        rng: where the random numbers come from.
        radius: the smallest and largest, in mm, or several such ranges, each as likely; drawn uniformly.
        contrast: the smallest and largest, without sign.
        dark: the share of dark lesions.

    Returns:
        The lesions, from left to right.

    Raises:
        ValueError: the slice has no tissue, `count` is negative, or a range is empty.

    Example:
        >>> place_lesions(np.ones((64, 64)), 2, np.random.default_rng(0))[0].side
        'left'
    """
    if count < 0:
        raise ValueError(f"place_lesions: count must not be negative, got {count}")
    given: Any = radius if np.ndim(radius) == 2 else [radius]
    ranges: list[Any] = [tuple(pair) for pair in given]
    for name, pair in (*(("radius", pair) for pair in ranges), ("contrast", contrast)):
        if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
            raise ValueError(f"place_lesions: {name} must be two positive numbers in order, got {pair}")
    rows, columns = np.nonzero(labels)
    if not len(rows):
        raise ValueError("place_lesions: labels must have tissue, all are 0")
    down, right = np.ogrid[: labels.shape[0], : labels.shape[1]]
    middle = columns.mean()
    found: list[Lesion] = []
    for _ in range(_TRIES):
        if len(found) == count:
            break
        size = rng.uniform(*ranges[rng.integers(len(ranges))])
        strength = rng.uniform(*contrast) * (-1 if rng.random() < dark else 1)
        i = rng.integers(len(rows))
        row, column = int(rows[i]), int(columns[i])
        near = [np.hypot(row - o.row, column - o.column) <= size + o.radius + _GAP for o in found]
        if abs(column - middle) < _MIDLINE or any(near):
            continue
        covered = labels[np.hypot(down - row, right - column) < size] != 0
        if covered.sum() < _INSIDE * np.pi * size**2:
            continue
        found.append(Lesion(row, column, float(size), float(strength), SIDES[int(column > middle)]))
    return sorted(found, key=lambda lesion: (lesion.column, lesion.row))


def lesion_share(shape: tuple[int, ...], lesion: Lesion, rng: np.random.Generator) -> np.ndarray:
    """How much of each pixel of (H, W) is lesion, p above, from 0 to 1; `rng` draws the outline."""
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    down, right = rows - lesion.row, columns - lesion.column
    angle = np.arctan2(down, right)
    outline = np.ones(shape)
    for k in _HARMONICS:
        outline += rng.normal(0, _UNEVENNESS / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    return np.clip((lesion.radius * outline - np.hypot(down, right)) / _EDGE + 0.5, 0, 1)


def add_lesions(
    image: np.ndarray, labels: np.ndarray, lesions: Sequence[Lesion], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draws lesions into a slice.

    Args:
        image: (H, W).
        labels: (H, W), 0 where there is no tissue.
        lesions: what to draw.
        rng: of the outlines.

    Returns:
        The new image, and a mask of the lesions, bool (H, W).

    Raises:
        ValueError: the shapes differ, or there are lesions and no tissue.
    """
    if image.shape != labels.shape or image.ndim != 2:
        raise ValueError(
            f"add_lesions: image and labels must have one shape (H, W), got {image.shape} and {labels.shape}"
        )
    if lesions and not labels.any():
        raise ValueError("add_lesions: labels must have tissue, all are 0")
    result, mask = image.astype(np.float64), np.zeros(image.shape, bool)
    tissue = result[labels != 0].mean() if lesions else 0.0
    for lesion in lesions:
        inside = lesion_share(image.shape, lesion, rng)
        result = result * (1 - inside) + tissue * (1 + lesion.contrast) * inside
        mask |= inside >= 0.5
    return result.astype(image.dtype), mask


def simulate(
    slices: Slices,
    count: int,
    seed: int = 0,
    *,
    lesions: Sequence[int] = (0, 1),
    radius: Sequence[float] | Sequence[Sequence[float]] = (4.0, 14.0),
    contrast: tuple[float, float] = (0.3, 0.7),
    dark: float = 0.5,
    shift: int = 8,
    bias: float = BIAS,
) -> list[Scan]:
    """Scans of patients: slices mirrored and moved at random, with lesions, and then scanned.

    Scan i depends on the slices, i and the seed alone.

    Args:
        slices: what to start from, taken in turn.
        count: the number of scans.
        seed: of all random numbers.
        lesions: how many lesions a scan may have; each is as likely.
        radius: see `place_lesions`.
        contrast: see `place_lesions`.
        dark: see `place_lesions`.
        shift: the largest move along each axis, in pixels.
        bias: the largest relative change of intensity by the coil's bias field.

    Raises:
        ValueError: `count` is below 1, `lesions` is empty or a range is.

    Example:
        >>> scans = simulate(demo.slices(range(60, 80)), 100, lesions=(0, 1, 2))
        >>> scans[0].image.shape, len(scans[0].lesions)
        ((192, 160), 1)
    """
    if count < 1:
        raise ValueError(f"simulate: count must be at least 1, got {count}")
    if not lesions or min(lesions) < 0:
        raise ValueError(f"simulate: lesions must be numbers from 0 on, got {tuple(lesions)}")
    place = Augment(flip=(1,), shift=shift)
    scans = []
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        which = i % len(slices.numbers)
        image, labels = place(slices.clean[which][None], slices.labels[which], rng)
        wanted = int(rng.choice(np.asarray(lesions)))
        drawn = place_lesions(labels, wanted, rng, radius=radius, contrast=contrast, dark=dark)
        changed, mask = add_lesions(image[0], labels, drawn, rng)
        scans.append(Scan(slices.numbers[which], scan(changed, rng, bias), mask, tuple(drawn)))
    return scans


def interleaved(first: int = 30, last: int = 130) -> tuple[list[int], list[int], list[int]]:
    """Numbers of slices for training, validation and test, so that each part covers the whole range.

    Of every 20 slices 10 are for training and 4 for the test (validation in every other period), with 3
    unused ones to either side, so that no slice has a neighbor within 4 mm in another part.

    Args:
        first: the first slice of all.
        last: after the last slice of all.

    Raises:
        ValueError: there are fewer than 40 slices, so that a part would be empty.
    """
    if last - first < 40:
        raise ValueError(f"interleaved: needs at least 40 slices, got {first} to {last}")
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])
    for number in range(first, last):
        period, place = divmod(number - first, 20)
        if place < 10:
            parts[0].append(number)
        elif 13 <= place < 17:
            parts[1 if period % 2 else 2].append(number)
    return parts
