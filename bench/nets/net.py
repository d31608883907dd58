"""A network: a list of layers, each of which reads values computed before it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..case import Arrays, normal


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        kind: what it computes, such as "conv" or "relu".
        name: where its parameters are found.
        inputs: numbers of the values it reads; 0 is the network's input, i the result of the i-th layer.
        options: sizes and such.
    """

    kind: str
    name: str
    inputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


class Net:
    """A network that grows layer by layer.

    Attributes:
        rank: number of spatial axes of its images.
        layers: in order.
    """

    def __init__(self, rank: int = 2) -> None:
        self.rank = rank
        self.layers: list[Layer] = []

    def add(self, kind: str, *inputs: int, name: str = "", **options: Any) -> int:
        """A layer more; gives the number of its result. Without inputs it reads the last one."""
        read = inputs or (len(self.layers),)
        self.layers.append(Layer(kind, name or f"layer{len(self.layers)}", read, options))
        return len(self.layers)

    def shapes(self, layer: Layer) -> dict[str, tuple[int, ...]]:
        """Parameter and buffer -> shape, in PyTorch's order."""
        o = layer.options
        if layer.kind in ("conv", "conv_transpose"):
            channels = (o["outputs"], o["inputs"])
            if layer.kind == "conv_transpose":
                channels = channels[::-1]
            weight = {"weight": (*channels, *(o["kernel"],) * self.rank)}
            return {**weight, "bias": (o["outputs"],)} if o.get("bias", True) else weight
        if layer.kind == "batch_norm":
            return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (o["channels"],))
        if layer.kind == "linear":
            return {"weight": (o["outputs"], o["inputs"]), "bias": (o["outputs"],)}
        if layer.kind == "embedding":
            return {"weight": (o["words"], o["features"])}
        if layer.kind == "lstm":
            rows = 4 * o["hidden"]
            shapes = ((rows, o["inputs"]), (rows, o["hidden"]), (rows,), (rows,))
            return dict(zip(LSTM_NAMES, shapes, strict=True))
        return {}

    def draw(self, rng: np.random.Generator) -> Arrays:
        """Values of all parameters and buffers, by `<layer>.<parameter>`."""
        arrays = {}
        for layer in self.layers:
            for name, shape in self.shapes(layer).items():
                arrays[f"{layer.name}.{name}"] = _draw(layer, name, shape, rng)
        return arrays

    def parameters(self) -> list[str]:
        """Names of what is trained, in order."""
        return [
            f"{layer.name}.{name}"
            for layer in self.layers
            for name in self.shapes(layer)
            if not name.startswith("running")
        ]


LSTM_NAMES = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")


def _draw(layer: Layer, name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if layer.kind == "batch_norm":
        if name == "running_var":
            return 1 + 0.1 * rng.random(shape, np.float32)
        return normal(rng, *shape, scale=0.1) + np.float32(name == "weight")
    if layer.kind == "lstm":
        return normal(rng, *shape, scale=layer.options["hidden"] ** -0.5)
    if name == "bias":
        return normal(rng, *shape, scale=0.1)
    if layer.kind == "embedding":
        return normal(rng, *shape)
    reads = math.prod(shape[1:])
    if layer.kind == "conv_transpose":
        reads = shape[0] * math.prod(k // layer.options.get("stride", 1) for k in shape[2:])
    return normal(rng, *shape, scale=math.sqrt(2 / reads))
