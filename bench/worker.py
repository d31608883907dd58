"""A library's own process: answers requests, a line of JSON each, until its input ends.

    {"do": "start"}                                       -> {"version": ..., "memory": bytes in memory}
    {"do": "prepare", "name": ..., "operation": ..., "sizes": {...}, "precision": ...}
                                                          -> {"able": true | false}
    {"do": "result", "files": path without ending}        -> {"files": [...], "dtype": ...}, results as .npy
    {"do": "warm", "seconds": ...}                        -> {"once": seconds of the fastest call}
    {"do": "sample", "warm": ..., "samples": ..., "repeats": ...}  -> {"seconds": [of one call, ...]}
    {"do": "peak"}                                        -> a `peak.Peak` (medkern, and all on CUDA)
    {"do": "export", "name": ..., "operation": ..., "sizes": {...}, "file": ...}
                                                          -> {"able": whether a model was written there}
    {"do": "load", "name": ..., "operation": ..., "sizes": {...}, "file": ...}  -> {"able": true}
    {"do": "memory", "calls": ...}                        -> {"peak": most bytes in memory while it is called}
    {"do": "drop"}                                        -> {}

An answer {"error": ...} says what went wrong instead; "cpu" in each is the processor time used so far.
A CUDA device has done all it was asked for when a clock is read, so that what is timed is the longer of what
the calls take there and what Python and the library take to queue them.
Between requests the process is asleep in a read, and it answers only after its threads have stopped spinning,
so that the next library has the machine to itself.
"""

from __future__ import annotations

import gc
import importlib
import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import resident
from .case import Arrays, draw, operation_of
from .libraries import BY_DEVICE

_TASKS = Path("/proc/self/task")
_SETTLE_STEP = 0.001
_SETTLE_LOOKS = 3
_SETTLE_LIMIT = 0.5
_FEWEST_WARM_CALLS = 2
_SLOW_CALL = 0.5  # seconds; such a call needs no more warming up
_QUEUED_SECONDS = 0.002  # what calls that are queued together take, to tell what one of many takes


def settle() -> None:
    """Returns when the threads of this process are asleep; pools spin after a call, some for 30 ms."""
    end = time.perf_counter() + _SETTLE_LIMIT
    quiet = 0
    while quiet < _SETTLE_LOOKS and time.perf_counter() < end:
        time.sleep(_SETTLE_STEP)
        quiet = 0 if _running() else quiet + 1


def _running() -> bool:
    """Whether another thread of this process is running, by the state letter that Linux tells."""
    own = str(threading.get_native_id())
    for folder in _TASKS.iterdir():
        if folder.name == own:
            continue
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue  # it has ended
        if text.rpartition(")")[2].split()[0] == "R":
            return True
    return False


def _nothing() -> None:
    """What a library without queues has to wait for."""


def warm_up(call: Callable[[], Any], seconds: float, synchronize: Callable[[], None] = _nothing) -> float:
    """Calls for so many seconds; the shortest call, one of many where they are queued."""
    once, count = float("inf"), 0
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        call()
        synchronize()
        now = time.perf_counter()
        once, count = min(once, now - start), count + 1
        if now > end and (count >= _FEWEST_WARM_CALLS or once > _SLOW_CALL):
            break
    if synchronize is not _nothing:
        repeats = math.ceil(_QUEUED_SECONDS / once)
        once = min(once, *sample(call, 0, 1, repeats, synchronize))
    return once


def sample(
    call: Callable[[], Any],
    warm: int,
    samples: int,
    repeats: int,
    synchronize: Callable[[], None] = _nothing,
) -> list[float]:
    """Seconds per call: `samples` figures, each of `repeats` calls, after `warm` calls that are not timed."""
    for _ in range(warm):
        call()
    synchronize()
    seconds = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        synchronize()
        seconds.append((time.perf_counter() - start) / repeats)
    return seconds


class Worker:
    """One library and the case it is ready for."""

    def __init__(self, library: str, threads: int, device: str = "cpu") -> None:
        module, self._variant = BY_DEVICE[device][library]
        self._module: ModuleType = importlib.import_module(f".libraries.{module}", __package__)
        self._threads = threads
        self._call: Callable[[], Any] | None = None
        self._sizes: Any = None
        self._operation: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Does what a request asks for."""
        arguments = {key: value for key, value in request.items() if key != "do"}
        result: dict[str, Any] = getattr(self, f"_{request['do']}")(**arguments)
        return result

    def _start(self) -> dict[str, Any]:
        version = self._module.start(self._threads, self._variant)
        return {"version": version, "memory": resident.now()}

    def _prepare(
        self, name: str, operation: str, sizes: dict[str, Any], precision: str = "float32"
    ) -> dict[str, Any]:
        arrays = self._drawn(name, operation, sizes)
        if hasattr(self._module, "set_precision"):
            self._module.set_precision(precision)
        self._call = self._module.prepare(self._operation, self._sizes, arrays)
        return {"able": self._call is not None}

    def _drawn(self, name: str, operation: str, sizes: dict[str, Any]) -> Arrays:
        self._drop()
        self._operation = operation_of(operation)
        self._sizes = self._operation.Sizes(**sizes)
        return draw(name, self._operation, self._sizes)

    def _export(self, file: str, **about: Any) -> dict[str, Any]:
        export = getattr(self._module, "export", None)
        if export is None:
            return {"able": False}
        self._start()
        arrays = self._drawn(**about)
        return {"able": export(self._operation, self._sizes, arrays, file)}

    def _load(self, name: str, operation: str, sizes: dict[str, Any], file: str) -> dict[str, Any]:
        self._operation = operation_of(operation)
        self._sizes = self._operation.Sizes(**sizes)
        self._call = self._module.load(file)
        return {"able": True}

    def _memory(self, calls: int) -> dict[str, Any]:
        resident.reset_peak()
        with self._module.context(self._sizes):
            sample(self._timed(), calls, 0, 0)
        return {"peak": resident.peak()}

    @property
    def _synchronize(self) -> Callable[[], None]:
        return getattr(self._module, "synchronize", _nothing)

    def _timed(self) -> Callable[[], Any]:
        if self._call is None:
            raise ValueError("no case is ready")
        return self._call

    def _result(self, files: str) -> dict[str, Any]:
        with self._module.context(self._sizes):
            result = self._timed()()
            found = self._module.arrays(result, self._operation, self._sizes)
        names = [f"{files}.{i}.npy" for i in range(len(found))]
        for name, array in zip(names, found, strict=True):
            np.save(name, np.array(array, order="C"))
        first = result[0] if isinstance(result, (list, tuple)) else result
        return {"files": names, "dtype": str(getattr(first, "dtype", "")).rpartition(".")[2]}

    def _warm(self, seconds: float) -> dict[str, Any]:
        with self._module.context(self._sizes):
            return {"once": warm_up(self._timed(), seconds, self._synchronize)}

    def _sample(self, warm: int, samples: int, repeats: int) -> dict[str, Any]:
        gc.disable()
        try:
            with self._module.context(self._sizes):
                return {"seconds": sample(self._timed(), warm, samples, repeats, self._synchronize)}
        finally:
            gc.enable()

    def _peak(self) -> dict[str, Any]:
        return asdict(self._module.peak())

    def _drop(self) -> dict[str, Any]:
        self._call = self._sizes = None
        gc.collect()
        return {}


def main(library: str, threads: int, device: str) -> None:
    """Answers until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks decides when it is over
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    worker = Worker(library, threads, device)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        settle()
        answer["cpu"] = time.process_time()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
