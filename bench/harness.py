"""Runs a case: correct first, then timed, in rounds in which every library takes its turn."""

from __future__ import annotations

import math
import os
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
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
CASE_SECONDS = 0.6  # what the rounds of a case may take, beyond the fewest
LONG_CALL = 0.3  # seconds
FEWEST_ROUNDS = 7
FEWEST_LONG_ROUNDS = 5
MOST_ROUNDS = 11
_MOST_SAMPLES = 3
_PAUSE_SECONDS = 0.01  # about what a library takes to come to rest after its turn
DISTURBED = 0.05  # a share of the processors that other programs take, from which on it is said
_PEAK_ATTEMPTS = 5
_WARM_CALL = 0.05  # a longer call shows nothing of the pause before it

# The relative error of rounding an operand. That of a sum of products of random numbers is about one of it,
# the largest of many a few.
_ROUNDING = {"float32": 0.0, "tf32": 2.0**-11, "bf16": 2.0**-8}
_ROUNDINGS = 4


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
        dtype: the type of the result's elements, where the library tells.
    """

    seconds: float
    spread: float
    samples: int
    error: float
    dtype: str = ""


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
        precision: of products.
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
    precision: str = "float32"

    @property
    def ratios(self) -> dict[str, float]:
        """Each peer's median over medkern's."""
        own = self.timings[OWN].seconds
        return {name: t.seconds / own for name, t in self.timings.items() if name != OWN}

    @property
    def best(self) -> tuple[str, float] | None:
        """The fastest peer and its ratio."""
        return min(self.ratios.items(), key=lambda item: item[1], default=None)


def error_of(
    found: Sequence[np.ndarray],
    expected: Sequence[np.ndarray],
    tolerance: float,
    measure: Callable[[np.ndarray], float] = lambda x: float(np.max(np.abs(x), initial=0)),
) -> float:
    """The largest error of several arrays, each relative to what is expected in the same measure.

    Raises:
        WrongResultError: it is larger than the tolerance, or a shape is not as expected.
    """
    if [x.shape for x in found] != [x.shape for x in expected]:
        shapes = ([x.shape for x in found], [x.shape for x in expected])
        raise WrongResultError(f"shapes {shapes[0]}, expected {shapes[1]}")
    worst = 0.0
    for x, y in zip(found, expected, strict=True):
        error = measure(x - y) / (measure(y) or 1.0)
        if not error <= tolerance:
            raise WrongResultError(f"relative error {error:.2e}, allowed {tolerance:.2e}")
        worst = max(worst, error)
    return worst


class Expected:
    """What cases should give, computed once for those that differ in precision only."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._left = Counter(case.name for case in cases)
        self._kept: dict[str, list[np.ndarray]] = {}

    def of(self, case: Case, operation: Any, sizes: Any) -> list[np.ndarray]:
        """The arrays of one case."""
        found = self._kept.pop(case.name, None)
        if found is None:
            found = operation.expected(sizes, draw(case.name, operation, sizes))
        self._left[case.name] -= 1
        if self._left[case.name] > 0:
            self._kept[case.name] = found
        return found


def run(case: Case, processes: Sequence[Process], peak: Peak, expected: Expected | None = None) -> Result:
    """Checks and times one case in the processes given, medkern's first.

    Raises:
        WrongResultError: medkern's result is wrong; names the case.
        WorkerError: medkern failed.
    """
    operation = operation_of(case.operation)
    sizes = operation.Sizes(**case.sizes)
    wanted = [p for p in processes if p.name == OWN or case.peers is None or p.name in case.peers]
    failures: dict[str, str] = {}
    ready, errors, dtypes = _ready(case, operation, sizes, wanted, expected or Expected([case]), failures)
    samples, disturbed = _rounds(ready)
    for process in ready:
        process.send("drop")
    for process in ready:
        process.receive()
    timings = {}
    for name, seconds in samples.items():
        low, median, high = statistics.quantiles(seconds, n=4)
        timings[name] = Timing(median, (high - low) / median, len(seconds), errors[name], dtypes[name])
    flops, size = operation.work(sizes)
    # The unit in which the case, at the machine's best, would take longer is the one that limits it.
    arithmetic = peak.arithmetic(case.precision)
    by_arithmetic = flops / arithmetic > size / peak.gbytes
    amount, best = (flops, arithmetic) if by_arithmetic else (size, peak.gbytes)
    rate = amount / timings[OWN].seconds / 1e9
    unit = "GFLOP/s" if by_arithmetic else "GB/s"
    return Result(
        case.title,
        case.family,
        flops,
        size,
        rate,
        unit,
        rate / best,
        timings,
        failures,
        disturbed,
        case.precision,
    )


