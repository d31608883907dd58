"""Runs cases: correct first, then timed."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from medkern.bench.peak import Peak

WARM_UP_SECONDS = 0.2
SAMPLE_SECONDS = 0.002  # a sample is as many calls as take at least this long
TIMED_SECONDS = 1.0
FEWEST_SAMPLES = 7


@dataclass(frozen=True)
class Work:
    """A case made ready on its arrays.

    Attributes:
        call: the call that is timed.
        expected: gives what `call` should, computed in float64 by NumPy.
        flops: additions and multiplications in one call, 0 where memory is all that counts.
        bytes: what has to be read and written at least.
        tolerance: the largest error allowed, as a share of the largest value expected.
    """

    call: Callable[[], Any]
    expected: Callable[[], Any]
    flops: int
    bytes: int
    tolerance: float


@dataclass(frozen=True)
class Case:
    """A layer at its real size: `make` draws its arrays with a seeded generator."""

    name: str
    family: str
    make: Callable[[np.random.Generator], Work]


@dataclass(frozen=True)
class Result:
    """Seconds of one call, and what that comes to.

    Attributes:
        name: of the case.
        family: of the case.
        error: largest deviation from float64, as a share of the largest value.
        seconds: median of the samples.
        spread: (upper quartile - lower quartile) / median.
        samples: how many there were.
        rate: 1e9 operations, or bytes, a second.
        unit: "GFLOP/s" or "GB/s", whichever limits the case.
        share: rate as a share of the machine's peak in that unit.
    """

    name: str
    family: str
    error: float
    seconds: float
    spread: float
    samples: int
    rate: float
    unit: str
    share: float


class WrongResultError(Exception):
    """A case whose result is not right is not timed."""


def check(case: Case, work: Work) -> float:
    """The error of a case, relative to the largest expected value; WrongResultError if it is too large."""
    found = np.asarray(work.call(), np.float64)
    expected = np.asarray(work.expected(), np.float64)
    if found.shape != expected.shape:
        raise WrongResultError(f"{case.name}: shape {found.shape}, expected {expected.shape}")
    scale = float(np.max(np.abs(expected), initial=0)) or 1.0
    error = float(np.max(np.abs(found - expected), initial=0)) / scale
    if not error <= work.tolerance:
        raise WrongResultError(f"{case.name}: relative error {error:.2e}, allowed {work.tolerance:.2e}")
    return error


def sample(call: Callable[[], Any]) -> list[float]:
    """Seconds per call, one figure per sample, after warming up."""

    def seconds_of(repeats: int) -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return (time.perf_counter() - start) / repeats

    end = time.perf_counter() + WARM_UP_SECONDS
    once = seconds_of(1)
    while time.perf_counter() < end:
        once = min(once, seconds_of(1))
    repeats = max(1, math.ceil(SAMPLE_SECONDS / once))
    samples: list[float] = []
    end = time.perf_counter() + TIMED_SECONDS
    while len(samples) < FEWEST_SAMPLES or time.perf_counter() < end:
        samples.append(seconds_of(repeats))
    return samples


def run(case: Case, peak: Peak) -> Result:
    """Checks and times one case."""
    work = case.make(np.random.default_rng(0))
    error = check(case, work)
    samples = sample(work.call)
    low, median, high = statistics.quantiles(samples, n=4)
    # The unit in which the case, at the machine's best, would take longer is the one that limits it.
    by_arithmetic = work.flops / peak.gflops > work.bytes / peak.gbytes
    amount, best = (work.flops, peak.gflops) if by_arithmetic else (work.bytes, peak.gbytes)
    rate = amount / median / 1e9
    return Result(
        name=case.name,
        family=case.family,
        error=error,
        seconds=median,
        spread=(high - low) / median,
        samples=len(samples),
        rate=rate,
        unit="GFLOP/s" if by_arithmetic else "GB/s",
        share=rate / best,
    )


def table(results: Iterable[Result]) -> Iterator[str]:
    """Lines for people, as the results come."""
    yield f"{'case':<28} {'ms':>9} {'spread':>7} {'rate':>9} {'':<8} {'of peak':>7} {'error':>8}"
    for r in results:
        yield (
            f"{r.name:<28} {r.seconds * 1e3:9.3f} {r.spread:7.1%} {r.rate:9.1f} {r.unit:<8} "
            f"{r.share:7.1%} {r.error:8.1e}"
        )


def as_json(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The same for programs."""
    return [asdict(r) for r in results]
