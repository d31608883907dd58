"""The random numbers of dropout, initialization and augmentation: one seed, and a count of what was used.

Numbers come from a counter (see `medkern.kernels.uniform`): the state is the seed and the number of the next
unused block. The same seed gives the same numbers on every machine, at any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from medkern import _C
from medkern.tensor import Tensor

_lock = threading.Lock()
_seed = 0
_offset = 0


def manual_seed(seed: int) -> None:
    """Starts over with this seed, from 0 to 2**64 - 1; without it the seed is 0.

    Raises:
        ValueError: the seed is out of range.
        TypeError: the seed is not an int.

    Example:
        >>> medkern.random.manual_seed(1)
    """
    set_state((seed, 0))


def get_state() -> tuple[int, int]:
    """The seed and the number of the next unused block, for `set_state` or a checkpoint."""
    with _lock:
        return _seed, _offset


def set_state(state: tuple[int, int]) -> None:
    """Goes on from what `get_state` gave.

    Raises:
        ValueError: not a pair, or a value is out of range.
        TypeError: a value is not an int.
    """
    global _seed, _offset
    if len(state) != 2:
        raise ValueError(f"set_state: state must be (seed, offset), got {state!r}")
    seed, offset = state
    _C.uniform((0,), "float32", seed, offset, 0.0, 1.0, None)  # checks both
    with _lock:
        _seed, _offset = int(seed), int(offset)


def draw(consume: Callable[[int, int], tuple[Any, ...]]) -> Any:
    """Calls `consume(seed, offset)` and moves the state past what it used.

    Args:
        consume: gives its results followed by the number of the first block it did not use.

    Returns:
        The result of `consume` without that number, or a tuple of its results if there are several.
    """
    global _offset
    with _lock:
        *results, _offset = consume(_seed, _offset)
    return results[0] if len(results) == 1 else tuple(results)


def uniform(
    shape: tuple[int, ...], low: float = 0.0, high: float = 1.0, dtype: Any = "float32", device: Any = None
) -> Tensor:
    """A tensor of random numbers spread evenly over low <= y < high.

    Args:
        shape: the size along each axis.
        low: the least value.
        high: the bound above.
        dtype: float32 or float64.
        device: where it is made; None is the default device.

    Example:
        >>> medkern.random.uniform((2, 3)).shape
        (2, 3)
    """
    return Tensor(draw(lambda seed, offset: _C.uniform(shape, dtype, seed, offset, low, high, None, device)))


def normal(
    shape: tuple[int, ...], mean: float = 0.0, std: float = 1.0, dtype: Any = "float32", device: Any = None
) -> Tensor:
    """A tensor of random numbers from the normal distribution; see `uniform`."""
    return Tensor(draw(lambda seed, offset: _C.normal(shape, dtype, seed, offset, mean, std, None, device)))
