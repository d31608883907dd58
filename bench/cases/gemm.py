"""Matrix products: squares, and fully connected layers."""

from __future__ import annotations

from ..case import Case

_SQUARES = (128, 256, 512, 1024, 2048)
_HEADS = {f"head_batch{n}": (n, 1024, 256) for n in (1, 4, 16, 32, 64)}
_FLAT = {"small_cnn_dense": (8, 65536, 128)}

CASES = [
    *[Case(f"square{n}", "gemm", "gemm", {"m": n, "n": n, "k": n}) for n in _SQUARES],
    *[
        Case(name, "linear", "linear", {"batch": n, "inputs": inputs, "outputs": outputs})
        for name, (n, inputs, outputs) in {**_HEADS, **_FLAT}.items()
    ],
]
