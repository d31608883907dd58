"""What happens to images before the network sees them, and mild augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

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


class Augment:
    """Mild random changes of a sample (C, H, W) and its labels (H, W), or a class, which stays.

    Args:
        flip: spatial axes along which the sample is mirrored half of the time, 0 for H and 1 for W.
        shift: the largest move along each axis, in pixels; what enters repeats the edge.
        gain: the largest relative change of intensity, by a smooth field; a channel's lowest value counts
            as 0.

    Example:
        >>> loader = DataLoader(dataset, batch_size=4, shuffle=True, augment=Augment(flip=(1,)))
    """

    def __init__(self, flip: Sequence[int] = (), shift: int = 0, gain: float = 0.0):
        self.flip = tuple(flip)
        self.shift = shift
        self.gain = gain

    def __call__(
        self, x: np.ndarray, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The changed sample; x and y stay as they are."""
        is_map = np.ndim(y) > 0
        for axis in self.flip:
            if rng.random() < 0.5:
                x, y = np.flip(x, axis + 1), np.flip(y, axis) if is_map else y
        if self.shift:
            move = rng.integers(-self.shift, self.shift + 1, 2)
            x, y = _move(x, move), _move(y, move) if is_map else y
        if self.gain:
            low = x.min(axis=(1, 2), keepdims=True)
            x = low + (x - low) * (1 + self.gain * smooth_field(x.shape[1:], rng)).astype(x.dtype)
        return np.ascontiguousarray(x), np.ascontiguousarray(y) if is_map else y


def _move(x: np.ndarray, move: np.ndarray) -> np.ndarray:
    for axis, step in zip((x.ndim - 2, x.ndim - 1), move, strict=True):
        x = x.take(np.clip(np.arange(x.shape[axis]) - step, 0, x.shape[axis] - 1), axis)
    return x
