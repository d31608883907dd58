"""The parent's side of a library's process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from .libraries import OWN

# A peer's process must not load medkern, whose memory would count as the peer's: there the files of this
# folder are imported as a package of their own.
_LAUNCH = """
import importlib.util, sys
folder, library, threads, device = sys.argv[1:]
spec = importlib.util.spec_from_file_location(
    "bench", folder + "/__init__.py", submodule_search_locations=[folder]
)
sys.modules["bench"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["bench"])
from bench.worker import main
main(library, int(threads), device)
"""

CUDA_SECONDS = 120.0  # what an answer may take on a CUDA device, where a kernel may never end

_END_SECONDS = 10.0  # what processes may take to end
_KILLED_SECONDS = 2.0

_THREAD_VARIABLES = ("MEDKERN_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# What keeps a peer to the instruction set that medkern is told to use. ONNX Runtime has no such switch.
_ISA_VARIABLES = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    }
}


class WorkerError(Exception):
    """A library's process failed, or its library did; the message names it."""


class Process:
    """A library's process.

    Attributes:
        name: of the library.
        version: what the library says its version is, once `start` was received.
        cpu: processor seconds it had used by its last answer.
        is_lost: whether it has ended, doesn't answer, or has an error of CUDA, after which nothing works.
    """

    def __init__(self, name: str, threads: int, device: str = "cpu") -> None:
        self.name = name
        self.version = ""
        self._threads, self._device = threads, device
        self._launch()

    def _launch(self) -> None:
        self.cpu = 0.0
        self.is_lost = False
        threads, name = self._threads, self.name
        environment = dict(os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads)))
        if name != OWN:
            environment.update(_ISA_VARIABLES.get(os.environ.get("MEDKERN_ISA", ""), {}))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LAUNCH, str(Path(__file__).parent), name, str(threads), self._device],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None,
            text=True,
            env=environment,
        )

    def send(self, do: str, **arguments: Any) -> None:
        """Asks for something; `receive` gives the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self.is_lost = True
            raise WorkerError(f"{self.name}: its process has ended") from None

    def receive(self) -> dict[str, Any]:
        """The answer to what was asked for last."""
        assert self._process.stdout is not None
        limit = CUDA_SECONDS if self._device == "cuda" else None
        if not select.select([self._process.stdout], [], [], limit)[0]:
            self.is_lost = True
            raise WorkerError(f"{self.name}: no answer for {limit:.0f} s")
        line = self._process.stdout.readline()
        if not line:
            self.is_lost = True
            raise WorkerError(f"{self.name}: its process has ended")
        answer: dict[str, Any] = json.loads(line)
        self.cpu = answer.pop("cpu")
        if "error" in answer:
            self.is_lost = self._device == "cuda" and "CUDA" in answer["error"]
            raise WorkerError(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """`send` and `receive`."""
        self.send(do, **arguments)
        return self.receive()

    def restart(self) -> None:
        """A new process in place of a lost one."""
        self.close(0.0)
        self._launch()
        self.version = self.ask("start")["version"]

    def end_input(self) -> None:
        """Lets the process end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def close(self, seconds: float) -> None:
        """Ends the process, by force if it doesn't end in so many seconds."""
        self.end_input()
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in a driver
                self._process.wait(timeout=_KILLED_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()


def start(names: list[str], threads: int, device: str = "cpu") -> list[Process]:
    """Processes of libraries, started side by side.

    Raises:
        WorkerError: a library can't be imported; says which.
    """
    processes = [Process(name, threads, device) for name in names]
    try:
        for process in processes:
            process.send("start")
        for process in processes:
            process.version = process.receive()["version"]
    except WorkerError:
        close(processes)
        raise
    return processes


def close(processes: list[Process]) -> None:
    """Ends them all."""
    for process in processes:
        process.end_input()
    end = time.monotonic() + _END_SECONDS
    for process in processes:
        process.close(max(0.0, end - time.monotonic()))
