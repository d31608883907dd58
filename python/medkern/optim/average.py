"""Exponential moving averages of weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medkern import _C, kernels
from medkern.nn.module import Module
from medkern.tensor import Tensor


class ExponentialMovingAverage:
    """The average of a model's weights over the steps of training, recent ones most.

        average = average + (1 - d) (weight - average),   d = min(decay, (1 + t) / (10 + t))

    at step t = 0, 1, ..., for parameters and running statistics; the smaller d of the first steps lets the
    average leave the initial weights soon. Integers such as counts are not averaged.

    Args:
        model: whose weights; they may move to other devices.
        decay: the largest share of the old average, from 0 to below 1.

    Attributes:
        applied: whether the model holds the averages and the weights are kept here.

    Raises:
        ValueError: `decay` is out of range.

    Example:
        >>> average = ExponentialMovingAverage(model, 0.99)
        >>> optimizer.step(); average.update()
        >>> average.swap()  # to evaluate the averages, and again to go on training
    """

    def __init__(self, model: Module, decay: float = 0.999):
        if not 0 <= decay < 1:
            raise ValueError(f"ExponentialMovingAverage: decay must be from 0 to below 1, got {decay}")
        self.model = model
        self.decay = decay
        self.applied = False
        self._steps = 0
        self._kept = {name: _copied(value.array) for name, value in self._floats().items()}

    def update(self) -> None:
        """Takes in the weights after a step.

        Raises:
            RuntimeError: the averages are in the model.
        """
        if self.applied:
            raise RuntimeError("ExponentialMovingAverage: swap before update, the model holds the averages")
        share = 1 - min(self.decay, (1 + self._steps) / (10 + self._steps))
        self._steps += 1
        for name, weight in self._floats().items():
            average = self._kept[name].to(weight.device)
            step = kernels.mul(kernels.sub(weight.array, average), share)
            self._kept[name] = kernels.add(average, step)

    def swap(self) -> None:
        """Exchanges the model's weights and the averages."""
        for name, weight in self._floats().items():
            before = _copied(weight.array)
            weight.copy_(self._kept[name].to(weight.device))
            self._kept[name] = before
        self.applied = not self.applied

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on exactly: numbers and NumPy arrays."""
        kept = {name: array.numpy() for name, array in self._kept.items()}
        return {"steps": self._steps, "applied": self.applied, "kept": kept}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`; the model itself must be as it was then.

        Raises:
            ValueError: names or shapes are not the model's; nothing was changed.
        """
        own = self._floats()
        kept = state["kept"]
        shapes = {name: tuple(array.shape) for name, array in kept.items()}
        if shapes != {name: value.shape for name, value in own.items()}:
            raise ValueError("ExponentialMovingAverage: the averages are those of another model")
        self._steps, self.applied = int(state["steps"]), bool(state["applied"])
        self._kept = {name: _copied(_C.Array(array, own[name].device)) for name, array in kept.items()}

    def _floats(self) -> dict[str, Tensor]:
        return {name: x for name, x in self.model.state_dict().items() if x.dtype.kind == "f"}


def _copied(array: _C.Array) -> _C.Array:
    return _C.copy(array, None, array.keeps_channels_last, None)
