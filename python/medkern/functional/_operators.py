"""Gives `Tensor` its operators and methods, which are the functions of this package."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from medkern import _C
from medkern.functional import _broadcast, copy, gemm, pointwise, reduce
from medkern.tensor import Tensor


def _operand(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray, np.generic, int, float, _C.Array))


def _forward(function: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Any]:
    def operator(self: Tensor, other: Any) -> Any:
        return function(self, other) if _operand(other) else NotImplemented

    return operator


def _reflected(function: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Any]:
    def operator(self: Tensor, other: Any) -> Any:
        return function(other, self) if _operand(other) else NotImplemented

    return operator


def _comparison(op: str) -> Callable[[Tensor, Any], Any]:
    def operator(self: Tensor, other: Any) -> Any:
        if not _operand(other):
            return NotImplemented
        return pointwise.compare(op, self, other)

    return operator


def _power(self: Tensor, exponent: Any) -> Any:
    if not isinstance(exponent, (int, float, np.number)):
        return NotImplemented
    return pointwise.pow(self, float(exponent))


def _sizes(arguments: tuple[Any, ...]) -> tuple[int, ...]:
    """Sizes or axes given one by one or as one sequence."""
    if len(arguments) == 1 and not isinstance(arguments[0], (int, np.integer)):
        return tuple(arguments[0])
    return arguments


def _reshape(self: Tensor, *shape: Any) -> Tensor:
    """See `medkern.functional.reshape`; sizes may also be given one by one."""
    return copy.reshape(self, _sizes(shape))


def _permute(self: Tensor, *dims: Any) -> Tensor:
    """See `medkern.functional.permute`; axes may also be given one by one."""
    return copy.permute(self, _sizes(dims))


def _expand(self: Tensor, *shape: Any) -> Tensor:
    """See `medkern.functional.expand`; sizes may also be given one by one."""
    return _broadcast.expand(self, _sizes(shape))


def _cuda(self: Tensor, device: Any = "cuda") -> Tensor:
    """The tensor on a CUDA device; see `medkern.functional.to`."""
    return copy.to(self, device)


def _cpu(self: Tensor) -> Tensor:
    """The tensor on the CPU; see `medkern.functional.to`."""
    return copy.to(self, "cpu")


def _transposed(self: Tensor) -> Tensor:
    """The matrix with its axes exchanged."""
    if self.ndim != 2:
        raise ValueError(f"T: the tensor must have 2 dimensions, got {self.ndim}: {self.shape}")
    return copy.transpose(self, 0, 1)


def attach() -> None:
    """Sets the operators and methods, which `medkern.tensor.Tensor` declares."""
    members: dict[str, Any] = {
        "__neg__": pointwise.neg,
        "__abs__": pointwise.abs,
        "__pow__": _power,
        "__getitem__": copy.getitem,
        "__matmul__": _forward(gemm.matmul),
        "T": property(_transposed),
        "reshape": _reshape,
        "permute": _permute,
        "expand": _expand,
        "cuda": _cuda,
        "cpu": _cpu,
    }
    for name in ("add", "sub", "mul"):
        members[f"__{name}__"] = _forward(getattr(pointwise, name))
        members[f"__r{name}__"] = _reflected(getattr(pointwise, name))
    members["__truediv__"] = _forward(pointwise.div)
    members["__rtruediv__"] = _reflected(pointwise.div)
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        members[f"__{name}__"] = _comparison(name)
    for module, names in (
        (pointwise, "relu sigmoid tanh exp log sqrt abs square clamp"),
        (_broadcast, "sum"),
        (reduce, "mean var max min"),
        (copy, "transpose flatten squeeze unsqueeze contiguous to"),
    ):
        members.update({name: getattr(module, name) for name in names.split()})
    for name, member in members.items():
        setattr(Tensor, name, member)
