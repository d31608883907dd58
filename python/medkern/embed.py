"""Where the C library is, for programs that call the kernels from C or C++."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def get_include() -> str:
    """The folder with `medkern.h`, for a compiler's `-I`."""
    return str(_PACKAGE / "include")


def get_library() -> str:
    """The path of the shared library that implements `medkern.h`; it needs neither Python nor NumPy."""
    return str(_PACKAGE / "libmedkern.so")
