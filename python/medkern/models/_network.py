"""What all networks share: they know the arguments that make them again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from medkern import functional, nn
from medkern.nn import init
from medkern.nn.conv import Convolution
from medkern.tensor import Tensor


class Network(nn.Module):
    """A module of this namespace.

    Args:
        config: its arguments, fit for JSON.
    """

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        self._config = config

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this network again, fit for JSON."""
        return copy.deepcopy(self._config)


ACTIVATIONS = ("sigmoid", "softmax", None)  # that may end a segmentation network


def activate(x: Tensor, activation: str | None) -> Tensor:
    """Logits (N, C, ...), or their sigmoid, or their softmax over the channels."""
    if activation == "sigmoid":
        return functional.sigmoid(x)
    return functional.softmax(x, 1) if activation == "softmax" else x


def expect_one_of(network: object, name: str, value: Any, known: Sequence[Any]) -> None:
    """Raises unless `value` is one of those known."""
    if value not in known:
        raise ValueError(f"{type(network).__name__}: {name} must be one of {tuple(known)}, got {value!r}")


def expect_images(network: object, x: Tensor, channels: int, least: int) -> None:
    """Raises unless x has shape (N, channels, H, W) and both sizes are at least `least`."""
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f"{type(network).__name__}: x must have shape (N, {channels}, H, W), got {x.shape}")
    if min(x.shape[2:]) < least:
        raise ValueError(
            f"{type(network).__name__}: x must be at least {least} x {least} pixels, got {x.shape}"
        )


def start_convolutions(network: nn.Module, mode: str) -> None:
    """Weights of convolutions normal as in He et al., 2015, biases 0.

    Args:
        network: all of its convolutions.
        mode: "fan_in" keeps the variance of activations, "fan_out" that of gradients.
    """
    for module in network.modules():
        if isinstance(module, Convolution):
            init.kaiming_normal_(module.weight, mode=mode, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
