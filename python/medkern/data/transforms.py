"""What happens to images before the network sees them, and augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from medkern.data import geometry

_SPLITS = 10  # enough for the split to settle


def normalize(x: np.ndarray) -> np.ndarray:
    """Scales each channel (axis 0) of one whole image or volume by its dark and its bright part; float32.

    The mean of the dark part becomes 0 and that of the bright part 1. The two are split halfway between
    these means (Ridler and Calvard, 1978), so that, unlike with mean and standard deviation, a tissue gets
    much the same value however much of the image is background. A channel of one value becomes 0.
    """
    result = np.empty(x.shape, np.float32)
    for channel, out in zip(x.astype(np.float64), result, strict=True):
        dark = bright = channel.mean()
        for _ in range(_SPLITS):
            above = channel > (dark + bright) / 2
            if not above.any():
                break
            dark, bright = channel[~above].mean(), channel[above].mean()
        out[...] = (channel - dark) / ((bright - dark) or 1.0)
    return result


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is not below `size`."""
    return -(-size // multiple) * multiple


def fit(x: np.ndarray, shape: Sequence[int], fill: float | None = None) -> np.ndarray:
    """The last axes of x brought to `shape` about their center, by cropping or filling.

    Args:
        x: any array with at least `len(shape)` axes.
        shape: the new sizes of the last axes.
        fill: what goes around; None repeats the value at the edge.

    Returns:
        A new array. `fit(fit(x, larger), x.shape)` is x.
    """
    lead = x.ndim - len(shape)
    crop: list[slice] = [slice(None)] * lead
    pads = [(0, 0)] * lead
    for size, target in zip(x.shape[lead:], shape, strict=True):
        start = max(0, (size - target) // 2)
        crop.append(slice(start, start + min(size, target)))
        before = max(0, (target - size) // 2)
        pads.append((before, max(0, target - size) - before))
    x = x[tuple(crop)]
    return np.pad(x, pads, mode="edge") if fill is None else np.pad(x, pads, constant_values=fill)


def smooth_field(shape: Sequence[int], rng: np.random.Generator, order: int = 3) -> np.ndarray:
    """A random smooth field whose largest absolute value is 1, float64.

    A sum of cosines, cos(pi a u) cos(pi b v) ..., of at most `order` half waves in all, with normal
    coefficients; u, v run from 0 to 1 along the axes.
    """
    waves = [np.cos(np.pi * np.outer(np.arange(order + 1), np.linspace(0, 1, size))) for size in shape]
    field = np.zeros(tuple(shape))
    for counts in np.ndindex(*[order + 1] * len(shape)):
        if not 0 < sum(counts) <= order:
            continue
        term = np.asarray(rng.standard_normal())
        for wave, count in zip(waves, counts, strict=True):
            term = np.multiply.outer(term, wave[count])
        field += term
    return field / max(np.abs(field).max(), math.ulp(1.0))


def gaussian_blur(x: np.ndarray, sigma: float) -> np.ndarray:
    """Images (C, spatial) smoothed along the spatial axes by a Gaussian, cut off at 4 sigma; edges repeat."""
    radius = math.ceil(4 * sigma)
    if radius == 0:
        return x
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps = (taps / taps.sum()).astype(x.dtype)
    for axis in range(1, x.ndim):
        wide = np.pad(x, [(radius, radius) if a == axis else (0, 0) for a in range(x.ndim)], mode="edge")
        total = np.zeros_like(x)
        for k, tap in enumerate(taps):
            part = [slice(None)] * x.ndim
            part[axis] = slice(k, k + x.shape[axis])
            total += tap * wide[tuple(part)]
        x = total
    return x


class Augment:
    """Random changes of a sample (C, H, W) or (C, D, H, W), its labels moving with it.

    What moves elements is put together into one map and one resampling, linear for the sample, nearest for
    its labels: mirrored; then, as in Keras' `ImageDataGenerator`, rotated, shifted, sheared and zoomed about
    the center; and displaced by a cubic B-spline. What changes intensities comes after: a bias field,
    brightness, contrast, gamma, blur, noise, in this order. Labels are arrays with the spatial sizes of the
    sample as their last axes; anything else, such as a class, stays.

    Ranges are the largest change; each is drawn evenly, for every sample anew, and one that is 0 draws
    nothing. Where a number per axis may be given, one number stands for all.

    Args:
        flip: spatial axes along which the sample is mirrored half of the time, 0 for H (D in 3-D) and so on.
        shift: the largest move along each axis: an int in whole elements, a float below 1 as a share of the
            size, or one of these per axis, in the order of the axes (H first).
        gain: the largest relative change of intensity, by a smooth field (the bias of a receiver coil); a
            channel's lowest value counts as 0.
        rotation: degrees; in 3-D in each plane, or one per plane (0, 1), (0, 2), (1, 2).
        shear: degrees, as `rotation`.
        zoom: each axis is scaled by a factor from 1 - zoom to 1 + zoom, or from the first to the second of a
            pair; below 1 enlarges.
        elastic: standard deviation of the displacement of control points, in elements.
        elastic_points: how many control points there are along each axis, at least 4.
        brightness: what is added, as a share of a channel's range (largest less smallest value).
        contrast: values are multiplied by 1 - contrast to 1 + contrast about their mean.
        gamma: values, scaled to [0, 1] by the channel's range, are raised to a power from 1 / (1 + gamma) to
            1 + gamma.
        blur: the largest standard deviation of a Gaussian, in elements.
        noise: the largest standard deviation of normal noise, as a share of the channel's range.
        fill: what lies beyond the edges: "nearest", "constant", "reflect" (b a | a b), "wrap".
        value: of the sample for "constant".
        label_value: of the labels for "constant".
        spacing: sizes of an element along the axes, so that turns are turns where they differ.

    Raises:
        ValueError: a range is negative, a zoom not above 0, or a fill unknown.

    Example:
        >>> loader = DataLoader(dataset, batch_size=4, shuffle=True, augment=Augment(flip=(1,), rotation=15))
    """

    def __init__(
        self,
        flip: Sequence[int] = (),
        shift: float | Sequence[float] = 0,
        gain: float = 0.0,
        *,
        rotation: float | Sequence[float] = 0.0,
        shear: float | Sequence[float] = 0.0,
        zoom: float | tuple[float, float] = 0.0,
        elastic: float = 0.0,
        elastic_points: int = 6,
        brightness: float = 0.0,
        contrast: float = 0.0,
        gamma: float = 0.0,
        blur: float = 0.0,
        noise: float = 0.0,
        fill: str = "nearest",
        value: float = 0.0,
        label_value: float = 0.0,
        spacing: Sequence[float] | None = None,
    ):
        self.zoom = (1 - zoom, 1 + zoom) if isinstance(zoom, int | float) else tuple(zoom)
        if len(self.zoom) != 2 or not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"Augment: zoom must lead to factors above 0, got {zoom}")
        if fill not in geometry.FILLS:
            raise ValueError(f"Augment: fill must be one of {', '.join(geometry.FILLS)}, got {fill!r}")
        if elastic_points < 4:
            raise ValueError(f"Augment: elastic_points must be at least 4, got {elastic_points}")
        self.flip = tuple(flip)
        self.shift, self.rotation, self.shear = shift, rotation, shear
        self.gain, self.elastic, self.elastic_points = gain, elastic, elastic_points
        self.brightness, self.contrast, self.gamma = brightness, contrast, gamma
        self.blur, self.noise = blur, noise
        for name in ("shift", "rotation", "shear", "gain", "elastic", "brightness", "contrast", "gamma"):
            _expect_range(name, getattr(self, name))
        _expect_range("blur", blur)
        _expect_range("noise", noise)
        self.fill, self.value, self.label_value = fill, value, label_value
        self.spacing = None if spacing is None else tuple(spacing)

    def __call__(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The changed sample; x and y stay as they are."""
        sizes = x.shape[1:]
        is_map = np.ndim(y) >= len(sizes) and np.shape(y)[np.ndim(y) - len(sizes) :] == sizes
        matrix, displacement = self._map(sizes, rng)
        if displacement is not None or not np.array_equal(matrix, np.eye(len(matrix))):
            x = geometry.resample(x, matrix, displacement=displacement, fill=self.fill, value=self.value)
            if is_map:
                y = geometry.resample(
                    np.asarray(y),
                    matrix,
                    displacement=displacement,
                    mode="nearest",
                    fill=self.fill,
                    value=self.label_value,
                )
        x = self._intensities(x, rng)
        return np.ascontiguousarray(x), np.ascontiguousarray(y) if is_map else y

    def _map(self, sizes: tuple[int, ...], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        """The matrix from outputs to inputs, and the control points."""
        rank = len(sizes)
        mirrored = [axis for axis in self.flip if rng.random() < 0.5]
        spacing = np.ones(rank) if self.spacing is None else _each("spacing", self.spacing, rank)
        matrix = np.eye(rank + 1)
        if np.any(self.rotation):
            matrix = matrix @ geometry.rotation(rank, self._angles("rotation", rank, rng))
        if np.any(self.shift):
            matrix = matrix @ geometry.shift(self._steps(sizes, rng) * spacing)
        if np.any(self.shear):
            matrix = matrix @ geometry.shear(rank, self._angles("shear", rank, rng))
        if self.zoom != (1.0, 1.0):
            matrix = matrix @ geometry.zoom(rng.uniform(self.zoom[0], self.zoom[1], rank))
        if self.spacing is not None:
            matrix = geometry.zoom(1 / spacing) @ matrix @ geometry.zoom(spacing)
        matrix = geometry.mirror(sizes, mirrored) @ geometry.about_center(matrix, sizes)
        if not self.elastic:
            return matrix, None
        return matrix, rng.normal(0, self.elastic, (rank, *[self.elastic_points] * rank))

    def _angles(self, name: str, rank: int, rng: np.random.Generator) -> np.ndarray:
        most = _each(name, getattr(self, name), len(geometry.axis_pairs(rank)))
        return rng.uniform(-1, 1, len(most)) * most

    def _steps(self, sizes: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        """How far along each axis."""
        shifts = self.shift if isinstance(self.shift, Sequence) else [self.shift] * len(sizes)
        if len(shifts) != len(sizes):
            raise ValueError(f"Augment: shift must have one number for each of {len(sizes)} axes")
        if all(isinstance(s, int) for s in shifts):
            most = np.asarray(shifts)
            return -rng.integers(-most, most + 1)
        most = np.array(
            [s if isinstance(s, int) or s >= 1 else s * n for s, n in zip(shifts, sizes, strict=True)]
        )
        return rng.uniform(-1, 1, len(sizes)) * most

    def _intensities(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        axes = tuple(range(1, x.ndim))
        kind = x.dtype

        def drawn(most: float) -> float:
            return float(rng.uniform(-most, most))

        def low() -> np.ndarray:
            return x.min(axis=axes, keepdims=True)

        def span() -> np.ndarray:
            return np.ptp(x, axis=axes, keepdims=True)

        if self.gain:
            x = low() + (x - low()) * (1 + self.gain * smooth_field(x.shape[1:], rng)).astype(kind)
        if self.brightness:
            x = x + span() * kind.type(drawn(self.brightness))
        if self.contrast:
            mean = x.mean(axis=axes, keepdims=True)
            x = mean + (x - mean) * kind.type(1 + drawn(self.contrast))
        if self.gamma:
            power = math.exp(drawn(math.log1p(self.gamma)))
            scale = np.where(span() > 0, span(), 1)
            x = (low() + scale * ((x - low()) / scale).clip(0, 1) ** power).astype(kind)
        if self.blur:
            x = gaussian_blur(x, float(rng.uniform(0, self.blur)))
        if self.noise:
            deviation = span() * kind.type(rng.uniform(0, self.noise))
            x = x + deviation * rng.standard_normal(x.shape, np.float32).astype(kind)
        return x


def _expect_range(name: str, value: Any) -> None:
    if not all(math.isfinite(v) and v >= 0 for v in np.atleast_1d(value)):
        raise ValueError(f"Augment: {name} must be at least 0, got {value}")


def _each(name: str, value: float | Sequence[float], count: int) -> np.ndarray:
    """A number for each."""
    values = (
        np.broadcast_to(np.asarray(value, np.float64), count) if np.ndim(value) == 0 else np.asarray(value)
    )
    if len(values) != count:
        raise ValueError(f"Augment: {name} must be one number or {count}, got {value}")
    return values
