"""Where the intermediate results of a compiled model lie in one block of memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medkern import _C

_ALIGNMENT = 256  # what a CUDA device's allocator gives; a cache line of the CPU has 64


@dataclass
class Buffer:
    """Memory that is needed from one step to another.

    Attributes:
        size: its bytes.
        first: the time, in steps, when it is written first.
        last: that when it is read last; it is needed at both.
        offset: where it lies, set by `place`.
    """

    size: int
    first: float
    last: float
    offset: int = 0


def place(buffers: Sequence[Buffer]) -> int:
    """Gives each buffer an offset such that those needed at the same time don't overlap.

    The largest first, each into the smallest gap that holds it.

    Returns:
        The bytes needed in all.
    """
    placed: list[Buffer] = []
    total = 0
    for buffer in sorted(buffers, key=lambda b: (-b.size, b.first)):
        neighbors = [b for b in placed if b.first <= buffer.last and buffer.first <= b.last]
        end, best, smallest = 0, None, None
        for neighbor in sorted(neighbors, key=lambda b: b.offset):
            gap = neighbor.offset - end
            if gap >= buffer.size and (smallest is None or gap < smallest):
                best, smallest = end, gap
            end = max(end, _rounded(neighbor.offset + neighbor.size))
        buffer.offset = end if best is None else best
        placed.append(buffer)
        total = max(total, buffer.offset + buffer.size)
    return total


def _rounded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


class Arena:
    """One block of memory.

    Args:
        size: its bytes.
        device: where it lies.
    """

    def __init__(self, size: int, device: str):
        self.size = size
        self.bytes = _C.empty((size,), "uint8", False, device)

    def view(self, outline: _C.Array, offset: int) -> _C.Array:
        """An array with shape, type and strides of `outline`, `offset` bytes from the start."""
        return self.bytes.placed(outline, offset)


def extent(outline: _C.Array) -> int:
    """Bytes from the first element to the end of the last."""
    if outline.size == 0:
        return 0
    last = sum((size - 1) * stride for size, stride in zip(outline.shape, outline.strides, strict=True))
    return (last + 1) * outline.dtype.itemsize
