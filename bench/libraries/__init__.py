"""The libraries that are measured: one process each, which runs one of these modules.

start(threads, variant)       loads the library; gives its version
prepare(operation, s, a)      a function that computes the case, or None where the library can't
arrays(result, operation, s)  what the function gave, as NumPy arrays in PyTorch's shapes
context(s)                    a context for the calls
export(operation, s, a, path), load(path)   the model to a file and from there, where the library runs files
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
PEERS = tuple(name for name in LIBRARIES if name != OWN)
TORCH = ("torch", "torch-cl")
