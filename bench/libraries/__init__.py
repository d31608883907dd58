"""The libraries that are measured: one process each, which runs one of these modules.

The modules of a CUDA device have arrays and results there; besides what all have, they have the last three.

start(threads, variant)       loads the library; gives its version
prepare(operation, s, a)      a function that computes the case, or None where the library can't
arrays(result, operation, s)  what the function gave, as NumPy arrays in PyTorch's shapes
context(s)                    a context for the calls
export(operation, s, a, path), load(path)   the model to a file and from there, where the library runs files
set_precision(precision)      how cases prepared from now on make products
synchronize()                 returns when the device has done all that was asked for
peak()                        the best rates of the device that the library comes to
"""

from __future__ import annotations

OWN = "medkern"

# Name in the tables -> (module, what it is told).
LIBRARIES = {
    OWN: ("own", ""),
    "torch": ("pytorch", "contiguous"),
    "torch-cl": ("pytorch", "channels_last"),
    "ort": ("onnx_runtime", ""),
    "openvino": ("open_vino", "contiguous"),
    "openvino-cl": ("open_vino", "channels_last"),
    "numpy": ("num_py", ""),
}
CUDA_LIBRARIES = {
    OWN: ("own_cuda", ""),
    "torch": ("pytorch_cuda", "contiguous"),
    "torch-cl": ("pytorch_cuda", "channels_last"),
}
BY_DEVICE = {"cpu": LIBRARIES, "cuda": CUDA_LIBRARIES}
PEERS = tuple(name for name in LIBRARIES if name != OWN)
TORCH = ("torch", "torch-cl")


def peers_on(device: str) -> tuple[str, ...]:
    """The peers that run on a device."""
    return tuple(name for name in BY_DEVICE[device] if name != OWN)
