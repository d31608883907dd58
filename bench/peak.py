"""What the machine can do at best, measured: arithmetic and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

_SECONDS = 0.2
_PAIRS = 4


@dataclass(frozen=True)
class Peak:
    """The best figures seen with the threads in use.

    Attributes:
        gflops: float32 multiply-adds in registers, 1e9 operations a second; on a CUDA device those of a large
            product if they are more.
        gbytes: bytes read plus bytes written by a copy that is larger than the caches, 1e9 a second.
        products: by precision, 1e9 operations a second of a large product on a CUDA device.
    """

    gflops: float
    gbytes: float
    products: dict[str, float] = field(default_factory=dict)

    def arithmetic(self, precision: str) -> float:
        """The most operations a second in this precision."""
        return self.gflops if precision == "float32" else self.products[precision]

    def or_better(self, other: Peak) -> Peak:
        """The better of both figures each."""
        products = {
            name: max(rates.get(name, 0.0) for rates in (self.products, other.products))
            for name in {**self.products, **other.products}
        }
        return Peak(max(self.gflops, other.gflops), max(self.gbytes, other.gbytes), products)


def _best(call: Callable[[], object]) -> float:
    """The shortest time of a call, over calls that fill about _SECONDS."""
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while True:
        start = time.perf_counter()
        call()
        now = time.perf_counter()
        best = min(best, now - start)
        if now > end:
            return best


def measure() -> Peak:
    """Measures both figures with the number of threads and the instruction set in use."""
    import medkern
    from medkern import kernels

    x = np.zeros(192 * 8 * medkern.get_num_threads(), np.float32)
    rounds = 20_000
    flops = 2 * rounds * x.size
    kernels.fma_chain(x, rounds)
    gflops = flops / _best(lambda: kernels.fma_chain(x, rounds)) / 1e9

    # How pages lie in memory makes a difference of a third, so the best of some pairs of arrays counts.
    return Peak(gflops, max(_copy_gbytes() for _ in range(_PAIRS)))


def _copy_gbytes() -> float:
    from medkern import kernels

    source = np.ones(1 << 24, np.float32)  # 64 MiB, and as much again for the copy
    target = np.empty_like(source)
    return 2 * source.nbytes / _best(lambda: kernels.copy(source, out=target)) / 1e9
