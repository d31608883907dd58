"""How operations take bfloat16 on CUDA devices."""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Cast, Function, widened
from medkern.kernels._precision import is_autocast
from medkern.tensor import Tensor


def narrowed(x: Tensor) -> Tensor:
    """A float32 image in bfloat16 where `medkern.autocast` wants it so."""
    if is_autocast() and isinstance(x, Tensor) and x.is_cuda and x.dtype == "float32":
        return Cast.apply(x, dtype=_C.bfloat16)
    return x


def beside(parameter: Tensor | None, x: Tensor) -> _C.Array | None:
    """The values of a weight or bias in the type of x: float32 becomes bfloat16 beside it.

    A parameter keeps what it was converted to until it changes.
    """
    if parameter is None:
        return None
    if not x.is_bfloat16 or parameter.dtype != "float32":
        return parameter.array
    kept = parameter._bfloat16
    if kept is None or kept[0] is not parameter.array or kept[1] != parameter._version:
        kept = parameter.array, parameter._version, kernels.copy(parameter.array, dtype=_C.bfloat16)
        if parameter.is_leaf:
            parameter._bfloat16 = kept
    return kept[2]


class Alike(Function):
    """An operation on tensors of one type: bfloat16 beside another becomes float32."""

    @classmethod
    def _as_taken(cls, tensors: tuple[Any, ...], options: dict[str, Any]) -> tuple[Any, ...]:
        """The tensors as they are if all numbers have one type."""
        for x in tensors:
            if x.is_bfloat16:
                break
        else:
            return tensors
        kinds = [x.dtype for x in tensors if x.dtype.kind == "f"]
        same = all(kind == kinds[0] for kind in kinds)
        return tensors if same else tuple(widened(x) for x in tensors)
