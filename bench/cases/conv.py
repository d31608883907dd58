"""Convolutions.

unet64 is the classic 2-D U-Net (64 filters at the top, 256 x 256), unet3d its 3-D kin; cardiac is a
short-axis slice, gan a DCGAN of 64 x 64 images.
"""

from __future__ import annotations

from typing import Any

from ..case import Case
from ..libraries import TORCH

_WIDE = 256  # channels, above which preparing the weights in every call is not expected to pay


def _same(n: int, channels: int, filters: int, *size: int, **more: Any) -> dict[str, Any]:
    """A 3x3 (x3) convolution that keeps the size."""
    return {"x": (n, channels, *size), "filters": filters, **more}


_3X3 = {
    "unet64_enc1": _same(1, 64, 64, 256, 256),
    "unet64_enc2": _same(1, 128, 128, 128, 128),
    "unet64_enc3": _same(1, 256, 256, 64, 64),
    "unet64_enc4": _same(1, 512, 512, 32, 32),
    "unet64_enc5": _same(1, 1024, 1024, 16, 16),
    "unet32_widen": _same(1, 32, 64, 256, 256),
    "texture96": _same(1, 96, 96, 112, 112),
    "cardiac48": _same(1, 48, 48, 200, 176),
    "patches32": _same(8, 32, 64, 64, 64),
    "patches64": _same(8, 64, 64, 128, 128),
}

_FIRST = {
    "unet64_first": _same(1, 1, 64, 256, 256),
    "resnet_first": {"x": (1, 3, 224, 224), "filters": 64, "kernel": 7, "stride": 2, "padding": 3},
    "unet3d_first": _same(1, 1, 16, 96, 96, 96),
    "unet3d_first32": _same(1, 1, 32, 64, 64, 64),
}

_POINT = {"kernel": 1, "padding": 0}

_OTHER = {
    "resnet50_reduce2": _same(1, 256, 64, 56, 56, **_POINT),
    "resnet50_expand2": _same(1, 64, 256, 56, 56, **_POINT),
    "resnet50_expand4": _same(1, 256, 1024, 14, 14, **_POINT),
    "resnet50_reduce5": _same(1, 2048, 512, 7, 7, **_POINT),
    "resnet50_shortcut3": _same(1, 256, 512, 56, 56, stride=2, **_POINT),
    "unet64_head": _same(1, 64, 4, 256, 256, **_POINT),
    "resnet50_down3": _same(1, 128, 128, 56, 56, stride=2),
    "resnet50_down5": _same(1, 512, 512, 14, 14, stride=2),
    "resnet18_down2": _same(8, 64, 128, 56, 56, stride=2),
    "unet3d_down": _same(1, 32, 64, 48, 48, 48, stride=2),
    "segnet_5x5": _same(1, 64, 64, 128, 128, kernel=5, padding=2),
    "segnet_7x7": _same(1, 64, 64, 90, 120, kernel=7, padding=3),
    "context_dilated2": _same(1, 128, 128, 64, 64, dilation=2, padding=2),
    "context_dilated4": _same(1, 256, 256, 32, 32, dilation=4, padding=4),
    "mobile_depthwise": _same(1, 128, 128, 112, 112, groups=128),
    "mobile_depthwise_s2": _same(1, 256, 256, 56, 56, groups=256, stride=2),
    "mobile_depthwise5": _same(1, 192, 192, 56, 56, groups=192, kernel=5, padding=2),
    "gan_disc2": _same(16, 64, 128, 32, 32, kernel=4, stride=2),
}

_3D = {
    "unet3d_enc1": _same(1, 16, 32, 64, 64, 64),
    "unet3d_enc1b": _same(1, 32, 32, 64, 64, 64),
    "unet3d_enc2": _same(1, 64, 64, 32, 32, 32),
    "unet3d_enc3": _same(1, 128, 128, 16, 16, 16),
    "unet3d_odd": _same(1, 32, 64, 40, 48, 56),
}

_UP = {"kernel": 2, "stride": 2, "padding": 0, "transposed": True}
_GAN = {"kernel": 4, "stride": 2, "padding": 1, "transposed": True}

_TRANSPOSED = {
    "unet64_up1": _same(1, 128, 64, 128, 128, **_UP),
    "unet64_up4": _same(1, 1024, 512, 16, 16, **_UP),
    "gan_gen2": _same(16, 256, 128, 8, 8, **_GAN),
    "gan_gen1": _same(32, 512, 256, 4, 4, **_GAN),
    "unet3d_up2": _same(1, 64, 32, 16, 16, 16, **_UP),
    "unet3d_up1": _same(1, 128, 64, 24, 24, 24, **_UP),
}


LAYERS = {**_3X3, **_FIRST, **_OTHER, **_3D, **_TRANSPOSED}


def _plain_family(family: str, sizes: dict[str, Any]) -> str:
    wide = family == "conv3x3" and max(sizes["x"][1], sizes["filters"]) > _WIDE
    return f"{family}_wide_plain" if wide else f"{family}_plain"


def _cases(family: str, layers: dict[str, dict[str, Any]], gradients: bool = True) -> list[Case]:
    found = [Case(name, family, "conv", sizes) for name, sizes in layers.items()]
    for name, sizes in layers.items():
        plain = {**sizes, "prepared": False}
        found.append(Case(f"{name}_plain", _plain_family(family, sizes), "conv", plain, TORCH))
    if gradients:
        for name, sizes in layers.items():
            both = {**sizes, "gradients": True}
            found.append(Case(f"{name}_gradients", f"{family}_gradients", "conv_gradients", both, TORCH))
    return found


CASES = [
    *_cases("conv3x3", _3X3),
    *_cases("first", _FIRST, gradients=False),
    *_cases("conv_other", _OTHER),
    *_cases("conv3d", _3D),
    *_cases("transposed", _TRANSPOSED),
]
