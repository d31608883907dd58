"""Resizing layers."""

from __future__ import annotations

from typing import Any

from medkern import functional
from medkern.nn.module import Module
from medkern.tensor import Tensor


class Upsample(Module):
    """Resizes (N, C, spatial...); see `medkern.functional.interpolate`.

    Args:
        size: the new spatial size, or
        scale_factor: the factor to the old one.
        mode: "nearest", "linear", "bilinear" or "trilinear".
        align_corners: for the linear modes, whether the corner elements' centers are kept.
    """

    def __init__(
        self, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool = False
    ):
        super().__init__()
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, spatial...) to (N, C, new spatial...)."""
        return functional.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        size = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{size}, mode={self.mode!r}"
