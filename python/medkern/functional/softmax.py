"""Softmax, log-softmax and cross-entropy on tensors."""

from __future__ import annotations

from typing import Any

from medkern import _C, kernels
from medkern.autograd import Function, Node
from medkern.tensor import Tensor


class Softmax(Function):
    """Softmax along an axis."""

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, dim: int) -> _C.Array:
        """Keeps its result."""
        y = kernels.softmax(x.array, dim)
        ctx.dim = dim
        ctx.save_output(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """From the result."""
        return Tensor(kernels.softmax_backward(dy.array, ctx.outputs[0].array, ctx.dim))


class LogSoftmax(Function):
    """Log-softmax along an axis."""

    @staticmethod
    def forward(ctx: Node, x: Tensor, *, dim: int) -> _C.Array:
        """Keeps its result."""
        y = kernels.log_softmax(x.array, dim)
        ctx.dim = dim
        ctx.save_output(y)
        return y

    @staticmethod
    def backward(ctx: Node, dy: Tensor) -> Tensor:
        """From the result."""
        return Tensor(kernels.log_softmax_backward(dy.array, ctx.outputs[0].array, ctx.dim))


class CrossEntropy(Function):
    """Cross-entropy of logits; target and weight are constants."""

    @staticmethod
    def forward(ctx: Node, logits: Tensor, target: Tensor, weight: Tensor | None, **options: Any) -> _C.Array:
        """Keeps its inputs and the divisor of the mean."""
        ctx.save(logits, target, weight)
        ctx.options = options
        loss, ctx.total_weight = kernels.cross_entropy(
            logits.array,
            target.array,
            None if weight is None else weight.array,
            return_total_weight=True,
            **options,
        )
        return loss

    @staticmethod
    def backward(ctx: Node, dloss: Tensor) -> tuple[Tensor, None, None]:
        """Computes the softmax anew."""
        logits, target, weight = ctx.saved
        dlogits = kernels.cross_entropy_backward(
            dloss.array,
            logits.array,
            target.array,
            ctx.total_weight,
            None if weight is None else weight.array,
            **ctx.options,
        )
        return Tensor(dlogits), None, None


def softmax(x: Tensor, dim: int) -> Tensor:
    """Differentiable `medkern.kernels.softmax`."""
    return Softmax.apply(x, dim=dim)


def log_softmax(x: Tensor, dim: int) -> Tensor:
    """Differentiable `medkern.kernels.log_softmax`."""
    return LogSoftmax.apply(x, dim=dim)


def cross_entropy(
    logits: Tensor,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """Differentiable `medkern.kernels.cross_entropy`; target and weight may be tensors or arrays.

    Raises:
        ValueError: also if target or weight requires a gradient: they are constants.

    Example:
        >>> logits = medkern.tensor([[0.0, 2.0]], requires_grad=True)
        >>> medkern.functional.cross_entropy(logits, np.array([1])).backward()
    """
    for name, constant in (("target", target), ("weight", weight)):
        if isinstance(constant, Tensor) and constant.requires_grad:
            raise ValueError(f"cross_entropy: {name} must not require a gradient")
    return CrossEntropy.apply(
        logits,
        target,
        weight,
        ignore_index=ignore_index,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