def tolerance_of(operation: Any, precision: str) -> float:
    """The largest relative error that a case's precision allows."""
    roundings = getattr(operation, "ROUNDINGS", _ROUNDINGS)
    allowed: float = operation.TOLERANCE + roundings * _ROUNDING[precision]
    return allowed


def _ready(
    case: Case,
    operation: Any,
    sizes: Any,
    processes: Sequence[Process],
    known: Expected,
    failures: dict[str, str],
) -> tuple[list[Process], dict[str, float], dict[str, str]]:
    """The processes that can compute the case, errors and types; a peer that can't is left out."""
    for process in processes:
        process.send(
            "prepare",
            name=case.name,
            operation=case.operation,
            sizes=case.sizes,
            precision=case.precision,
        )
    expected = known.of(case, operation, sizes)
    tolerance = tolerance_of(operation, case.precision)
    ready, errors, dtypes = [], {}, {}
    with tempfile.TemporaryDirectory() as folder:
        # Every answer has to be read, whatever happened before it.
        able = [_able(process, failures) for process in processes]
        for process, can in zip(processes, able, strict=True):
            if not can:
                if process.name == OWN:
                    raise WorkerError(f"{case.title}: {failures.get(OWN, 'medkern has no such operation')}")
                continue
            try:
                answer = process.ask("result", files=str(Path(folder) / "result"))
                found = [np.load(file) for file in answer["files"]]
                measure = {"measure": operation.measure} if hasattr(operation, "measure") else {}
                errors[process.name] = error_of(found, expected, tolerance, **measure)
                dtypes[process.name] = answer["dtype"]
                ready.append(process)
            except (WorkerError, WrongResultError) as error:
                if process.name == OWN:
                    raise type(error)(f"{case.title}: {error}") from None
                failures[process.name] = str(error)
    return ready, errors, dtypes


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
    others = Others(processes)
    for number in range(rounds):
        # Everyone follows everyone else in turn.
        first = number % len(processes)
        for process in (*processes[first:], *processes[:first]):
            warm, samples, repeats = turns[process.name]
            answer = process.ask("sample", warm=warm, samples=samples, repeats=repeats)
            seconds[process.name] += answer["seconds"]
    return seconds, others.share()


class Others:
    """Watches what other programs take of the processors, from its making on."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self._processes = processes
        self._start, self._busy, self._own = time.perf_counter(), machine.busy_seconds(), self._used()

    def _used(self) -> float:
        return time.process_time() + sum(process.cpu for process in self._processes)

    def share(self) -> float:
        """Their share of all processors; 0 where the system does not tell."""
        busy = machine.busy_seconds()
        if self._busy is None or busy is None:
            return 0.0
        taken = busy - self._busy - (self._used() - self._own)
        return max(0.0, taken / ((time.perf_counter() - self._start) * (os.cpu_count() or 1)))


def peak_of(process: Process) -> Peak:
    """The machine's peak: measured again, a few times, while other programs disturb it."""
    found = Peak(0.0, 0.0)
    for _ in range(_PEAK_ATTEMPTS):
        others = Others([process])
        now = Peak(**process.ask("peak"))
        found = Peak(max(found.gflops, now.gflops), max(found.gbytes, now.gbytes))
        if others.share() < DISTURBED:
            break
    return found


def peak_of_device(processes: Sequence[Process]) -> Peak:
    """A CUDA device's peak, the best that medkern and PyTorch come to."""
    found = Peak(0.0, 0.0)
    for process in processes:
        if process.name in (OWN, "torch"):
            found = found.or_better(Peak(**process.ask("peak")))
    return found


def turn(once: float) -> tuple[int, int, int]:
    """(calls to warm up, samples, calls per sample) in a turn, for a call that takes `once` seconds."""
    repeats = max(1, math.ceil(SAMPLE_SECONDS / once))
    samples = min(max(1, round(TURN_SECONDS / (repeats * once))), _MOST_SAMPLES)
    return (0 if once > _WARM_CALL else repeats), samples, repeats
