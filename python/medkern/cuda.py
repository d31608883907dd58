"""CUDA devices: what there is, streams, timing and memory.

Work on a CUDA device is queued and runs while Python goes on; reading a value waits for it. Every function
with an argument `device` takes "cuda:1" and the like; None means the default CUDA device.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from medkern import _C
from medkern._C import DeviceError

# Packages may lie elsewhere than medkern: the CUDA runtime's is looked for wherever Python finds any.
for _folder in sys.path:
    if os.path.isdir(os.path.join(_folder, "nvidia")):
        _C.cuda_search_packages(os.path.abspath(_folder))

_idle: dict[str, list[int]] = {}  # by device: streams that no `Stream` has any more


def is_available() -> bool:
    """Whether there is a CUDA device; `device_count` says why not."""
    try:
        return _C.cuda_device_count() > 0
    except DeviceError:
        return False


def device_count() -> int:
    """The number of CUDA devices.

    Raises:
        DeviceError: there are none, with the reason: no driver, no runtime library, a build without CUDA.
    """
    return _C.cuda_device_count()


def get_device_properties(device: Any = None) -> dict[str, Any]:
    """What a device is.

    Returns:
        "name", "memory_bytes", "multiprocessors", "compute_capability", (9, 0) for one, and "emulated", which
        is True for the emulator of the tests only.
    """
    return _C.device_properties(_name(device))


def synchronize(device: Any = None) -> None:
    """Waits until all work queued on a device is done.

    Raises:
        ValueError: a kernel found an index out of range.
        DeviceError: some of the work failed.
    """
    _C.device_synchronize(_name(device))


class Stream:
    """A queue of work; what is in two streams may run at the same time.

    Each thread works on one stream of a device, at first the default stream, which the work of other
    libraries is on as well. `with stream:` works on this one. Memory may be freed at any time: it is not used
    again before all streams that worked on it are done.

    Args:
        device: the device.
        pointer: a stream of another library (a cudaStream_t as an int) in place of a new one. It must live as
            long as arrays that were used on it.

    Attributes:
        device: the name of the device.
        pointer: the cudaStream_t, 0 for the default stream; `torch.cuda.ExternalStream` takes it.

    Example:
        >>> stream = medkern.cuda.Stream()
        >>> with stream:
        ...     y = model(x)
        >>> medkern.cuda.current_stream().wait_stream(stream)
    """

    def __init__(self, device: Any = None, pointer: int | None = None):
        self.device = _name(device)
        self._own = pointer is None
        self._before: list[int] = []
        if pointer is None:
            idle = _idle.setdefault(self.device, [])
            pointer = idle.pop() if idle else _C.stream_create(self.device)
        self.pointer = pointer

    def __del__(self) -> None:
        # Never destroyed: arrays remember the streams they were used on.
        if getattr(self, "_own", False) and hasattr(self, "pointer"):
            _idle[self.device].append(self.pointer)

    def __enter__(self) -> Stream:
        self._before.append(_C.stream_get(self.device))
        _C.stream_set(self.device, self.pointer)
        return self

    def __exit__(self, *_: object) -> None:
        _C.stream_set(self.device, self._before.pop())

    def synchronize(self) -> None:
        """Waits until all work in it is done."""
        _C.stream_synchronize(self.device, self.pointer)

    def wait_stream(self, other: Stream) -> None:
        """What comes into this stream from now on waits for what is in `other` by now."""
        _C.stream_wait(self.device, self.pointer, other.pointer)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and (self.device, self.pointer) == (other.device, other.pointer)

    def __hash__(self) -> int:
        return hash((self.device, self.pointer))

    def __repr__(self) -> str:
        return f"Stream(device={self.device!r}, pointer={self.pointer:#x})"


def current_stream(device: Any = None) -> Stream:
    """The stream this thread works on."""
    name = _name(device)
    return Stream(name, _C.stream_get(name))


class Event:
    """A point in a stream, for timing.

    Args:
        device: the device.

    Example:
        >>> begin, end = medkern.cuda.Event(), medkern.cuda.Event()
        >>> begin.record()
        >>> y = model(x)
        >>> end.record()
        >>> milliseconds = begin.elapsed_time(end)
    """

    def __init__(self, device: Any = None):
        self.device = _name(device)
        self._event = _C.event_create(self.device)

    def __del__(self) -> None:
        if hasattr(self, "_event"):
            _C.event_destroy(self.device, self._event)

    def record(self) -> None:
        """Puts the event at the end of the current stream."""
        _C.event_record(self.device, self._event)

    def elapsed_time(self, end: Event) -> float:
        """Milliseconds from this event to `end`; waits for both. Both must have been recorded."""
        return _C.event_milliseconds(self.device, self._event, end._event)


def memory_stats(device: Any = None) -> dict[str, int]:
    """Bytes "in use", their "peak" since the last reset, and those "cached" for reuse."""
    stats = _C.device_memory_stats(_name(device))
    return {
        "in use": stats["bytes_in_use"],
        "peak": stats["peak_bytes_in_use"],
        "cached": stats["bytes_cached"],
    }


def max_memory_allocated(device: Any = None) -> int:
    """The most bytes that arrays had at one time since `reset_peak_memory_stats`."""
    return memory_stats(device)["peak"]


def reset_peak_memory_stats(device: Any = None) -> None:
    """Makes the bytes in use now the peak."""
    _C.device_memory_reset_peak(_name(device))


def empty_cache(device: Any = None) -> None:
    """Gives memory that is kept for reuse back to the system."""
    _C.device_memory_trim(_name(device))


def _name(device: Any) -> str:
    """A device's full name."""
    if device is None:
        device = _C.default_device() if _C.default_device() != "cpu" else "cuda:0"
    return _C.device_name(device)
