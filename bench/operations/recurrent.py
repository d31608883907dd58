"""LSTM and GRU over whole sequences, one layer: forward, or forward and backward together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import oracle
from ..case import Arrays, normal

TOLERANCE = 1e-5
ROUNDINGS = 20  # a step's go into the next one
_GATES = {"lstm": 4, "gru": 3}
# PyTorch's order of gates as ONNX wants it: i f g o -> i o f g, and r z n -> z r n.
_ONNX_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}


@dataclass(frozen=True)
class Sizes:
    """A recurrent layer.

    Attributes:
        cell: "lstm" or "gru".
        batch: samples; all have all steps.
        steps: length of the sequences.
        inputs: features of x.
        hidden: size of the state.
        bidirectional: whether a second direction runs from the last step to the first.
        prepared: whether medkern prepares the weights once.
        gradients: forward and backward together, of x and all weights.
    """

    cell: str
    batch: int
    steps: int
    inputs: int
    hidden: int
    bidirectional: bool = False
    prepared: bool = True
    gradients: bool = False

    @property
    def directions(self) -> int:
        """1 or 2."""
        return 2 if self.bidirectional else 1


def _weights(s: Sizes, a: Any) -> list[tuple[Any, ...]]:
    """(weight_ih, weight_hh, bias_ih, bias_hh) of each direction."""
    return [tuple(a[f"{name}{d}"] for name in _NAMES) for d in range(s.directions)]


_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """The sequences, the gradient of the result, and the weights of each direction."""
    rows, scale = _GATES[s.cell] * s.hidden, s.hidden**-0.5
    arrays = {
        "x": normal(rng, s.batch, s.steps, s.inputs),
        "dy": normal(rng, s.batch, s.steps, s.directions * s.hidden),
    }
    for d in range(s.directions):
        for name, shape in zip(_NAMES, ((rows, s.inputs), (rows, s.hidden), (rows,), (rows,)), strict=True):
            arrays[f"{name}{d}"] = normal(rng, *shape, scale=scale)
    return arrays


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The result, and with gradients those of x and of each weight."""
    weights, hidden = _weights(s, a), s.hidden
    ys, dxs, gradients = [], [], []
    for d, parameters in enumerate(weights):
        x = a["x"][:, ::-1] if d else a["x"]
        dy = a["dy"][..., d * hidden : (d + 1) * hidden]
        y, dx, parts = oracle.recurrent(s.cell, x, parameters, dy[:, ::-1] if d else dy)
        ys.append(y[:, ::-1] if d else y)
        dxs.append(dx[:, ::-1] if d else dx)
        gradients += parts
    y = np.concatenate(ys, -1)
    return [y, sum(dxs), *gradients] if s.gradients else [y]


def work(s: Sizes) -> tuple[float, float]:
    """Two operations for each weight, sample and step; three times that with gradients."""
    weights = s.directions * _GATES[s.cell] * s.hidden * (s.inputs + s.hidden)
    flops = 2 * s.batch * s.steps * weights
    # At least the weights once, or once a step where they don't fit a cache: once is what can't be avoided.
    size = s.batch * s.steps * (s.inputs + s.directions * s.hidden) + weights
    return (3 if s.gradients else 1) * flops, 4 * (3 if s.gradients else 1) * size


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """A plan or the plain function; with gradients the layer's two passes."""
    from medkern import kernels

    x, dy, weights = a["x"], a["dy"], _weights(s, a)
    if s.gradients:

        def both() -> list[Any]:
            y, _, _, saved = kernels.recurrent_layer(s.cell, x, weights, save=True)
            dx, _, _, dweights = kernels.recurrent_layer_backward(
                s.cell, dy, None, None, x, weights, None, None, None, y, saved
            )
            return [y, dx, *(gradient for each in dweights for gradient in each)]

        return both
    if s.prepared:
        plan = getattr(kernels, f"{s.cell}_plan")(weights, bidirectional=s.bidirectional)
        return lambda: plan(x)[0]
    function = getattr(kernels, s.cell)
    return lambda: function(x, weights, bidirectional=s.bidirectional)[0]


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """`torch.nn.LSTM` or `GRU`, and autograd."""
    import torch

    kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[s.cell]
    layer = kind(s.inputs, s.hidden, batch_first=True, bidirectional=s.bidirectional)
    layer = layer.to(a["x"].device, a["x"].dtype)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), _flat(_weights(s, a)), strict=True):
            parameter.copy_(value)
    x, dy = a["x"], a["dy"]
    if not s.gradients:
        return lambda: layer(x)[0]
    x.requires_grad_()
    wanted = [x, *layer.parameters()]

    def both() -> list[Any]:
        y = layer(x)[0]
        return [y, *torch.autograd.grad(y, wanted, dy)]

    return both


def _flat(weights: list[tuple[Any, ...]]) -> list[Any]:
    return [value for each in weights for value in each]


def onnx_weights(cell: str, weights: list[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """W, R and B of ONNX, whose gates have another order."""

    def reordered(value: np.ndarray) -> np.ndarray:
        blocks = np.split(value, _GATES[cell])
        return np.concatenate([blocks[i] for i in _ONNX_ORDER[cell]])

    each = [[reordered(value) for value in parameters] for parameters in weights]
    return [
        np.stack([w_ih for w_ih, *_ in each]),
        np.stack([w_hh for _, w_hh, *_ in each]),
        np.stack([np.concatenate(biases) for _, _, *biases in each]),
    ]


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """One node; there the steps come first."""
    x = graph.input(np.ascontiguousarray(a["x"].transpose(1, 0, 2)))
    constants = [graph.constant(value) for value in onnx_weights(s.cell, _weights(s, a))]
    options: dict[str, Any] = {"hidden_size": s.hidden}
    if s.bidirectional:
        options["direction"] = "bidirectional"
    if s.cell == "gru":
        options["linear_before_reset"] = 1
    return [graph.add(s.cell.upper(), [x, *constants], **options)]


def from_onnx(s: Sizes, results: list[np.ndarray]) -> list[np.ndarray]:
    """(steps, directions, batch, hidden) to (batch, steps, directions hidden)."""
    return [results[0].transpose(2, 0, 1, 3).reshape(s.batch, s.steps, -1)]
