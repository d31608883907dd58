"""Operations that memory limits, on the images of the U-Nets' top levels."""

from __future__ import annotations

from typing import Any

from ..case import Case

_IMAGES = {"unet64": (1, 64, 256, 256), "unet3d": (1, 32, 64, 64, 64)}


def _both(name: str, operation: str, backward: bool = True, peers: Any = None, **sizes: Any) -> list[Case]:
    """The forward pass, and the backward pass alone."""
    found = [Case(name, "bandwidth", operation, sizes, peers)]
    if backward:
        found.append(Case(f"{name}_backward", "bandwidth", operation, {**sizes, "gradients": True}, peers))
    return found


def _cases(net: str, x: tuple[int, ...]) -> list[Case]:
    half = (*x[:2], *(n // 2 for n in x[2:]))
    return [
        *_both(f"{net}_max_pool", "pool", x=x, kind="max"),
        *_both(f"{net}_average_pool", "pool", x=x, kind="average"),
        # OpenVINO has no such operation.
        *_both(f"{net}_unpool", "pool", x=x, kind="unpool", peers=("torch", "torch-cl", "ort")),
        *_both(f"{net}_resize", "resize", x=half),
        *_both(f"{net}_resize_nearest", "resize", x=half, linear=False),
        *_both(f"{net}_batch_norm", "norm", x=x, kind="batch"),
        *_both(f"{net}_batch_norm_inference", "norm", backward=False, x=x, kind="batch_inference"),
        *_both(f"{net}_instance_norm", "norm", x=x, kind="instance"),
        *_both(f"{net}_softmax", "softmax", x=x),
        *_both(f"{net}_relu", "pointwise", x=x, kind="relu"),
        *_both(f"{net}_sigmoid", "pointwise", x=x, kind="sigmoid"),
        *_both(f"{net}_tanh", "pointwise", x=x, kind="tanh"),
        *_both(f"{net}_add", "pointwise", backward=False, x=x, kind="add"),
    ]


# Registration and spatial transformers: features of slices, volumes, labels' channels, a batch of slices.
_SAMPLED = {
    "unet64": (1, 64, 256, 256),
    "volume": (1, 1, 96, 96, 96),
    "volume3": (1, 3, 64, 64, 64),
    "volume16": (1, 16, 64, 64, 64),
    "slices": (8, 1, 256, 256),
}

CASES = [case for net, x in _IMAGES.items() for case in _cases(net, x)]
CASES += [
    case
    for name, x in _SAMPLED.items()
    for case in _both(f"{name}_grid_sample", "resample", peers=("torch", "torch-cl"), x=x)
]
