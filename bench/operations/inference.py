"""Prediction by a whole network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..case import Arrays, normal
from ..nets.backprop import Tape
from ..nets.export import export
from ..nets.net import Net
from ..nets.zoo import NETS

TOLERANCE = 1e-4
ROUNDINGS = 40  # some twenty layers, each with a few
IS_NETWORK = True


@dataclass(frozen=True)
class Sizes:
    """A network and its input.

    Attributes:
        net: name in `nets.zoo`.
        x: shape of the input.
        options: of the network.
    """

    net: str
    x: Sequence[int]
    options: dict[str, Any] = field(default_factory=dict)
    gradients: bool = False

    @property
    def made(self) -> Net:
        """The network."""
        return NETS[self.net](**self.options)


def draw_input(s: Any, rng: np.random.Generator) -> np.ndarray:
    """Images, or words of a text."""
    if s.net == "text":
        return rng.integers(0, s.made.layers[0].options["words"], s.x)
    return normal(rng, *s.x)


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """The input, as `x`, and all parameters."""
    return {"x": draw_input(s, rng), **s.made.draw(rng)}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """What the network says."""
    return [Tape(s.made, {name: value for name, value in a.items() if name != "x"}, a["x"], False).y]


def work(s: Sizes) -> tuple[float, float]:
    """Two operations for each weight that each position meets; the bytes of the weights."""
    flops, sizes = counted(s.made, s.x)
    return flops, 4 * sizes


def counted(net: Net, x: Sequence[int]) -> tuple[float, float]:
    """(additions and multiplications, numbers of the weights) of a prediction."""
    shapes: list[Sequence[int]] = [x]
    flops, weights = 0.0, 0.0
    for layer in net.layers:
        before, o = shapes[layer.inputs[0]], layer.options
        size = math.prod(math.prod(shape) for name, shape in net.shapes(layer).items() if name == "weight")
        k, stride, padding = o.get("kernel", 1), o.get("stride", 1), o.get("padding", 0)
        spatial, after = list(before[2:]), list(before)
        if layer.kind in ("conv", "max_pool"):
            spatial = [(n + 2 * padding - k) // stride + 1 for n in spatial]
            after = [before[0], o.get("outputs", before[1]), *spatial]
        elif layer.kind == "conv_transpose":
            after = [before[0], o["outputs"], *((n - 1) * stride - 2 * padding + k for n in spatial)]
        elif layer.kind == "concat":
            after = [before[0], sum(shapes[i][1] for i in layer.inputs), *spatial]
        elif layer.kind in ("flatten", "global_average"):
            after = [before[0], math.prod(before[1:] if layer.kind == "flatten" else before[1:2])]
        elif layer.kind == "linear":
            after, spatial = [before[0], o["outputs"]], []
        elif layer.kind == "embedding":
            after, size = [*before, o["features"]], 0
        elif layer.kind == "lstm":
            after, spatial = [*before[:2], o["hidden"]], [before[1]]
            size = 4 * o["hidden"] * (o["inputs"] + o["hidden"])
        elif layer.kind == "last":
            after = [before[0], before[2]]
        if layer.kind in ("conv", "conv_transpose", "linear", "lstm"):
            flops += 2 * before[0] * math.prod(spatial) * size
            weights += size
        shapes.append(after)
    return flops, weights


def model_of(s: Any, a: Arrays) -> Any:
    """The model in medkern with these parameters: `models.UNet` where it is one."""
    import medkern

    from ..nets import modules

    if s.net != "unet":
        return modules.by_medkern(s.made, a)
    options = {"spatial_dims": len(s.x) - 2, "filters": (64, 128, 256, 512, 1024), **s.options}
    options["activation"] = "sigmoid" if options.pop("sigmoid", True) else None
    options["out_channels"] = options.pop("outputs", 1)
    options.pop("rank", None)
    model = medkern.models.UNet(1, **options)
    # All but what counts the batches.
    model.load_state_dict({**model.state_dict(), **{name: value for name, value in a.items() if name != "x"}})
    return model


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """The compiled model."""
    import medkern

    x = a["x"]
    predict = medkern.compile(model_of(s, a), x)
    return lambda: predict(x)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The module, in the memory format of its input."""
    from ..libraries.pytorch import format_of
    from ..nets import modules

    x, weight = a["x"], next(value for name, value in a.items() if name != "x")
    arrays = {name: value.float().cpu().numpy() for name, value in a.items()}
    model = modules.by_torch(s.made, arrays).eval().to(weight.device, weight.dtype)
    if x.ndim >= 4:
        model = model.to(memory_format=format_of(x.ndim))
    return lambda: model(x)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """All of it."""
    return export(s.made, a, graph, a["x"])
