"""One step of LSTM or GRU, forward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import oracle
from ..case import Arrays, normal
from . import recurrent

TOLERANCE = 1e-5
_GATES = {"lstm": 4, "gru": 3}
_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class Sizes:
    """A step of a batch from given states.

    Attributes:
        prepared: whether medkern prepares the weights once.
    """

    cell: str
    batch: int
    inputs: int
    hidden: int
    prepared: bool = True
    gradients: bool = False


def draw(s: Sizes, rng: np.random.Generator) -> Arrays:
    """x, the state, and the weights."""
    rows, scale = _GATES[s.cell] * s.hidden, s.hidden**-0.5
    shapes = ((rows, s.inputs), (rows, s.hidden), (rows,), (rows,))
    return {
        "x": normal(rng, s.batch, s.inputs),
        "h": normal(rng, s.batch, s.hidden, scale=0.5),
        "c": normal(rng, s.batch, s.hidden, scale=0.5),
        **{name: normal(rng, *shape, scale=scale) for name, shape in zip(_NAMES, shapes, strict=True)},
    }


def expected(s: Sizes, a: Arrays) -> list[np.ndarray]:
    """The new h, and for LSTM c."""
    wide = {name: value.astype(np.float64) for name, value in a.items()}
    h, c, _ = oracle.step(s.cell, wide["x"], wide["h"], wide["c"], [wide[name] for name in _NAMES])
    return [h, c] if s.cell == "lstm" else [h]


def work(s: Sizes) -> tuple[float, float]:
    """Two operations for each weight and sample; the weights are what is read."""
    weights = _GATES[s.cell] * s.hidden * (s.inputs + s.hidden)
    return 2 * s.batch * weights, 4 * (weights + s.batch * (s.inputs + 4 * s.hidden))


def by_medkern(s: Sizes, a: Arrays) -> Callable[[], Any]:
    """A plan, or `kernels.lstm_cell` or `gru_cell`."""
    from medkern import kernels

    x, weights = a["x"], [a[name] for name in _NAMES]
    state = a["h"] if s.cell == "gru" else (a["h"], a["c"])
    if s.prepared:
        plan = getattr(kernels, f"{s.cell}_cell_plan")(*weights)
        return lambda: plan(x, state)
    function = getattr(kernels, f"{s.cell}_cell")
    return lambda: function(x, state, *weights)


def by_torch(s: Sizes, a: dict[str, Any]) -> Callable[[], Any]:
    """The function under `torch.nn.LSTMCell` and `GRUCell`."""
    import torch

    x, h, weights = a["x"], a["h"], [a[name] for name in _NAMES]
    if s.cell == "gru":
        return lambda: torch.gru_cell(x, h, *weights)
    state = (h, a["c"])
    return lambda: torch.lstm_cell(x, state, *weights)


def by_onnx(s: Sizes, a: Arrays, graph: Any) -> list[str]:
    """A sequence of one step: ONNX has no cells."""
    x = graph.input(a["x"][None])
    values = recurrent.onnx_weights(s.cell, [tuple(a[name] for name in _NAMES)])
    inputs = [x, *(graph.constant(value) for value in values), "", graph.input(a["h"][None])]
    if s.cell == "gru":
        return [graph.add_all("GRU", inputs, 2, hidden_size=s.hidden, linear_before_reset=1)[1]]
    inputs.append(graph.input(a["c"][None]))
    return graph.add_all("LSTM", inputs, 3, hidden_size=s.hidden)[1:]


def from_onnx(s: Sizes, results: list[np.ndarray]) -> list[np.ndarray]:
    """Without the axis of directions."""
    return [result[0] for result in results]
