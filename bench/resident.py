"""The memory of this process, as Linux counts it."""

from __future__ import annotations

import ctypes
import gc
import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")
_PEAK_RESET = Path("/proc/self/clear_refs")


def _status(name: str) -> int | None:
    try:
        text = _STATUS.read_text()
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    return None


def now() -> int:
    """Bytes in memory after giving back what is free; the peak where that is all that is known."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    current = _status("VmRSS")
    return peak() if current is None else current


def reset_peak() -> None:
    """Counts the peak from now on, where the system allows it."""
    now()
    try:
        _PEAK_RESET.write_text("5")
    except OSError:
        return


def peak() -> int:
    """The most bytes in memory since `reset_peak`.

    ru_maxrss would not do: a process inherits that of the one that started it.
    """
    most = _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 if most is None else most
