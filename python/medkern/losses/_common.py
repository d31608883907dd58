"""What all losses share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from medkern import _C, functional
from medkern.nn.module import Module
from medkern.tensor import Tensor


def like_input(op: str, name: str, value: Any, x: Tensor) -> Tensor:
    """`value` as a tensor with x's type and, checked, its shape; arrays go to its device."""
    result = value if isinstance(value, Tensor) else Tensor(_C.Array(value, _source(value, x)))
    if result.shape != x.shape:
        raise ValueError(f"{op}: {name} must have the shape of input {x.shape}, got {result.shape}")
    if result.dtype != x.dtype:
        if result.requires_grad:
            raise TypeError(
                f"{op}: {name} must be {x.dtype} like input to get a gradient, got {result.dtype}"
            )
        if result.is_cuda:
            return functional.to(result, x.dtype)
        result = Tensor(_C.Array(result.numpy().astype(x.dtype), x.device))
    return result


def _source(value: Any, x: Tensor) -> Any:
    """Where a target is first: on the host, while NumPy has to convert it."""
    return "cpu" if isinstance(value, np.ndarray) and value.dtype != x.dtype else x.device


def constant(value: Any, x: Tensor) -> Tensor:
    """Weights as a tensor of x's type without a gradient."""
    if isinstance(value, Tensor) and value.is_cuda:
        return functional.to(value, x.dtype)
    return Tensor(_C.Array(np.asarray(value, dtype=x.dtype), x.device))


def reduced(op: str, loss: Tensor, reduction: str) -> Tensor:
    """The mean or sum of all elements, or each of them."""
    if reduction == "mean":
        return functional.mean(loss)
    if reduction == "sum":
        return functional.sum(loss)
    if reduction == "none":
        return loss
    raise ValueError(f"{op}: reduction must be 'none', 'sum' or 'mean', got {reduction!r}")


class Loss(Module):
    """A loss function with its options."""

    operation: ClassVar[Callable[..., Tensor]]

    def __init__(self, **options: Any):
        super().__init__()
        self.options = options

    def forward(self, input: Tensor, target: Any) -> Tensor:
        """The loss of predictions against targets."""
        return type(self).operation(input, target, **self.options)

    def extra_repr(self) -> str:
        """The arguments shown by `repr`."""
        return ", ".join(f"{name}={value!r}" for name, value in self.options.items())
