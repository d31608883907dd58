"""What a case is: data that every library's process understands."""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]

# How products of float32 numbers are made: exactly, of operands rounded to 11 bits (TF32) or to 8 (BF16).
PRECISIONS = ("float32", "tf32", "bf16")


@dataclass(frozen=True)
class Case:
    """A layer, or network, at its real size.

    Attributes:
        name: of the layer.
        family: row of the table of goals it belongs to.
        operation: module of `operations` that knows how to draw, check and run it.
        sizes: what `operation.Sizes` takes, fit for JSON.
        peers: names of the libraries it is compared with; None means all that have the operation.
        precision: one of PRECISIONS; on the CPU always float32.
    """

    name: str
    family: str
    operation: str
    sizes: dict[str, Any]
    peers: tuple[str, ...] | None = None
    precision: str = "float32"

    @property
    def title(self) -> str:
        """The name, and the precision if it is lower."""
        return self.name if self.precision == "float32" else f"{self.name}_{self.precision}"


def operation_of(name: str) -> ModuleType:
    """The module of an operation: `Sizes`, `draw`, `expected`, `work`, `by_<library>`."""
    return importlib.import_module(f".operations.{name}", __package__)


def draw(name: str, operation: ModuleType, sizes: Any) -> Arrays:
    """The arrays of a case, the same in every process; contiguous, in PyTorch's shapes."""
    return operation.draw(sizes, np.random.default_rng(zlib.crc32(name.encode())))


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Standard normal numbers times `scale`, float32."""
    x = rng.standard_normal(shape, np.float32)
    return x if scale == 1.0 else x * np.float32(scale)


def channels_last(x: Any) -> Any:
    """The same array, of NumPy or of medkern, with channels varying fastest in memory."""
    if not isinstance(x, np.ndarray):
        from medkern import _C

        return _C.copy(x, None, True, None)
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
