"""Runs a case: correct first, then timed, in rounds in which every library takes its turn."""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import machine
from .case import Case, draw, operation_of
from .libraries import OWN
from .peak import Peak
from .process import Process, WorkerError

WARM_UP_SECONDS = 0.05
SAMPLE_SECONDS = 0.003  # a sample is as many calls as take at least this long
TURN_SECONDS = 0.01  # a library's turn is as many samples as take about this long
CASE_SECONDS = 1.2  # what the rounds of a case may take, beyond the fewest
LONG_CALL = 0.3  # seconds
FEWEST_ROUNDS = 7
FEWEST_LONG_ROUNDS = 5
MOST_ROUNDS = 15
_MOST_SAMPLES = 3
_PAUSE_SECONDS = 0.01  # about what a library takes to come to rest after its turn
_WARM_CALL = 0.05  # a longer call shows nothing of the pause before it


class WrongResultError(Exception):
    """A library's result is not right: it is not timed."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call of one library.

    Attributes:
        seconds: median of the samples.
        spread: (upper quartile - lower quartile) / median.
        samples: how many there were.
        error: largest deviation from float64, as a share of the largest value.
    """

    seconds: float
    spread: float
    samples: int
    error: float


@dataclass(frozen=True)
class Result:
    """A case, measured.

    Attributes:
        name: of the case.
        family: of the case.
        flops: additions and multiplications of one call.
        bytes: what it has to read and write at least.
        rate: 1e9 operations, or bytes, a second, of medkern.
        unit: "GFLOP/s" or "GB/s", whichever limits the case.
        share: rate as a share of the machine's peak in that unit.
        timings: by library.
        failures: by library: what kept a peer from being timed.
        disturbed: the share of the processors that other programs took meanwhile.
    """

    name: str
    family: str
    flops: float
    bytes: float
    rate: float
    unit: str
    share: float
    timings: dict[str, Timing]
    failures: dict[str, str] = field(default_factory=dict)
    disturbed: float = 0.0

    @property
    def ratios(self) -> dict[str, float]:
        """Each peer's median over medkern's."""
        own = self.timings[OWN].seconds
        return {name: t.seconds / own for name, t in self.timings.items() if name != OWN}

    @property
    def best(self) -> tuple[str, float] | None:
        """The fastest peer and its ratio."""
        return min(self.ratios.items(), key=lambda item: item[1], default=None)


def error_of(found: Sequence[np.ndarray], expected: Sequence[np.ndarray], tolerance: float) -> float:
    """The largest error of several arrays, each relative to the largest value expected in it.

    Raises:
        WrongResultError: it is larger than the tolerance, or a shape is not as expected.
    """
    if [x.shape for x in found] != [x.shape for x in expected]:
        shapes = ([x.shape for x in found], [x.shape for x in expected])
        raise WrongResultError(f"shapes {shapes[0]}, expected {shapes[1]}")
    worst = 0.0
    for x, y in zip(found, expected, strict=True):
        scale = float(np.max(np.abs(y), initial=0)) or 1.0
        error = float(np.max(np.abs(x - y), initial=0)) / scale
        if not error <= tolerance:
            raise WrongResultError(f"relative error {error:.2e}, allowed {tolerance:.2e}")
        worst = max(worst, error)
    return worst


def run(case: Case, processes: Sequence[Process], peak: Peak) -> Result:
    """Checks and times one case in the processes given, medkern's first.

    Raises:
        WrongResultError: medkern's result is wrong; names the case.
        WorkerError: medkern failed.
    """
    operation = operation_of(case.operation)
    sizes = operation.Sizes(**case.sizes)
    wanted = [p for p in processes if p.name == OWN or case.peers is None or p.name in case.peers]
    failures: dict[str, str] = {}
    ready, errors = _ready(case, operation, sizes, wanted, failures)
    samples, disturbed = _rounds(ready)
    for process in ready:
        process.send("drop")
    for process in ready:
        process.receive()
    timings = {}
    for name, seconds in samples.items():
        low, median, high = statistics.quantiles(seconds, n=4)
        timings[name] = Timing(median, (high - low) / median, len(seconds), errors[name])
    flops, size = operation.work(sizes)
    # The unit in which the case, at the machine's best, would take longer is the one that limits it.
    by_arithmetic = flops / peak.gflops > size / peak.gbytes
    amount, best = (flops, peak.gflops) if by_arithmetic else (size, peak.gbytes)
    rate = amount / timings[OWN].seconds / 1e9
    unit = "GFLOP/s" if by_arithmetic else "GB/s"
    return Result(case.name, case.family, flops, size, rate, unit, rate / best, timings, failures, disturbed)


