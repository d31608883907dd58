"""Simulated uptake of a contrast agent: what a lesion's intensity does after the injection tells what it is.

    x_t = scan of (tissue with a lesion of contrast a u(t)),  t = 0, 1, ..., T - 1

where a is the amplitude and u the curve: 0 before the agent arrives at t0, then

    u(t) = 1 - exp(-(t - t0) / tau) + s (t - t0)

with s > 0 (persistent), s = 0 (plateau) or s < 0 (washout), the three types of curve that radiologists tell
apart; Kuhl et al., 1999. A frame is a window of 64 x 64 mm about a place near the lesion; the coil's bias
field stays, the noise is new in every frame. What is given are the differences to the first frame, which is
before the injection.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medkern.data.demo import BIAS, NOISE, Slices
from medkern.data.lesions import lesion_share, place_lesions
from medkern.data.transforms import smooth_field

CURVES = ("persistent", "plateau", "washout")
WINDOW = 64  # mm
_SLOPES = ((0.04, 0.08), (0.0, 0.0), (-0.08, -0.04))  # of u per frame
_ARRIVAL = (1.0, 3.0)  # frames
_RISE = (0.6, 1.2)
_AMPLITUDE = (0.4, 1.0)
_RADIUS = (4.0, 10.0)
_OFF_CENTER = 14  # mm at most between a lesion and the center of the window


@dataclass(frozen=True)
class Uptake:
    """One sequence.

    Attributes:
        number: of the slice it was made from.
        frames: the differences to the first frame, float32 (T, 1, 64, 64).
        curve: the class, 0 persistent, 1 plateau, 2 washout.
    """

    number: int
    frames: np.ndarray
    curve: int


def curve(kind: int, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random u(t) of a class.

    Raises:
        ValueError: there is no such class.
    """
    if not 0 <= kind < len(CURVES):
        raise ValueError(f"curve: kind must be from 0 to {len(CURVES) - 1}, got {kind}")
    since = np.maximum(times - rng.uniform(*_ARRIVAL), 0)
    return 1 - np.exp(-since / rng.uniform(*_RISE)) + rng.uniform(*_SLOPES[kind]) * since


def simulate_uptake(
    slices: Slices, count: int, seed: int = 0, *, lengths: tuple[int, int] = (8, 16)
) -> list[Uptake]:
    """Sequences of all three classes in turn; sequence i depends on the slices, i and the seed alone.

    Args:
        slices: what to start from, at random.
        count: the number of sequences.
        seed: of all random numbers.
        lengths: the fewest and the most frames; drawn uniformly.

    Raises:
        ValueError: `count` is below 1, or `lengths` isn't two numbers in order from 2 on.

    Example:
        >>> sequences = simulate_uptake(demo.slices(range(60, 80)), 30)
        >>> sequences[0].frames.shape[1:]
        (1, 64, 64)
    """
    if count < 1:
        raise ValueError(f"simulate_uptake: count must be at least 1, got {count}")
    if not 2 <= lengths[0] <= lengths[1]:
        raise ValueError(f"simulate_uptake: lengths must be two numbers in order from 2 on, got {lengths}")
    return [
        _sequence(slices, i % len(CURVES), np.random.default_rng((seed, i)), lengths) for i in range(count)
    ]


def _sequence(slices: Slices, kind: int, rng: np.random.Generator, lengths: tuple[int, int]) -> Uptake:
    which = int(rng.integers(len(slices.numbers)))
    image, labels = slices.clean[which], slices.labels[which]
    found = place_lesions(labels, 1, rng, radius=_RADIUS, contrast=(1.0, 1.0))
    if not found:
        raise ValueError(f"simulate_uptake: slice {slices.numbers[which]} has no room for a lesion")
    (lesion,) = found
    move = rng.integers(-_OFF_CENTER, _OFF_CENTER + 1, 2)
    place = tuple(
        slice(start, start + WINDOW)
        for start in (
            int(np.clip(center + step - WINDOW // 2, 0, size - WINDOW))
            for center, step, size in zip((lesion.row, lesion.column), move, image.shape, strict=True)
        )
    )
    before, share = image[place], lesion_share(image.shape, lesion, rng)[place]
    tissue = image[labels != 0].mean()
    times = np.arange(rng.integers(lengths[0], lengths[1] + 1))
    strength = rng.uniform(*_AMPLITUDE) * curve(kind, times, rng)
    frames = before + share * tissue * strength[:, None, None]
    frames = frames * (1 + BIAS * smooth_field(before.shape, rng))
    noise = rng.normal(0, NOISE, (2, *frames.shape))
    scanned = np.hypot(frames + noise[0], noise[1]).astype(np.float32)
    return Uptake(slices.numbers[which], (scanned - scanned[0])[:, None], kind)
