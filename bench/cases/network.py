"""Whole networks: prediction and training steps."""

from __future__ import annotations

from typing import Any

from ..case import Case

_TORCH = ("torch", "torch-cl")
_UNET3D: dict[str, Any] = {"rank": 3, "filters": [16, 32, 64, 128, 256]}
_UNET32: dict[str, Any] = {"filters": [32, 64, 128, 256, 512], "sigmoid": False}


def _predict(name: str, family: str, net: str, x: tuple[int, ...], **options: Any) -> Case:
    return Case(f"{name}_predict", family, "inference", {"net": net, "x": x, "options": options})


def _train(name: str, family: str, net: str, x: tuple[int, ...], loss: str, **options: Any) -> Case:
    sizes = {"net": net, "x": x, "loss": loss, "options": options}
    return Case(f"{name}_step", family, "training", sizes, _TORCH)


_SMALL = {
    "resnet18": ("resnet18", (3, 224, 224), {}),
    "small_cnn128": ("small_cnn", (1, 128, 128), {"size": 128}),
    "small_cnn28": ("small_cnn", (1, 28, 28), {"size": 28}),
    "report_text": ("text", (64,), {}),
}

CASES = [
    _predict("unet64_256", "unet_predict", "unet", (1, 1, 256, 256)),
    _predict("unet64_512", "unet_predict", "unet", (1, 1, 512, 512)),
    _predict("unet3d_96", "unet_predict", "unet", (1, 1, 96, 96, 96), **_UNET3D),
    _predict("unet64_norm_256", "unet_predict", "unet", (1, 1, 256, 256), norm="batch"),
    _train("unet32_bce", "unet_step", "unet", (4, 1, 128, 128), "bce", **_UNET32),
    _train("unet32_norm_dice", "unet_step", "unet", (4, 1, 128, 128), "dice", norm="batch", **_UNET32),
    _train("unet3d_dice", "unet_step", "unet", (1, 1, 64, 64, 64), "dice", sigmoid=False, **_UNET3D),
    *[
        _predict(f"{name}_batch{n}", "small_predict", net, (n, *x), **options)
        for name, (net, x, options) in _SMALL.items()
        for n in (1, 32)
    ],
    *[
        _train(f"{name}_batch{n}", "small_step", net, (n, *x), "cross_entropy", **options)
        for name, (net, x, options) in _SMALL.items()
        for n in (1, 32)
    ],
    *[Case(f"dcgan_batch{n}_step", "small_step", "gan", {"batch": n}, _TORCH) for n in (1, 32)],
]
