"""What a case is: data that every library's process understands."""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """A layer, or network, at its real size.

    Attributes:
        name: of the layer.
        family: row of the table of goals it belongs to.
        operation: module of `operations` that knows how to draw, check and run it.
        sizes: what `operation.Sizes` takes, fit for JSON.
        peers: names of the libraries it is compared with; None means all that have the operation.
    """

    name: str
    family: str
    operation: str
    sizes: dict[str, Any]
    peers: tuple[str, ...] | None = None


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


def channels_last(x: np.ndarray) -> np.ndarray:
    """The same array with channels varying fastest in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
