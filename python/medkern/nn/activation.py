"""Activations as layers. Each keeps the arguments of its operation in `medkern.functional`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from medkern import functional
from medkern.nn.module import Module
from medkern.tensor import Tensor


class _Activation(Module):
    operation: ClassVar[Callable[..., Tensor]]

    def __init__(self, **options: Any):
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        """Applies the function to every element (softmax: along its axis)."""
        return type(self).operation(x, **self.options)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return ", ".join(f"{name}={value}" for name, value in self.options.items())


class _Plain(_Activation):
    """An activation without arguments."""

    def __init__(self) -> None:
        super().__init__()


class ReLU(_Plain):
    """max(x, 0)."""

    operation = staticmethod(functional.relu)


class LeakyReLU(_Activation):
    """Gives x where x > 0, negative_slope x elsewhere."""

    operation = staticmethod(functional.leaky_relu)

    def __init__(self, negative_slope: float = 0.01):
        super().__init__(negative_slope=negative_slope)


class ELU(_Activation):
    """Gives x where x > 0, alpha (exp(x) - 1) elsewhere."""

    operation = staticmethod(functional.elu)

    def __init__(self, alpha: float = 1.0):
        super().__init__(alpha=alpha)


class Sigmoid(_Plain):
    """1 / (1 + exp(-x))."""

    operation = staticmethod(functional.sigmoid)


class Tanh(_Plain):
    """The hyperbolic tangent."""

    operation = staticmethod(functional.tanh)


class SiLU(_Plain):
    """Gives x sigmoid(x)."""

    operation = staticmethod(functional.silu)


class GELU(_Plain):
    """Gives x times the normal distribution's cumulative probability at x."""

    operation = staticmethod(functional.gelu)


class Softplus(_Plain):
    """log(1 + exp(x))."""

    operation = staticmethod(functional.softplus)


class Softmax(_Activation):
    """exp(x) divided by its sum along axis `dim`."""

    operation = staticmethod(functional.softmax)

    def __init__(self, dim: int):
        super().__init__(dim=dim)


class LogSoftmax(_Activation):
    """The logarithm of `Softmax`."""

    operation = staticmethod(functional.log_softmax)

    def __init__(self, dim: int):
        super().__init__(dim=dim)
