"""What a CUDA device can do at best, measured by what a library has: copies, products, multiply-adds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from .case import PRECISIONS
from .peak import Peak

_SAMPLES = 5
_SAMPLE_SECONDS = 0.02
_COPIED = 1 << 28  # float32 numbers, 1 GiB, many times the last cache
_EDGE = 8192  # of the matrices
_CHAINS, _ROUNDS = 1 << 20, 4096
_SMALL = {"copied": 1 << 10, "edge": 32, "chains": 1 << 8, "rounds": 4}


def measure(
    copy: Callable[[int], Callable[[], Any]],
    product: Callable[[int], Callable[[], Any]],
    chain: Callable[[int, int], Callable[[], Any]] | None,
    set_precision: Callable[[str], None],
    synchronize: Callable[[], None],
    small: bool,
) -> Peak:
    """The best of a few samples each.

    Args:
        copy: makes a call that copies so many float32 numbers on the device.
        product: makes a call that multiplies square matrices of this edge.
        chain: makes a call of so many chains of so many multiply-adds, if the library has one.
        set_precision: of the products.
        synchronize: waits for the device.
        small: whether the device is only an emulator.
    """

    def best(call: Callable[[], Any]) -> float:
        seconds = []
        repeats = 1
        while len(seconds) < _SAMPLES:
            start = time.perf_counter()
            for _ in range(repeats):
                call()
            synchronize()
            elapsed = time.perf_counter() - start
            if elapsed < _SAMPLE_SECONDS and not small and repeats < 1 << 12:
                repeats *= 2
            else:
                seconds.append(elapsed / repeats)
        return min(seconds)

    copied, edge = (_SMALL["copied"], _SMALL["edge"]) if small else (_COPIED, _EDGE)
    gbytes = 8 * copied / best(copy(copied)) / 1e9
    products = {}
    for precision in PRECISIONS:
        set_precision(precision)
        products[precision] = 2 * edge**3 / best(product(edge)) / 1e9
    set_precision("float32")
    gflops = products["float32"]
    if chain is not None:
        chains, rounds = (_SMALL["chains"], _SMALL["rounds"]) if small else (_CHAINS, _ROUNDS)
        gflops = max(gflops, 2 * rounds * chains / best(chain(chains, rounds)) / 1e9)
    return Peak(gflops, gbytes, products)
