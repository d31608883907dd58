"""What all readers and writers share: one kind of error, atomic writes, size limits."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

MAX_ELEMENTS = 2**28  # of one image or volume: 1 GiB as float32


class DataError(ValueError):
    """A file, folder or model that can't be used; the message is one line and names it."""


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Gives the name of a temporary file that replaces `path` at the end, in one step.

    Whoever reads `path` finds the old file or the new one, never a part; after an error or a kill the
    old one stays.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_size(path: os.PathLike[str] | str, shape: Sequence[int]) -> None:
    """Refuses sizes from a file's header that are not positive or too large, before memory is asked for."""
    if not shape or min(shape) < 1:
        raise DataError(f"{path}: its header says {tuple(shape)}; every size must be at least 1")
    if math.prod(int(size) for size in shape) > MAX_ELEMENTS:
        raise DataError(f"{path}: its header says {tuple(shape)}, more than {MAX_ELEMENTS} elements")
