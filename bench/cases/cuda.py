"""The cases of a CUDA device: the CPU's layers, and what it takes to fill a large GPU.

Families end in the precision of their products, which is the peers' as well. Goals are those for an H200.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..case import PRECISIONS, Case
from ..libraries import TORCH
from . import conv, network, recurrent
from .family import Family

_ROUNDED = PRECISIONS[:2]  # where PyTorch has no layer in BF16, or it would say little more


def _named(title: str, goals: dict[str, float | None], stem: str, **more: Any) -> dict[str, Family]:
    return {f"{stem}_{p}": Family(f"{title}, {p}", goal, **more) for p, goal in goals.items()}


def _same(goal: float | None, precisions: Iterable[str] = PRECISIONS) -> dict[str, float | None]:
    return dict.fromkeys(precisions, goal)


FAMILIES: dict[str, Family] = {
    **_named("square matrix products", {"float32": None, "tf32": 0.7, "bf16": 0.85}, "gemm"),
    **_named("U-Net inference, compiled", _same(1.0), "unet_predict"),
    **_named("U-Net training step", _same(1.0), "unet_step"),
    **_named("layers of U-Net and ResNet, weights prepared", _same(0.75), "layers"),
    **_named("the same, input and weight gradients together", _same(0.75, _ROUNDED), "layers_gradients"),
    **_named("1 to 32 channels, and the same in 3-D, with gradients", _same(1.0, _ROUNDED), "few"),
    **_named(
        "pooling, unpooling, resize, norm + ReLU, softmax, pointwise, with gradients",
        _same(1.2, ["float32"]),
        "stream",
        bandwidth=0.85,
        is_both=True,
    ),
    **_named("LSTM and GRU sequences, weights prepared", _same(1.0, _ROUNDED), "sequence"),
    **_named("the same, forward and backward", _same(1.0, ["float32"]), "sequence_gradients"),
    **_named("LSTM and GRU cells, weights prepared", _same(1.5, ["float32"]), "cell"),
}


def _cases(stem: str, name: str, operation: str, sizes: dict[str, Any]) -> list[Case]:
    """A case in all precisions of its family."""
    return [
        Case(name, f"{stem}_{p}", operation, sizes, TORCH, p) for p in PRECISIONS if f"{stem}_{p}" in FAMILIES
    ]


_SQUARES = (2048, 4096, 8192)

_CONVOLUTIONS = {**conv.LAYERS, "unet64_enc3_batch8": {**conv.LAYERS["unet64_enc3"], "x": (8, 256, 64, 64)}}
_LAYERS = (
    *(f"unet64_enc{i}" for i in range(1, 6)),
    "unet64_enc3_batch8",
    "unet64_up1",
    "unet64_up4",
    "unet3d_enc2",
    "resnet50_reduce2",
    "resnet50_expand4",
    "resnet50_shortcut3",
    "resnet50_down3",
    "resnet18_down2",
)
_WITH_GRADIENTS = ("unet64_enc1", "unet64_enc3_batch8", "unet64_enc5", "unet64_up1", "resnet50_down3")
_FEW = ("unet64_first", "resnet_first", "patches32", "unet3d_first", "unet3d_enc1", "unet3d_enc1b")
_FEW_WITH_GRADIENTS = ("patches32", "unet3d_enc1b")


def _convolutions(stem: str, names: Iterable[str]) -> list[Case]:
    return [case for name in names for case in _cases(stem, name, "conv", _CONVOLUTIONS[name])]


def _gradients(stem: str, names: Iterable[str]) -> list[Case]:
    return [
        case
        for name in names
        for case in _cases(
            stem, f"{name}_gradients", "conv_gradients", {**_CONVOLUTIONS[name], "gradients": True}
        )
    ]


# 128 MiB, several times the last cache.
_IMAGE, _HALF, _VOLUME = (8, 64, 256, 256), (8, 64, 128, 128), (2, 32, 64, 64, 128)


def _stream(name: str, operation: str, backward: bool = True, **sizes: Any) -> list[Case]:
    found = _cases("stream", name, operation, sizes)
    return [
        *found,
        *(_cases("stream", f"{name}_backward", operation, {**sizes, "gradients": True}) if backward else []),
    ]


_NETWORKS = (
    "unet64_256_predict",
    "unet64_norm_256_predict",
    "unet3d_96_predict",
    "unet32_bce_step",
    "unet32_norm_dice_step",
    "unet3d_dice_step",
)


def _recurrent(stem: str, cases: Iterable[Case], family: str) -> list[Case]:
    return [
        made
        for case in cases
        if case.family == family
        for made in _cases(stem, case.name, case.operation, case.sizes)
    ]


KINDS: dict[str, list[Case]] = {
    "gemm": [
        case for n in _SQUARES for case in _cases("gemm", f"square{n}", "gemm", {"m": n, "n": n, "k": n})
    ],
    "network": [
        made
        for case in network.CASES
        if case.name in _NETWORKS
        for made in _cases(case.family, case.name, case.operation, case.sizes)
    ],
    "conv": [
        *_convolutions("layers", _LAYERS),
        *_convolutions("few", _FEW),
        *_gradients("layers_gradients", _WITH_GRADIENTS),
        *_gradients("few", _FEW_WITH_GRADIENTS),
    ],
    "stream": [
        *_stream("image_max_pool", "pool", x=_IMAGE, kind="max"),
        *_stream("image_average_pool", "pool", x=_IMAGE, kind="average"),
        *_stream("image_batch_norm", "norm", x=_IMAGE, kind="batch"),
        *_stream("image_batch_norm_inference", "norm", backward=False, x=_IMAGE, kind="batch_inference"),
        *_stream("image_instance_norm", "norm", x=_IMAGE, kind="instance"),
        *_stream("image_softmax", "softmax", x=_IMAGE),
        *_stream("image_relu", "pointwise", x=_IMAGE, kind="relu"),
        *_stream("image_sigmoid", "pointwise", x=_IMAGE, kind="sigmoid"),
        *_stream("image_add", "pointwise", backward=False, x=_IMAGE, kind="add"),
        *_stream("image_resize", "resize", x=_HALF),
        *_stream("image_unpool", "pool", x=_IMAGE, kind="unpool"),
        *_stream("volume_max_pool", "pool", x=_VOLUME, kind="max"),
        *_stream("volume_batch_norm", "norm", x=_VOLUME, kind="batch"),
    ],
    "recurrent": [
        *_recurrent("sequence", recurrent.CASES, "sequence"),
        *_recurrent("cell", recurrent.CASES, "cell"),
        *_recurrent("sequence_gradients", recurrent.CASES, "sequence_gradients"),
    ],
}