def _ready(
    case: Case, operation: Any, sizes: Any, processes: Sequence[Process], failures: dict[str, str]
) -> tuple[list[Process], dict[str, float]]:
    """The processes that can compute the case, and the error of each; a peer that can't is left out."""
    for process in processes:
        process.send("prepare", name=case.name, operation=case.operation, sizes=case.sizes)
    expected = operation.expected(sizes, draw(case.name, operation, sizes))
    ready, errors = [], {}
    with tempfile.TemporaryDirectory() as folder:
        # Every answer has to be read, whatever happened before it.
        able = [_able(process, failures) for process in processes]
        for process, can in zip(processes, able, strict=True):
            if not can:
                if process.name == OWN:
                    raise WorkerError(f"{case.name}: {failures.get(OWN, 'medkern has no such operation')}")
                continue
            try:
                files = process.ask("result", files=str(Path(folder) / "result"))["files"]
                found = [np.load(file) for file in files]
                errors[process.name] = error_of(found, expected, operation.TOLERANCE)
                ready.append(process)
            except (WorkerError, WrongResultError) as error:
                if process.name == OWN:
                    raise type(error)(f"{case.name}: {error}") from None
                failures[process.name] = str(error)
    return ready, errors


def _able(process: Process, failures: dict[str, str]) -> bool:
    try:
        able: bool = process.receive()["able"]
    except WorkerError as error:
        failures[process.name] = str(error)
        return False
    return able


def _rounds(processes: list[Process]) -> tuple[dict[str, list[float]], float]:
    """Seconds of one call, by library, and the share of the processors that other programs took."""
    turns = {}
    expected = longest = 0.0
    for process in processes:
        once = process.ask("warm", seconds=WARM_UP_SECONDS)["once"]
        turns[process.name] = turn(once)
        warm, samples, repeats = turns[process.name]
        longest = max(longest, once)
        expected += (warm + samples * repeats) * once + _PAUSE_SECONDS
    fewest = FEWEST_LONG_ROUNDS if longest > LONG_CALL else FEWEST_ROUNDS
    rounds = min(max(fewest, int(CASE_SECONDS / expected)), MOST_ROUNDS)
    seconds: dict[str, list[float]] = {process.name: [] for process in processes}
    start, busy = time.perf_counter(), machine.busy_seconds()
    own = time.process_time() + sum(process.cpu for process in processes)
    for number in range(rounds):
        # Everyone follows everyone else in turn.
        first = number % len(processes)
        for process in (*processes[first:], *processes[:first]):
            warm, samples, repeats = turns[process.name]
            answer = process.ask("sample", warm=warm, samples=samples, repeats=repeats)
            seconds[process.name] += answer["seconds"]
    if busy is None:
        return seconds, 0.0
    others = (machine.busy_seconds() or busy) - busy
    others -= time.process_time() + sum(process.cpu for process in processes) - own
    return seconds, max(0.0, others / ((time.perf_counter() - start) * (os.cpu_count() or 1)))


def turn(once: float) -> tuple[int, int, int]:
    """(calls to warm up, samples, calls per sample) in a turn, for a call that takes `once` seconds."""
    repeats = max(1, math.ceil(SAMPLE_SECONDS / once))
    samples = min(max(1, round(TURN_SECONDS / (repeats * once))), _MOST_SAMPLES)
    return (0 if once > _WARM_CALL else repeats), samples, repeats
