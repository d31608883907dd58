"""A training step: forward, loss, backward and Adam.

The loss and all gradients of the first step are checked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import oracle
from ..case import Arrays
from ..nets.backprop import Tape
from ..nets.net import Net
from ..nets.zoo import NETS
from . import inference

# A value near 0 can fall on the other side of a ReLU, which moves sums by a term, so errors are taken in the
# Euclidean norm. They are about 1e-5 where nothing falls and some hundredths where a few values do: ResNet-18
# with a batch of 1 has 7 x 7 positions in its last layers, where one of them moves a bias's gradient by 1 %.
TOLERANCE = 5e-2
# In lower precision more values fall, and of gradients through a batch norm little is left: in PyTorch's BF16
# step of unet32_norm_dice they are off by up to 0.7.
ROUNDINGS = 300
IS_NETWORK = IS_TRAINED = True
_LR = 1e-4


@dataclass(frozen=True)
class Sizes:
    """A network, its input and its loss.

    Attributes:
        net: name in `nets.zoo`.
        x: shape of the input.
        loss: "bce" and "dice" for masks, "cross_entropy" for a class per sample.
        options: of the network.
    """

    net: str
    x: Sequence[int]
    loss: str
    options: dict[str, Any] = field(default_factory=dict)
    gradients: bool = True

    @property
    def made(self) -> Net:
        """The network."""
        return NETS[self.net](**self.options)


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """The input, as `x`, the target, and all parameters."""
    x, parameters = inference.draw_input(s, rng), s.made.draw(rng)
    if s.loss == "cross_entropy":
        classes = s.made.layers[-1].options["outputs"]
        return {"x": x, "target": rng.integers(0, classes, s.x[0]), **parameters}
    return {"x": x, "target": (rng.random(s.x) < 0.3).astype(np.float32), **parameters}


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The loss and the gradient of each parameter."""
    parameters = {name: value for name, value in a.items() if name not in ("x", "target")}
    tape = Tape(s.made, parameters, a["x"], True)
    loss, dy = loss_of(s.loss, tape.y, a["target"])
    gradients = tape.backward(dy)[1]
    return [np.asarray(loss), *(gradients[name] for name in s.made.parameters())]


def measure(x: np.ndarray) -> float:
    """The norm in which errors are taken."""
    return float(np.linalg.norm(x))


def loss_of(kind: str, y: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """A loss of logits and its gradient."""
    if kind == "cross_entropy":
        p = np.exp(y - y.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        rows = np.arange(len(y))
        loss = -np.log(p[rows, target]).mean()
        p[rows, target] -= 1
        return loss, p / len(y)
    t, p = target.astype(np.float64), oracle.sigmoid(y)
    if kind == "bce":
        return (np.logaddexp(0, y) - t * y).mean(), (p - t) / y.size
    space = tuple(range(2, y.ndim))
    overlap = 2 * (p * t).sum(space, keepdims=True) + 1
    total = p.sum(space, keepdims=True) + t.sum(space, keepdims=True) + 1
    dp = (overlap / total**2 - 2 * t / total) / overlap.size
    return (1 - overlap / total).mean(), dp * p * (1 - p)


def work(s: Sizes) -> tuple[float, float]:
    """Three times a prediction, less the gradient of the input."""
    flops, weights = inference.counted(s.made, s.x)
    return 3 * flops, 4 * 3 * weights


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """The model, a loss of `medkern.losses`, `optim.Adam`."""
    import medkern
    from medkern import losses, optim

    parameters = {name: value for name, value in a.items() if name not in ("x", "target")}
    model = inference.model_of(s, parameters).train()
    loss_function = {
        "bce": losses.BCEWithLogitsLoss(),
        "dice": losses.DiceLoss("sigmoid"),
        "cross_entropy": losses.CrossEntropyLoss(),
    }[s.loss]
    optimizer = optim.Adam(model.parameters(), lr=_LR)
    x, target = medkern.tensor(a["x"]), medkern.tensor(a["target"])
    trained = list(model.parameters()) if s.net != "unet" else _by_name(model, s.made)

    def step() -> list[Any]:
        optimizer.zero_grad()
        loss = loss_function(model(x), target)
        loss.backward()
        optimizer.step()
        return [loss.detach(), *(p.grad for p in trained)]

    return step


def _by_name(model: Any, net: Net) -> list[Any]:
    """The parameters of `models.UNet`, in the order of the network's description."""
    named = dict(model.named_parameters())
    return [named[name] for name in net.parameters()]


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The module, its losses, and the fused Adam."""
    import torch
    from torch.nn import functional

    from ..libraries.pytorch import format_of
    from ..nets import modules

    x, target = a["x"], a["target"]
    arrays = {name: value.cpu().numpy() for name, value in a.items()}
    model = modules.by_torch(s.made, arrays).train().to(x.device)
    if x.ndim >= 4:
        model = model.to(memory_format=format_of(x.ndim))
    loss_function = {
        "bce": functional.binary_cross_entropy_with_logits,
        "dice": _dice,
        "cross_entropy": functional.cross_entropy,
    }[s.loss]
    trained = list(model.parameters())
    optimizer = torch.optim.Adam(trained, lr=_LR, fused=True)

    def step() -> list[Any]:
        optimizer.zero_grad()
        loss = loss_function(model(x), target)
        loss.backward()
        optimizer.step()
        return [loss.detach(), *(p.grad for p in trained)]

    return step


def _dice(y: Any, target: Any) -> Any:
    """The loss that PyTorch has no function for."""
    p = y.float().sigmoid()
    space = tuple(range(2, y.ndim))
    overlap = 2 * (p * target).sum(space) + 1
    return (1 - overlap / (p.sum(space) + target.sum(space) + 1)).mean()
